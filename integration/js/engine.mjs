// An Engine.IO client without Socket.IO, for a server that echoes every message.
//
//	node engine.mjs ws-address transports,with,commas

import { Socket } from "engine.io-client";

const [address, transports] = process.argv.slice(2);
const socket = new Socket(address, { transports: transports.split(","), path: "/engine.io/" });
const once = (event) => new Promise((resolve) => socket.once(event, resolve));
socket.binaryType = "nodebuffer";
await once("open");

const messages = ["0", "text", "é😀\u001f", Buffer.from([0, 30, 255]), "x".repeat(70_000), Buffer.alloc(70_000, 7), "last"];
const got = [];
const all = new Promise((resolve) => socket.on("message", (m) => got.push(m) === 3 * messages.length && resolve()));
for (let round = 0; round < 3; round++) {
  for (const m of messages) socket.send(m); // the first ones before, or in, the upgrade
  await new Promise((resolve) => setTimeout(resolve, 20));
}
await all;
got.forEach((m, i) => {
  const want = messages[i % messages.length];
  if (Buffer.isBuffer(want) ? !want.equals(m) : want !== m) throw new Error(`message ${i}: ${String(m).slice(0, 50)}`);
});
if (transports.includes("websocket") && socket.transport.name !== "websocket") await once("upgrade");
const why = once("close");
socket.send("close me");
console.log(socket.transport.name, await why);
process.exit(0);
