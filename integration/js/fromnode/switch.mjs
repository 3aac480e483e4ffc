// Clients of the chat that do not notice that their server is replaced. Each has an address of its own, 127.0.0.K, by which the
// proxy chooses a server. Another one, the witness, is connected to the server in Go. What is posted while a client connects may
// reach it twice, so the commands order these:
//
//   a name    client 1 posts it, and everybody receives it: prints what each has received
//   !         waits until the witness has received what was posted with SQL
//   ?         waits until everybody has received that as well: prints who was recovered at the last connection
//
// The table has one message already, by which each client knows that it has been sent what the table had.
//
//   node switch.mjs URL GO_URL CLIENTS
import { Agent } from "node:http";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, goURL, count] = process.argv.slice(2);

function open(url, k) {
  const agent = new Agent({ localAddress: `127.0.0.${k}` });
  const socket = io(url, { agent, forceNew: true, transports: ["websocket"], reconnectionDelay: 100, auth: { serverOffset: 0 }, ackTimeout: 1000, retries: 100 });
  const c = { socket, posts: [], wake: () => {} };
  socket.on("connect", () => {
    c.recovered = socket.recovered;
    c.wake();
  });
  socket.on("chat message", (msg, id) => {
    socket.auth.serverOffset = id;
    c.posts.push(msg);
    c.wake();
  });
  return c;
}
const until = async (c, ok) => {
  while (!ok()) await new Promise((resolve) => (c.wake = resolve));
};

let posted = 1;
const all = () => Promise.all([...clients, witness].map((c) => until(c, () => c.socket.connected && c.posts.length >= posted)));
const witness = open(goURL, 100);
const clients = Array.from({ length: Number(count) }, (_, i) => open(url, i + 1));
await all();
console.log("ready");

for await (const line of createInterface({ input: process.stdin })) {
  switch (line) {
    case "!":
      posted++;
      await until(witness, () => witness.posts.length >= posted);
      console.log("null");
      break;
    case "?":
      await all();
      console.log(JSON.stringify(clients.map((c) => c.recovered)));
      break;
    default:
      posted++;
      await new Promise((resolve) => clients[0].socket.emit("chat message", line, `post-${posted}`, resolve));
      await all();
      console.log(JSON.stringify(clients.map((c) => c.posts.join(" "))));
  }
}
process.exit();
