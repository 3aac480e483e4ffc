// Helpers for the scripts in ../api. The environment has the server's address in URL, and in TRANSPORTS the transports of
// the clients, by default websocket.
import { io, Manager } from "socket.io-client";

export { io, Manager };
export const url = process.env.URL;
const transports = (process.env.TRANSPORTS ?? "websocket").split(",");

// A script fails if it waits for longer, in milliseconds.
const patience = 60000;

// open returns a client on a connection of its own, unless the options say otherwise. It does not reconnect by itself.
export const open = (nsp = "/", opts = {}) =>
  io(url + nsp, { transports, forceNew: true, reconnection: false, ...opts });

// connect returns a client that is connected.
export async function connect(nsp, opts) {
  const socket = open(nsp, opts);
  await new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  return socket;
}

// next returns the arguments of the emitter's next event of the name.
export const next = (emitter, name) =>
  new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${name}`)), patience);
    emitter.once(name, (...args) => {
      clearTimeout(late);
      resolve(args);
    });
  });

// refusal returns the message and data of the connect_error of a refused client.
export async function refusal(nsp, opts) {
  const socket = open(nsp, opts);
  const [err] = await next(socket, "connect_error");
  socket.disconnect();
  return err.data === undefined ? [err.message] : [err.message, err.data];
}

// ask emits an event and returns the arguments of its acknowledgement.
export const ask = (socket, ...event) =>
  new Promise((resolve, reject) => {
    socket.timeout(patience).emit(...event, (err, ...answer) => (err ? reject(err) : resolve(answer)));
  });

// received records the events that the client receives from now on, by name and arguments. Its method reach returns when
// there are that many.
export function received(socket) {
  const events = [];
  let changed = () => {};
  socket.onAny((...event) => changed(events.push(event)));
  events.reach = (n) =>
    new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${events.length} events, not ${n}`)), patience);
      changed = () => events.length >= n && (clearTimeout(late), resolve(events));
      changed();
    });
  return events;
}

const isBinary = (v) => Buffer.isBuffer(v) || v instanceof ArrayBuffer || ArrayBuffer.isView(v);
function pack(v) {
  if (typeof v === "function") return "callback";
  if (isBinary(v)) return { $bin: Buffer.from(v.buffer ?? v, v.byteOffset ?? 0, v.byteLength).toString() };
  if (Array.isArray(v)) return v.map(pack);
  if (v && typeof v === "object") return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, pack(x)]));
  return v;
}

// say prints a line: a word, and values as JSON, in which binary data is {"$bin": text}.
export const say = (word, ...values) => console.log(word, ...values.map((v) => JSON.stringify(pack(v))));
