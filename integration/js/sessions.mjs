// The official server, as a reference for whole sessions. It prints its URL, and emits "got" for each event that it
// receives, with the name and the arguments as JSON, binary data as {"$bin": base64}.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { pingInterval: 600_000 });

const pack = (v) => (Buffer.isBuffer(v) ? { $bin: v.toString("base64") } : v);

for (const name of ["/", "/a"]) {
  io.of(name).on("connection", (socket) => {
    socket.onAny((event, ...args) => {
      const reply = typeof args.at(-1) === "function" ? args.pop() : undefined;
      socket.emit("got", JSON.stringify([String(event), ...args.map(pack)]));
      reply?.("ok");
    });
  });
}

http.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${http.address().port}`));
process.stdin.on("end", () => process.exit()).resume();
