// Hosts many official clients in one process. Orders come in on standard input, one JSON object a line; what happens
// goes out on standard output in the same form.
//
//   {c:"open", k, url, ns, auth, opts, roam, why}    client k connects; ns is "/" if left out; one that wants to know
//                                                    asks why, when it comes back and is not recovered
//   {c:"also", k, of, ns, auth}                      client k is another namespace on the connection of client of
//   {c:"cut", k:[…], how, url}                       the connections break; how: "reset" (no close frame), "close"
//                                                    (with one), "half" (the server is told nothing at all);
//                                                    they come back at url, or where they like if they roam, or not
//                                                    before "back" if away is true
//   {c:"back", k:[…], url}                           those that are away come back
//   {c:"emit", k, n, event, args, ack, timeout}      n names the answer
//   {c:"leave", k:[…]}                               disconnect()
//   {c:"auth", k:[…], auth}                          what they say of themselves from now on
//   {c:"roam", k:[…]}                                they roam from now on
//   {c:"state", k:[…]}                               tells what they would come back with
//   {c:"nodes", urls}                                where roaming clients may go
//   {c:"sync", n}                                    answered when everything before it was done
//
//   {c:"cuts", k:[…], cuts}                          they break their connection after cuts[0] ticks, the next one
//                                                    after cuts[1], and so on
//
// A client that roams picks a node at random for every attempt, as behind a load balancer.
//
// What happened: connect, disconnect, refused, error, ack, event, sync; and ticks, the events that are counted, as one
// line for many: {t:"ticks", k, i:[publisher * 1e8 + seq, …]}. What is told of one client is told in the order in which
// it happened. Binary data travels as {"$bin": base64}.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const clients = new Map();
let nodes = [];
let seed = Number(process.env.SEED ?? 1) >>> 0;

// A small generator that can be seeded (mulberry32): a run can be repeated.
function random() {
  seed = (seed + 0x6d2b79f5) >>> 0;
  let t = seed;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

const now = () => Math.round((performance.timeOrigin + performance.now()) * 1e6); // nanoseconds, exact to some 100

let lines = [];
const dirty = new Set();
function flushTicks(c) {
  if (c.ticks.length > 0) lines.push(`{"t":"ticks","k":${c.k},"i":[${c.ticks.join()}]}`);
  c.ticks.length = 0;
}
function flush() {
  for (const c of dirty) flushTicks(c);
  dirty.clear();
  if (lines.length > 0) process.stdout.write(lines.join("\n") + "\n");
  lines = [];
}
setInterval(flush, 20);

function tell(c, record) {
  if (c) {
    flushTicks(c);
    record.k = c.k;
  }
  record.at = now();
  lines.push(JSON.stringify(record));
}

const isBinary = (v) => Buffer.isBuffer(v) || v instanceof ArrayBuffer || ArrayBuffer.isView(v);
function pack(v) {
  if (isBinary(v)) return { $bin: Buffer.from(v.buffer ?? v, v.byteOffset ?? 0, v.byteLength).toString("base64") };
  if (Array.isArray(v)) return v.map(pack);
  if (v && typeof v === "object") return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, pack(x)]));
  return v;
}
function unpack(v) {
  if (Array.isArray(v)) return v.map(unpack);
  if (v && typeof v === "object") {
    if (typeof v.$bin === "string") return Buffer.from(v.$bin, "base64");
    return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, unpack(x)]));
  }
  return v;
}

function watch(c) {
  const s = c.socket;
  s.on("connect", () => {
    c.sinceConnect = 0;
    c.cutting = false;
    tell(c, { t: "connect", id: s.id, recovered: !!s.recovered, pid: s._pid, offset: s._lastOffset });
    if (c.why && c.held && !s.recovered) {
      const held = c.held; // what it came back with
      s.timeout(5000).emit("whoami", (err, me) => tell(c, { t: "refused", reason: err || me.recovered ? "not told" : me.reason, offset: held }));
    }
    c.held = s._lastOffset ?? "nothing";
  });
  s.on("disconnect", (reason) => {
    if (c.held) c.held = s._lastOffset ?? "nothing";
    tell(c, { t: "disconnect", reason, offset: s._lastOffset });
  });
  s.on("connect_error", (err) => tell(c, { t: "error", message: err.message, data: err.data }));
  s.on("tick", (publisher, seq) => {
    c.ticks.push(publisher * 1e8 + seq);
    dirty.add(c);
    if (c.cuts?.length > 0 && !c.cutting && ++c.sinceConnect >= c.cuts[0]) {
      c.cuts.shift();
      c.cutting = true; // what has been read from the connection still arrives
      cut(c, "reset");
    }
  });
  s.on("question", (...args) => {
    const reply = args.pop();
    reply({ asked: args[0] });
  });
  s.on("mirror", (data, reply) => reply(data));
  s.onAny((event, ...args) => {
    if (event === "tick" || event === "question" || event === "mirror") return;
    tell(c, { t: "event", event, args: pack(args.map((a) => (typeof a === "function" ? "callback" : a))) });
  });
}

function roam(c) {
  if (c.roam && nodes.length > 0) c.socket.io.uri = nodes[Math.floor(random() * nodes.length)];
}

function open(o) {
  const socket = io(o.url + (o.ns ?? "/"), {
    transports: ["websocket"],
    forceNew: true,
    reconnectionDelay: 1,
    reconnectionDelayMax: 250,
    randomizationFactor: 0.5,
    timeout: 8000, // a node that is killed between the WebSocket and the handshake goes unnoticed until then
    auth: o.auth,
    ...o.opts,
  });
  const c = { k: o.k, socket, roam: o.roam, why: o.why, sinceConnect: 0, ticks: [] };
  clients.set(o.k, c);
  socket.io.on("reconnect_attempt", () => roam(c));
  watch(c);
}

function also(o) {
  const socket = clients.get(o.of).socket.io.socket(o.ns, { auth: o.auth });
  const c = { k: o.k, socket, ticks: [] };
  clients.set(o.k, c);
  watch(c);
}

// cut breaks the connection below the client, which takes it as it takes any broken line: it connects again, unless
// it is to stay away.
function cut(c, how, { url, away } = {}) {
  const manager = c.socket.io;
  if (url) manager.uri = url;
  manager.reconnection(!away);
  // While it connects the manager hears of errors only, not of a close: it would wait for its timeout. There is
  // nothing to break yet.
  if (manager._readyState !== "open") return;
  const engine = manager.engine;
  const ws = engine.transport.ws;
  if (!ws && how !== "close") {
    // Long-polling. The server hears of a reset when the open poll breaks off.
    if (how !== "half") engine.transport.pollXhr?.abort();
    engine.transport.close = () => {};
    engine.transport.removeAllListeners();
    engine._onClose("transport close");
    return;
  }
  switch (how) {
    case "close":
      engine.close();
      break;
    case "half": // the TCP connection stays open, and nobody is behind it
      ws._socket.pause();
      ws.close = () => {};
      engine._onClose("transport close");
      break;
    default:
      ws._socket.resetAndDestroy();
  }
}

function back(c, url) {
  const manager = c.socket.io;
  manager.reconnection(true);
  if (url) manager.uri = url;
  else roam(c);
  c.socket.connect();
}

function emit(o) {
  const c = clients.get(o.k);
  const args = unpack(o.args ?? []);
  if (o.ack === false) {
    c.socket.emit(o.event, ...args);
    return;
  }
  c.socket.timeout(o.timeout ?? 60000).emit(o.event, ...args, (err, ...answer) => {
    tell(c, { t: "ack", n: o.n, args: pack(answer), error: err?.message });
  });
}

const each = (k, f) => (Array.isArray(k) ? k : [k]).forEach((i) => f(clients.get(i)));

const orders = {
  open,
  also,
  emit,
  cut: (o) => each(o.k, (c) => cut(c, o.how, o)),
  back: (o) => each(o.k, (c) => back(c, o.url)),
  cuts: (o) => each(o.k, (c) => ((c.cuts = [...o.cuts]), (c.sinceConnect = 0))),
  auth: (o) => each(o.k, (c) => (c.socket.auth = o.auth)),
  leave: (o) => each(o.k, (c) => c.socket.disconnect()),
  roam: (o) => each(o.k, (c) => (c.roam = true)),
  state: (o) => each(o.k, (c) => tell(c, { t: "state", offset: c.socket._lastOffset, pid: c.socket._pid, transport: c.socket.io.engine.transport.name })),
  nodes: (o) => (nodes = o.urls),
  sync: (o) => tell(undefined, { t: "sync", n: o.n }),
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const o = JSON.parse(line);
    try {
      orders[o.c](o);
    } catch (err) {
      tell(undefined, { t: "failed", order: line.slice(0, 200), message: err.message });
    }
    if (o.c === "sync") flush();
  })
  .on("close", () => process.exit(0));
