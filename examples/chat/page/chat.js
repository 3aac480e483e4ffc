// @ts-check
"use strict";

// The chat's page. Everything about Socket.IO is in the first half; the rest
// draws. The types of the events are in ../events.d.ts, which the Go program writes:
// an editor shows where the page does not fit them.

/** @type {(selector: string) => any} */
const $ = (selector) => document.querySelector(selector);

const awayFor = 20; // seconds for which "Cut the line" keeps the page away

/** @type {import("socket.io-client").Socket<import("../events").ServerToClientEvents, import("../events").ClientToServerEvents>} */
const socket = io(location.origin, {
  autoConnect: false,
  transports: ["websocket"],
  reconnectionDelay: 300,
  reconnectionDelayMax: 2000,
  timeout: 3000,
});

let nodes = [location.host]; // all nodes, once the first has told
let at = location.host;      // the node that serves us, or that is asked next
let wanted = null;           // the node that the user wants to be served by
/** @type {string | null} */
let served = null;           // the node that serves us, or served us last
let dead = new Set();        // the nodes that do not answer
/** @type {Element[] | null} */
let recent = null;           // what came on this connection, until its node has said how much of it is a replay
let sessions = 0;            // how many times we were a new client to the cluster

// Any node will do. The client keeps what it needs to come back in the socket, so
// that only the address changes; the manager reads it at every attempt.
function nextNode() {
  at = wanted ?? nodes[(nodes.indexOf(at) + 1) % nodes.length];
  wanted = null;
  Object.assign(socket.io, { uri: `${location.protocol}//${at}` });
}

socket.io.on("reconnect_attempt", () => {
  nextNode();
  drawState("away", `asking ${at} …`);
});

socket.io.on("error", () => {
  log(`${at} does not answer`, "bad");
  dead.add(at);
  drawNodes();
});

socket.on("connect", async () => {
  /** @type {Element[]} */
  const arrived = []; // another connection has another list
  recent = arrived;
  /** @type {import("../events").AnswerOf<"chat:hello">} */
  let welcome;
  try {
    welcome = await socket.emitWithAck("chat:hello");
  } catch {
    // Lost again before the answer, which would have come after the replay.
    if (socket.recovered) arrived.forEach(markReplayed);
    return;
  }
  recent = null;
  if ("error" in welcome) return log(welcome.error.code, "bad");
  arrived.slice(0, welcome.replayed).forEach(markReplayed);
  // Behind a proxy there is one address, and the page does not learn those of the nodes.
  nodes = welcome.nodes ?? [location.host];
  at = served = welcome.nodes ? welcome.node : location.host;
  dead.delete(at);
  drawEntered(welcome, arrived);
  askNodes();
  if (socket.recovered) {
    return; // the rooms are those that we were in
  }
  sessions++;
  for (const room of rooms.values()) {
    if (room.joined) join(room);
  }
});

socket.on("disconnect", (reason) => {
  log(`lost ${at}: ${reason}`, "bad");
  drawBreak("no connection: what is said now comes later", "lost", []);
  if (!cutTimer) drawState("away", "the line is lost");
  drawNodes();
});

socket.on("connect_error", (err) => {
  if (socket.active) return; // no connection: the client tries again by itself
  leaveChat(err.message);    // the middleware refused it
});

// A recorded event ends with an argument for the client: its offset, which the
// client has taken note of already. Handlers are free to ignore it.
socket.on("chat:posted", (post) => {
  if (post.number) rooms.get(post.room).tally.count(post.number);
  received(post.room, drawPost(post));
  drawTally();
});
// What was posted before we joined a room: one event, and the posts that follow continue it.
// A page that comes back as somebody new has seen some of it.
socket.on("chat:earlier", ({ room, events, complete }) => {
  const posts = events.flatMap((e) => (e[0] === "chat:posted" ? [e[1]] : []));
  const { tally, seen } = rooms.get(room);
  const note = element("li", "note", `${posts.length} earlier posts${complete ? "" : ", all that are kept"}`);
  if (posts.length > 0) received(room, note);
  else recent?.push(note);
  for (const post of posts) {
    if (!post.number || post.number > seen) drawLine(rooms.get(room), drawPost(post, "earlier"));
  }
  tally.earlier(posts.flatMap(({ number }) => number ?? []));
  drawTally();
});
// Who is in a room: a list when we join, and then what changes. Somebody whose line is cut stays in the list until
// it is known that they do not come back.
socket.on("chat:here", (event) => {
  recent?.push(element("li"));
  if (rooms.get(event.room).here.fold(event)) drawHere();
});
socket.on("chat:moved", (moving) => received(moving.room, drawMoving(moving)));

function received(name, line) {
  recent?.push(line);
  drawLine(rooms.get(name), line);
}

// The Members of one room, by the ids of their sockets.
class Members {
  /** @type {Map<string, import("../events").User>} */
  all = new Map();
  /** @type {Map<string, import("../events").User>} */
  list = new Map(); // the parts so far
  version = -1;     // before the list

  /**
   * fold returns whether the members may have changed.
   * @param {import("../events").PresenceEventUser} event
   */
  fold({ version, members, part, parts, entered, updated, left }) {
    if (members) {
      if (part === 1) this.list = new Map();
      for (const { id, state } of members) this.list.set(id, state);
      if (part !== parts) return false; // more parts follow
      this.all = this.list;
      this.list = new Map();
      this.version = version;
      return true;
    }
    if (this.version < 0 || version <= this.version) return false; // the list contains it
    this.version = version;
    for (const { id, state } of [...(entered ?? []), ...(updated ?? [])]) this.all.set(id, state);
    for (const id of left ?? []) this.all.delete(id);
    return true;
  }
}

// A Tally counts the posts of a room by the numbers that the cluster gave them, which
// have no gaps. It begins with the first post that the page receives.
class Tally {
  received = 0;
  replayed = 0;
  doubled = 0;
  disordered = 0;      // received after a post with a higher number
  missing = new Set(); // the numbers between the first and the last that were not received
  /** @type {any} */
  first = null;
  /** @type {any} */
  last = null;

  count(number) {
    this.received++;
    this.first ??= number;
    this.last ??= number - 1;
    if (number > this.last) {
      for (let n = this.last + 1; n < number; n++) this.missing.add(n);
      this.last = number;
    } else if (number < this.first) {
      for (let n = number + 1; n < this.first; n++) this.missing.add(n);
      this.first = number;
      this.disordered++;
    } else if (this.missing.delete(number)) {
      this.disordered++;
    } else {
      this.doubled++;
    }
  }

  // earlier: the numbers of posts that the page shows without having received each. Those that
  // it receives continue them.
  earlier(numbers) {
    for (const number of numbers) {
      this.first ??= number;
      this.last ??= number - 1;
      for (let n = this.last + 1; n < number; n++) this.missing.add(n);
      this.last = Math.max(this.last, number);
      this.missing.delete(number);
    }
  }

  // pause: the posts until the next one are not for this page, it was not in the room.
  pause() {
    this.first = this.last = null;
  }
}

// askNodes asks which nodes answer: after every connect, and again and again.
async function askNodes() {
  if (!socket.connected) return;
  try {
    const states = await request("chat:nodes");
    dead = new Set((states ?? []).filter((n) => !n.answers).map((n) => n.address));
    drawNodes();
  } catch {
    // The connection is lost, which is shown elsewhere.
  }
}
setInterval(askNodes, 1000);

/**
 * @template {keyof import("../events").ClientToServerEvents} Name
 * @param {Name} event
 * @param {Parameters<import("../events").ClientToServerEvents[Name]> extends [...infer Payload, any] ? Payload : never} payload
 * @returns {Promise<Exclude<import("../events").AnswerOf<Name>, import("../events").ErrorReply>>}
 */
async function request(event, ...payload) {
  /** @type {any} */
  const patient = socket.timeout(5000);
  const answer = await patient.emitWithAck(event, ...payload);
  if (answer?.error) throw new Error(answer.error.message ?? answer.error.code);
  return answer;
}

async function join(room) {
  try {
    await request("chat:join", { room: room.name });
    room.joined = true;
  } catch (err) {
    log(`not in ${room.name}: ${err.message}`, "bad");
  }
  drawRooms();
}

async function leave(room) {
  try {
    await request("chat:leave", { room: room.name });
    room.joined = false;
  } catch (err) {
    log(`still in ${room.name}: ${err.message}`, "bad");
  }
  drawRooms();
}

async function say(room, text) {
  try {
    await request("chat:say", { room: room.name, text });
  } catch (err) {
    log(`not confirmed, though it may have been said: "${text}" (${err.message})`, "bad");
    $("#text").value ||= text;
  }
}

// cut closes the connection below Socket.IO, which says no goodbye: to the server
// the line is simply gone. It stays so for a while, or until mend.
/** @type {number | undefined} */
let cutTimer;

function cut() {
  socket.io.reconnection(false); // else the client is back in a moment
  socket.io.engine.close();
  let seconds = awayFor;
  const tick = () => {
    if (seconds === 0) return mend();
    drawState("cut", `the line is cut, for ${seconds--} s`);
    cutTimer = setTimeout(tick, 1000);
  };
  tick();
  $("#cut").textContent = "Mend it";
}

function mend() {
  clearTimeout(cutTimer);
  cutTimer = undefined;
  $("#cut").textContent = "Cut the line";
  socket.io.reconnection(true);
  nextNode();
  drawState("away", `asking ${at} …`);
  socket.connect();
}

function goTo(node) {
  wanted = node;
  if (cutTimer) mend();
  else socket.io.engine.close(); // the client comes back, to the node that is wanted
}

// A page that goes away says goodbye; the others need not wait whether it comes back.
addEventListener("pagehide", () => socket.disconnect());
addEventListener("pageshow", (event) => event.persisted && socket.connect());

// ---- From here on: what is seen. ----

/** @type {Map<string, any>} */
const rooms = new Map(["lobby", "engine", "galley"].map((name) => {
  const lines = element("ol");
  const button = element("button", "", name);
  const unread = element("b");
  button.append(unread);
  const room = { name, lines, button, unread, joined: name === "lobby", tally: new Tally(), here: new Members(), seen: 0 };
  button.onclick = () => show(room);
  $("#lines").append(lines);
  $("#rooms").append(button);
  return [name, room];
}));
let shown = rooms.get("lobby");
const names = new Map(); // of users, by the ids of their sockets

function element(tag, className = "", text = "") {
  const e = document.createElement(tag);
  e.className = className;
  e.textContent = text;
  return e;
}

function clock(date = new Date()) {
  return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

function scrollToEnd() {
  $("#lines").scrollTop = $("#lines").scrollHeight;
}

function show(room) {
  shown = room;
  room.unread.textContent = "";
  drawRooms();
  scrollToEnd();
  if (room.joined) $("#text").focus();
}

function drawRooms() {
  for (const room of rooms.values()) {
    room.lines.hidden = room !== shown;
    room.button.classList.toggle("joined", room.joined);
    room.button.ariaCurrent = room === shown;
  }
  $("#composer").hidden = !shown.joined;
  $("#outside").hidden = shown.joined;
  $("#text").placeholder = `Message to ${shown.name}`;
  drawHere();
}

function drawHere() {
  const people = [...shown.here.all.values()].map(({ name }) => name).sort();
  $("#here").hidden = !shown.joined;
  $("#here").textContent = `here: ${people.join(", ") || "nobody"}`;
}

/**
 * @param {import("../events").Post} post
 * @param {string} [className]
 */
function drawPost(post, className = "post") {
  const room = rooms.get(post.room);
  room.seen = Math.max(room.seen, post.number ?? 0);
  names.set(post.from, post.name);
  const li = element("li", post.from === socket.id ? `${className} mine` : className);
  const head = element("small");
  const time = element("time", "", clock(new Date(post.at)));
  head.append(element("b", "number", post.number ? `#${post.number}` : ""), element("strong", "", post.name), time, element("span", "", `at ${post.node.replace(/.*:/, "")}`), badge());
  li.append(head, element("p", "", post.text));
  return li;
}

/** @param {import("../events").Moving} moving */
function drawMoving({ who, name, how }) {
  if (name) names.set(who, name);
  const text = { joined: "joined", left: "left", lost: "did not come back" }[how];
  const li = element("li", "note", `${names.get(who) ?? "somebody"} ${text}`);
  li.append(badge());
  return li;
}

function badge() {
  const b = element("b", "badge", "replayed");
  b.title = "sent after a reconnect: you were away when it was said";
  return b;
}

function markReplayed(line) {
  line.classList.add("replayed");
  if (!line.classList.contains("post")) return;
  for (const room of rooms.values()) {
    if (line.parentNode === room.lines) room.tally.replayed++;
  }
  drawTally();
}

// drawTally shows the sums of all rooms.
function drawTally() {
  const sum = { received: 0, replayed: 0, missed: 0, doubled: 0, disordered: 0 };
  for (const { tally } of rooms.values()) {
    for (const name of ["received", "replayed", "doubled", "disordered"]) sum[name] += tally[name];
    sum.missed += tally.missing.size;
  }
  for (const [name, n] of Object.entries(sum)) $(`#${name}`).textContent = n;
  for (const name of ["missed", "doubled", "disordered"]) $(`#${name}`).className = sum[name] === 0 ? "good" : "bad";
}

function drawLine(room, line) {
  const { scrollHeight, scrollTop, clientHeight } = $("#lines");
  const atEnd = scrollHeight - scrollTop - clientHeight < 60;
  room.lines.append(line);
  if (room !== shown) {
    if (line.classList.contains("post")) room.unread.textContent = Number(room.unread.textContent) + 1;
  } else if (atEnd) {
    scrollToEnd();
  }
}

// drawBreak puts a line into the rooms, above what came on this connection.
function drawBreak(text, className, arrived) {
  for (const room of rooms.values()) {
    if (!room.joined) continue;
    const first = arrived.find((line) => line.parentNode === room.lines);
    room.lines.insertBefore(element("li", `break ${className}`, text), first ?? null);
  }
  scrollToEnd();
}

function drawState(className, text) {
  $("#state").className = className;
  $("#state span").textContent = text;
}

/**
 * @param {import("../events").Welcome} welcome
 * @param {Element[]} arrived
 */
function drawEntered({ node, process, recovered, replayed, reason }, arrived) {
  const events = replayed === 1 ? "1 event" : `${replayed} events`;
  drawState("online", `on ${node}`);
  if (recovered) {
    log(`${node}: recovered, ${events} replayed`, "good");
    drawBreak(`back at ${node}: recovered, ${events} replayed`, "", arrived);
  } else if (sessions === 0) {
    log(`${node}: connected`, "good");
  } else {
    log(`${node}: not recovered${reason ? `, ${reason}` : ""}`, "bad");
    drawBreak(`back at ${node} as somebody new: something may be missing here`, "bad", arrived);
  }
  $("#kill code").textContent = `kill -9 ${process}`;
  drawNodes();
  $("#door").hidden = true;
  $("#chat").hidden = false;
  drawRooms();
}

// drawNodes changes only what differs, so that nothing moves under a pointer.
function drawNodes() {
  const list = $("#nodes");
  if (list.childElementCount !== nodes.length) {
    list.replaceChildren(...nodes.map((n) => {
      const li = element("li");
      const go = element("button", "", "go there");
      go.onclick = () => goTo(n);
      li.append(element("span", "", n), element("em"), go);
      return li;
    }));
  }
  nodes.forEach((n, i) => {
    const li = list.children[i];
    const here = n === served && !dead.has(n);
    li.className = dead.has(n) ? "dead" : here ? "here" : "";
    li.querySelector("em").textContent = dead.has(n) ? "dead" : here ? (socket.connected ? "serves you" : "served you") : "";
    li.querySelector("button").hidden = dead.has(n) || here;
  });
}

function log(text, className = "") {
  const li = element("li", className);
  li.append(element("time", "", clock()), element("span", "", text));
  $("#log").append(li);
  if ($("#log").childElementCount > 50) $("#log").firstChild.remove();
}

function leaveChat(why) {
  $("#refusal").textContent = why;
  $("#door").hidden = false;
  $("#chat").hidden = true;
}

$("#enter").onsubmit = (event) => {
  event.preventDefault();
  socket.auth = { name: $("#name").value };
  socket.connect();
};

$("#composer").onsubmit = (event) => {
  event.preventDefault();
  say(shown, $("#text").value);
  $("#text").value = "";
};

$("#cut").onclick = () => (cutTimer ? mend() : cut());
$("#join").onclick = () => {
  shown.tally.pause();
  join(shown);
};
$("#leave").onclick = () => leave(shown);
$("#kill button").onclick = async ({ target }) => {
  target.textContent = (await copy($("#kill code"))) ? "Copied" : "Press Ctrl-C";
  setTimeout(() => (target.textContent = "Copy"), 2000);
};
// copy copies the text of an element, or selects it if the browser does not permit that.
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    // Only pages of localhost and https have a clipboard; the older command works on all.
    getSelection()?.selectAllChildren(element);
    return document.execCommand("copy");
  }
}

$("#side").ontoggle = scrollToEnd;
if (matchMedia("(max-width: 820px)").matches) $("#side").open = false;
