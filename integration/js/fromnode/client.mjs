// The client of a server of docs/from-node.md. It prints what it observes, one JSON array a line: the Node server and the Go
// server have to be told apart by nothing but the lines that begin with "recovered".
//
//   node client.mjs hello URL URL     the two clients of the tutorial's first steps
//   node client.mjs chat URL URL      its last steps, with database, retries and recovery
//   node client.mjs idioms URL URL    one of each idiom
import { io } from "socket.io-client";

const [scenario, one, two] = process.argv.slice(2);
const say = (...what) => console.log(JSON.stringify(what));
const once = (socket, event) => new Promise((resolve) => socket.once(event, resolve));
const all = (...promises) => Promise.all(promises);

// connected opens a client and waits until the server has let it in.
async function connected(url, opts = {}) {
  const socket = io(url, { forceNew: true, reconnectionDelay: 50, randomizationFactor: 0, ...opts });
  await once(socket, "connect");
  return socket;
}

const scenarios = {
  async hello() {
    const [ada, bob] = [await connected(one), await connected(two)];
    const received = all(once(ada, "chat message"), once(bob, "chat message"));
    ada.on("typing", () => say("a client received its own broadcast"));
    ada.emit("chat message", "hello");
    say("everybody received", await received);
    const typing = once(bob, "typing");
    ada.emit("typing", "Ada");
    say("the others received", await typing);
    const last = all(once(ada, "chat message"), once(bob, "chat message"));
    bob.emit("chat message", "bye");
    say("everybody received", await last);
    ada.close();
    bob.close();
  },

  // A client of the tutorial: it remembers the last message, and sends until it is answered.
  async chat() {
    const reader = async (url, name, serverOffset) => {
      const socket = io(url, { forceNew: true, withCredentials: true, auth: { serverOffset }, ackTimeout: 5000, retries: 3 });
      const posts = [];
      let wanted;
      socket.on("chat message", (msg, id) => {
        socket.auth.serverOffset = id;
        posts.push(msg);
        if (posts.length === wanted?.n) wanted.resolve();
      });
      socket.on("connect", () => say("recovered", name, socket.recovered));
      const received = async (n) => {
        if (posts.length < n) await new Promise((resolve) => (wanted = { n, resolve }));
        return posts;
      };
      await once(socket, "connect");
      return { socket, received };
    };
    const ada = await reader(one, "ada", 1e9); // has all that there is
    const eve = await reader(two, "eve", 1e9);
    const post = (msg, id) => new Promise((resolve, reject) => ada.socket.emit("chat message", msg, id, (err, ...answer) => (err ? reject(err) : resolve(answer))));
    say("answer", await post("one", "ada-0"));
    say("answer to the same", await post("one", "ada-0"));
    await post("two", "ada-1");
    say("ada", await ada.received(2));
    // What is posted while a client connects may reach it twice, in both servers, also as history: nothing is.
    await eve.received(2);
    const bob = await reader(two, "bob", 0);
    say("bob", await bob.received(2));
    await post("three", "ada-2");
    say("bob", await bob.received(3));

    bob.socket.io.reconnection(false);
    const away = once(bob.socket, "disconnect");
    bob.socket.io.engine.close(); // the connection breaks
    await away;
    await post("four", "ada-3");
    await all(ada.received(4), eve.received(4));
    bob.socket.connect();
    await once(bob.socket, "connect");
    say("bob", await bob.received(4));

    const cleo = await reader(one, "cleo", 0);
    say("cleo, who is new", await cleo.received(4));
    const dan = await reader(two, "dan", bob.socket.auth.serverOffset - 2);
    say("dan, who has two", await dan.received(2));
    await post("five", "ada-4");
    say("all", [await ada.received(5), await bob.received(5), await cleo.received(5), await dan.received(3)]);
    for (const { socket } of [ada, bob, cleo, dan, eve]) socket.close();
  },

  async idioms() {
    const path = "/live/";
    const opened = async (url, auth, opts) => {
      const socket = await connected(url, { path, auth, ...opts });
      socket.on("question", (q, reply) => reply(`${auth.user}: ${q}`));
      socket.on("forbidden", () => say("an event passed that socket.use stops"));
      return socket;
    };
    const ada = await opened(one, { user: "ada" }, { transports: ["websocket"] });
    const bob = await opened(two, { user: "bob" });
    const ask = (socket, ...args) => socket.timeout(10_000).emitWithAck(...args);
    const both = (event) => all(once(ada, event), once(bob, event));

    const mallory = io(one, { path, auth: { user: "mallory" }, forceNew: true });
    const refusal = await once(mallory, "connect_error");
    say("refused", refusal.message, refusal.data);
    mallory.close();
    const page = (headers) => fetch(`${one}${path}?EIO=4&transport=polling`, { headers });
    const answer = await page({ origin: "https://app.example" });
    const [header, ...attributes] = answer.headers.get("set-cookie").split("; ");
    say("cors", answer.headers.get("access-control-allow-origin"), answer.headers.get("access-control-allow-credentials"));
    say("headers", answer.headers.get("x-served-by"), header.split("=")[0], attributes.sort());
    const { sid, ...handshake } = JSON.parse((await answer.text()).slice(1));
    say("handshake", handshake);
    await fetch(`${one}${path}?EIO=4&transport=polling&sid=${sid}`, { method: "POST", body: "1" });
    const banned = await page({ "x-banned": "yes" });
    say("not allowed", banned.status, await banned.json());

    const welcome = once(ada, "welcome");
    ada.emit("forbidden");
    ada.emit("hello", "Ada");
    say("welcome", await welcome);
    say("answers", await ask(ada, "add", 1, 2), await ask(bob, "add", 3, 4), await ask(ada, "upload", Buffer.from([1, 2, 3])));
    const answered = once(ada, "answered");
    ada.emit("ask me");
    say("answered", await answered);
    const onlyOne = once(ada, "answered");
    ada.emit("ask one", bob.id);
    say("one answered", await onlyOne);
    const answers = once(bob, "answered");
    bob.emit("ask all");
    say("all answered", await answers);

    say("joined", await ask(ada, "join", "team"), await ask(bob, "join", "team"), await ask(bob, "join", "muted"));
    let said = once(ada, "said");
    bob.once("said", (text) => say("bob, who is muted or the speaker, received", text));
    ada.emit("say", "team", "not for the muted");
    say("said", await said);
    said = once(ada, "said");
    bob.emit("say to others", "team", "not for myself");
    say("said", await said);
    bob.removeAllListeners("said");
    say("left", await ask(bob, "leave", "muted"));
    said = both("said");
    ada.emit("say", "team", "to all");
    say("said", await said);
    const news = once(bob, "news");
    ada.emit("news", "to the others");
    say("news", await news);
    said = once(bob, "said");
    ada.emit("private", bob.id, "for one");
    say("said", await said);
    const ticks = both("tick");
    ada.emit("tick");
    say("volatile", await ticks);
    const here = once(ada, "here");
    bob.once("here", () => say("a local event reached another node"));
    ada.emit("here");
    say("local", await here);

    say("in the team", await ask(ada, "who", "team"));
    await ask(ada, "gather"); // in Node it is not known when it has taken effect
    while ((await ask(bob, "who", "meeting")).length < 2);
    said = both("said");
    bob.emit("say", "meeting", "after socketsJoin");
    say("said", await said);
    await ask(bob, "dismiss");
    while ((await ask(bob, "who", "meeting")).length > 0);
    bob.emit("say", "meeting", "after socketsLeave"); // for nobody
    said = both("said");
    bob.emit("say", "team", "the last");
    say("said", await said);
    const reloaded = once(bob, "reloaded");
    ada.emit("reload");
    say("serverSideEmit", await reloaded);
    say("serverSideEmitWithAck", await ask(ada, "count"));

    const admin = io(`${one}/admin`, { path, forceNew: true });
    say("namespace", (await once(admin, "connect_error")).message);
    admin.close();
    const key = await connected(`${one}/admin`, { path, query: { key: "secret" } });
    key.close();
    const tenant = io(`${one}/tenant-7`, { path, forceNew: true });
    say("dynamic namespace", await once(tenant, "tenant"));
    tenant.close();
    const unknown = io(`${one}/unknown`, { path, forceNew: true });
    say("unknown namespace", (await once(unknown, "connect_error")).message);
    unknown.close();

    const kicked = all(once(bob, "disconnect"), new Promise((resolve) => ada.once("left", (...args) => resolve(args.slice(0, 2)))));
    ada.emit("kick", "bob");
    say("kicked", await kicked);
    const end = once(ada, "disconnect");
    ada.emit("bye");
    say("disconnected", await end);
    bob.close();
    ada.close();
  },
};

await scenarios[scenario]();
