import cluster from "node:cluster";
import { createServer } from "node:http";
import { createAdapter, setupPrimary } from "@socket.io/cluster-adapter";
import { Server } from "socket.io";

if (cluster.isPrimary) {
  const port = Number(process.env.PORT ?? 3000);
  cluster.fork({ PORT: port });
  cluster.fork({ PORT: port + 1 });
  setupPrimary();
} else {
  const http = createServer();
  const io = new Server(http, {
    adapter: createAdapter(),
    path: "/live/",
    transports: ["polling", "websocket"],
    pingInterval: 25_000,
    pingTimeout: 20_000,
    connectTimeout: 45_000,
    upgradeTimeout: 10_000,
    maxHttpBufferSize: 1e6,
    perMessageDeflate: false,
    httpCompression: { threshold: 1024 },
    cookie: { name: "io" },
    cors: { origin: ["https://app.example"], credentials: true },
    allowRequest: (req, callback) => callback(null, req.headers["x-banned"] === undefined),
    connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true },
    cleanupEmptyChildNamespaces: true,
  });

  // Connections.
  io.use((socket, next) => {
    const { user } = socket.handshake.auth;
    if (user === "mallory") {
      const err = new Error("unauthorized");
      err.data = "log in";
      return next(err);
    }
    socket.data.user = user;
    next();
  });
  io.on("connection", (socket) => {
    socket.join(`user:${socket.data.user}`);
    socket.on("disconnect", (reason) => {
      io.emit("left", socket.data.user, reason);
    });

    // Events and acknowledgements.
    socket.onAny((event) => console.log(event));
    socket.onAnyOutgoing((event) => console.log(event));
    socket.use(([event], next) => {
      if (event !== "forbidden") next();
    });
    socket.on("forbidden", () => io.emit("forbidden"));
    socket.on("hello", (name) => {
      socket.emit("welcome", name);
    });
    socket.on("add", (a, b, callback) => {
      callback(a + b);
    });
    socket.on("upload", (file, callback) => {
      callback(file.length);
    });
    socket.on("ask me", async () => {
      const answer = await socket.timeout(5000).emitWithAck("question", "why?");
      socket.emit("answered", answer);
    });
    socket.on("ask one", async (id) => {
      const [answer] = await io.to(id).timeout(5000).emitWithAck("question", "you?");
      socket.emit("answered", answer);
    });
    socket.on("ask all", async () => {
      const answers = await io.timeout(5000).emitWithAck("question", "who?");
      socket.emit("answered", answers.sort());
    });

    // Rooms.
    socket.on("join", async (room, callback) => {
      await socket.join(room);
      callback(socket.rooms.has(room));
    });
    socket.on("leave", async (room, callback) => {
      await socket.leave(room);
      callback(socket.rooms.has(room));
    });
    socket.on("say", (room, text) => {
      io.to(room).except("muted").emit("said", text);
    });
    socket.on("say to others", (room, text) => {
      socket.to(room).emit("said", text);
    });
    socket.on("news", (text) => {
      socket.broadcast.emit("news", text);
    });
    socket.on("private", (to, text) => {
      io.to(to).emit("said", text);
    });
    socket.on("tick", () => {
      io.volatile.emit("tick", 1);
    });
    socket.on("here", () => {
      io.local.emit("here", 1);
    });

    // The cluster.
    socket.on("who", async (room, callback) => {
      const sockets = await io.in(room).fetchSockets();
      callback(sockets.map((s) => s.data.user).sort());
    });
    socket.on("gather", (callback) => {
      io.in("team").socketsJoin("meeting");
      callback();
    });
    socket.on("dismiss", (callback) => {
      io.in("meeting").socketsLeave("meeting");
      callback();
    });
    socket.on("reload", () => {
      io.serverSideEmit("reload", "prices");
    });
    socket.on("count", async (callback) => {
      const counts = await io.serverSideEmitWithAck("count");
      callback(counts);
    });
    socket.on("kick", (user) => {
      io.in(`user:${user}`).disconnectSockets();
    });
    socket.on("bye", () => {
      socket.disconnect();
    });
  });
  io.on("reload", (what) => {
    io.local.emit("reloaded", what);
  });
  io.on("count", (callback) => {
    callback(io.engine.clientsCount);
  });

  // Namespaces.
  io.of("/admin").use((socket, next) => {
    next(socket.handshake.query.key === "secret" ? undefined : new Error("forbidden"));
  });
  io.of(/^\/tenant-\d+$/).on("connection", (socket) => {
    socket.emit("tenant", socket.nsp.name);
  });
  io.on("new_namespace", (namespace) => console.log(namespace.name));
  io.of("/").adapter.on("create-room", (room) => console.log(room));
  io.engine.on("connection_error", (err) => console.log(err.code, err.message));
  io.engine.on("headers", (headers) => {
    headers["x-served-by"] = "chat";
  });

  http.listen(process.env.PORT, "127.0.0.1");
  process.on("SIGTERM", () => io.close());
}
