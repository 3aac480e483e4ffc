// The official server, as a reference. It prints its URL, and emits as often as each line of its input says.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { pingInterval: 600_000 });
const text = process.argv[2];

http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ Addr: `127.0.0.1:${http.address().port}` })));

for await (const line of createInterface({ input: process.stdin })) {
  for (let i = Number(line); i > 0; i--) io.emit("said", text);
  console.log("emitted");
}
process.exit();
