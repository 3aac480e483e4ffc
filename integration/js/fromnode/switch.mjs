// Clients of the chat that do not notice that their server is replaced. Each has an address of its own, 127.0.0.K, by which the
// proxy chooses a server. Each line of the input is a name; client 1 posts it (and is answered), and then everybody has received
// it, or the process does not end. At "?" the clients say who of them was recovered at its last connection.
//
//   node switch.mjs URL CLIENTS
import { Agent } from "node:http";
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, count] = process.argv.slice(2);
const clients = [];
for (let k = 1; k <= Number(count); k++) {
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
  clients.push(c);
}
const until = async (c, ok) => {
  while (!ok()) await new Promise((resolve) => (c.wake = resolve));
};
for (const c of clients) await until(c, () => c.socket.connected);
console.log("ready");

let posted = 0;
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "?") {
    for (const c of clients) await until(c, () => c.socket.connected);
    console.log(JSON.stringify(clients.map((c) => c.recovered)));
    continue;
  }
  posted++;
  await new Promise((resolve) => clients[0].socket.emit("chat message", line, `post-${posted}`, resolve));
  for (const c of clients) await until(c, () => c.posts.length >= posted);
  console.log(JSON.stringify(clients.map((c) => c.posts.join(" "))));
}
process.exit();
