// What the scripts in ../api are written with: an official client each, or several, and a voice. Run with the server's
// address in URL, and in TRANSPORTS with what the clients may use, websocket if it is left out.
import { io, Manager } from "socket.io-client";

export { io, Manager };
export const url = process.env.URL;
const transports = (process.env.TRANSPORTS ?? "websocket").split(",");

// What is waited for comes within this time, or the script fails.
const patience = 60000;

// open returns a client on a connection of its own, unless the options say otherwise. It does not come back by itself.
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

// refusal returns what a client is told that may not enter.
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

// heard notes the events that the client gets from now on, by name and arguments. Its method reach returns when there are
// that many.
export function heard(socket) {
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
