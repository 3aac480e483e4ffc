// Hosts many official clients in one process. Commands arrive on standard input, one JSON object a line, and reports of
// what happens leave on standard output in the same form.
//
//   {c:"open", k, url, ns, auth, opts, roam, why}    client k connects; ns is "/" by default; with why it asks the node
//                                                    for the reason when it reconnects and is not recovered
//   {c:"also", k, of, ns, auth}                      client k is another namespace on the connection of client of
//   {c:"cut", k:[…], how, url}                       the connections break; how: "reset" (without a close frame), "close"
//                                                    (with one), "half" (the server does not notice); the clients
//                                                    reconnect to url, or to a random node if they roam, or not
//                                                    before "back" if away is true
//   {c:"back", k:[…], url}                           clients that were cut with away reconnect
//   {c:"emit", k, n, event, args, ack, timeout}      n identifies the acknowledgement
//   {c:"leave", k:[…]}                               disconnect()
//   {c:"auth", k:[…], auth}                          sets the auth of later connections
//   {c:"roam", k:[…]}                                the clients roam from now on
//   {c:"state", k:[…]}                               reports pid, offset and transport
//   {c:"nodes", urls}                                sets the nodes for roaming clients
//   {c:"sync", n}                                    answered after all earlier commands
//
//   {c:"cuts", k:[…], cuts}                          the clients cut their connection after cuts[0] ticks, the next one
//                                                    after cuts[1], and so on
//
// A client that roams chooses a random node for every attempt, as behind a load balancer.
//
// Reports: connect, disconnect, refused, error, ack, event, sync, state; and ticks, the events that are counted, many in
// one line: {t:"ticks", k, i:[publisher * 1e8 + seq, …]}. The reports of one client are in the order of their events.
// Binary data is encoded as {"$bin": base64}.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const clients = new Map();
let nodes = [];
let seed = Number(process.env.SEED ?? 1) >>> 0;

// A small random generator with a seed (mulberry32), so that a run can be repeated.
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

function report(c, record) {
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
    report(c, { t: "connect", id: s.id, recovered: !!s.recovered, pid: s._pid, offset: s._lastOffset });
    if (c.why && c.lastOffset && !s.recovered) {
      const offset = c.lastOffset; // the offset that it reconnected with
      s.timeout(5000).emit("whoami", (err, me) => report(c, { t: "refused", reason: err || me.recovered ? "unknown" : me.reason, offset }));
    }
    c.lastOffset = s._lastOffset ?? "nothing";
  });
  s.on("disconnect", (reason) => {
    if (c.lastOffset) c.lastOffset = s._lastOffset ?? "nothing";
    report(c, { t: "disconnect", reason, offset: s._lastOffset });
  });
  s.on("connect_error", (err) => report(c, { t: "error", message: err.message, data: err.data }));
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
  s.on("ask", ({ text, after }, reply) => {
    if (after >= 0) setTimeout(() => reply(text), after); // on the connection that the client has then
  });
  s.onAny((event, ...args) => {
    if (event === "tick" || event === "question" || event === "mirror") return;
    report(c, { t: "event", event, args: pack(args.map((a) => (typeof a === "function" ? "callback" : a))) });
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
    timeout: 8000, // after this the client notices that a node was killed between the WebSocket and the handshake
    auth: o.auth,
    ...o.opts,
  });
  const c = { k: o.k, socket, roam: o.roam, why: o.why, retries: o.opts?.retries, sinceConnect: 0, ticks: [] };
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

// cut breaks the connection below the client, which reconnects as after any broken connection, unless away is true.
function cut(c, how, { url, away } = {}) {
  const manager = c.socket.io;
  if (url) manager.uri = url;
  manager.reconnection(!away);
  // While it connects the manager handles errors only, not a close: it would wait for its timeout. There is no
  // connection to break yet.
  if (manager._readyState !== "open") return;
  const engine = manager.engine;
  const ws = engine.transport.ws;
  if (!ws && how !== "close") {
    // Long-polling. The server notices a reset when the open poll is aborted.
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
    case "half": // the TCP connection stays open, and the client ignores it
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
  const socket = c.retries ? c.socket : c.socket.timeout(o.timeout ?? 60000); // with retries, ackTimeout is the timeout of each try
  socket.emit(o.event, ...args, (err, ...answer) => {
    report(c, { t: "ack", n: o.n, args: pack(answer), error: err?.message });
  });
}

const each = (k, f) => (Array.isArray(k) ? k : [k]).forEach((i) => f(clients.get(i)));

const commands = {
  open,
  also,
  emit,
  cut: (o) => each(o.k, (c) => cut(c, o.how, o)),
  back: (o) => each(o.k, (c) => back(c, o.url)),
  cuts: (o) => each(o.k, (c) => ((c.cuts = [...o.cuts]), (c.sinceConnect = 0))),
  auth: (o) => each(o.k, (c) => (c.socket.auth = o.auth)),
  leave: (o) => each(o.k, (c) => c.socket.disconnect()),
  roam: (o) => each(o.k, (c) => (c.roam = true)),
  state: (o) => each(o.k, (c) => report(c, { t: "state", offset: c.socket._lastOffset, pid: c.socket._pid, transport: c.socket.io.engine.transport.name })),
  nodes: (o) => (nodes = o.urls),
  sync: (o) => report(undefined, { t: "sync", n: o.n }),
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const o = JSON.parse(line);
    try {
      commands[o.c](o);
    } catch (err) {
      report(undefined, { t: "failed", command: line.slice(0, 200), message: err.message });
    }
    if (o.c === "sync") flush();
  })
  .on("close", () => process.exit(0));
