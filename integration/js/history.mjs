// Official clients that join rooms with their histories, at several nodes, and lose their connections again and again. Each
// checks that the events of a room, those of the history and those after it, have consecutive numbers, and so have the
// events of the room "all", which they do not leave. Prints one line of JSON: {joins, cuts, histories, faults}.
//
//   node history.mjs CLIENTS JOINS URL...
import { io } from "socket.io-client";

const [clients, joins, ...urls] = process.argv.slice(2);
const rooms = 6;
const result = { joins: 0, cuts: 0, histories: 0, faults: [] };
const random = (n) => Math.floor(Math.random() * n);
const fault = (text) => result.faults.length < 5 && result.faults.push(text);

// A reader is one client; last has the last number of each room that it is in.
class Reader {
  last = new Map();
  joining = null;

  constructor() {
    const s = io(urls[random(urls.length)], {
      transports: ["websocket"], forceNew: true, reconnectionDelay: 1, reconnectionDelayMax: 50, timeout: 8000,
    });
    s.io.on("reconnect_attempt", () => (s.io.uri = urls[random(urls.length)]));
    let id;
    s.on("connect", () => {
      if (id && (!s.recovered || s.id !== id)) fault(`not recovered: ${s.id}, was ${id}`);
      id = s.id;
      this.cutting = false;
    });
    s.on("start", (last) => this.last.set("all", last));
    s.on("post", ({ room, number }) => {
      const last = this.last.get(room);
      if (number !== last + 1) fault(`${id}: ${room} ${number} after ${last}, joining ${this.joining}`);
      this.last.set(room, number);
      this.maybeCut();
    });
    s.on("earlier", ({ room, events, complete }) => {
      result.histories++;
      if (room !== this.joining || this.last.has(room)) fault(`${id}: history of ${room}, joining ${this.joining}, last ${this.last.get(room)}`);
      if (!complete || events.length !== 5) fault(`${id}: ${events.length} events of ${room}, complete: ${complete}`);
      for (const [event, post] of events) {
        const last = this.last.get(room);
        if (event !== "post" || post.room !== room || (last !== undefined && post.number !== last + 1)) fault(`${id}: ${JSON.stringify(events)}`);
        this.last.set(room, post.number);
      }
      this.maybeCut();
    });
    this.socket = s;
  }

  maybeCut() {
    if (random(40) === 0 && !this.cutting) this.cut();
  }

  // cut resets the connection. The client processes nothing of it any more.
  cut() {
    this.cutting = true;
    result.cuts++;
    this.socket.io.engine?.transport?.ws?._socket?.resetAndDestroy();
  }

  // request repeats a request until it is answered.
  async request(name, room) {
    for (;;) {
      if (random(20) === 0 && !this.cutting) setImmediate(() => this.cut());
      try {
        const answer = await this.socket.timeout(3000).emitWithAck(name, room);
        if (answer) fault(`${name}: ${JSON.stringify(answer)}`);
        return;
      } catch {
        // It was lost with its connection, or its answer was.
      }
    }
  }

  async run() {
    await this.request("begin", "");
    for (let i = 0; i < Number(joins); i++) {
      const room = `room ${random(rooms)}`;
      this.joining = room;
      await this.request("join", room);
      if (!this.last.has(room)) fault(`the join of ${room} was answered before its history`);
      this.joining = null;
      result.joins++;
      for (let n = random(4); n > 0; n--) await this.request("write", "");
      await this.request("leave", room);
      this.last.delete(room);
    }
  }
}

await Promise.all(Array.from({ length: Number(clients) }, () => new Reader().run()));
console.log(JSON.stringify(result));
process.exit();
