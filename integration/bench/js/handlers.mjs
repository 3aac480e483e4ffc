// The official server with an adapter and a handler that emits, as the documentation of Socket.IO writes it: a reference.
//
//   node handlers.mjs redis <url> <name of the stream>
//   node handlers.mjs postgres <url> <prefix of the channels> <table of attachments>
//
// It prints its address.
import { createServer } from "node:http";
import { createAdapter as createPostgresAdapter } from "@socket.io/postgres-adapter";
import { createAdapter as createStreamsAdapter } from "@socket.io/redis-streams-adapter";
import pg from "pg";
import { createClient } from "redis";
import { Server } from "socket.io";

const adapters = {
  async redis(url, streamName) {
    const client = createClient({ url });
    await client.connect();
    return createStreamsAdapter(client, { streamName });
  },
  postgres(connectionString, channelPrefix, tableName) {
    return createPostgresAdapter(new pg.Pool({ connectionString }), { channelPrefix, tableName });
  },
};

const [kind, ...args] = process.argv.slice(2);
const http = createServer();
const io = new Server(http, { adapter: await adapters[kind](...args), pingInterval: 600_000 });

io.on("connection", (socket) => {
  socket.on("post", (text, ack) => {
    io.emit("post", text);
    ack();
  });
});

http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ Addr: `127.0.0.1:${http.address().port}` })));
process.stdin.on("end", () => process.exit()).resume();
