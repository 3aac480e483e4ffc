import cluster from "node:cluster";
import { createServer } from "node:http";
import { createAdapter, setupPrimary } from "@socket.io/cluster-adapter";
import pg from "pg";
import { Server } from "socket.io";

if (cluster.isPrimary) {
  const port = Number(process.env.PORT ?? 3000);
  cluster.fork({ PORT: port });
  cluster.fork({ PORT: port + 1 });
  setupPrimary();
} else {
  const db = new pg.Pool({ connectionString: process.env.DATABASE_URL });
  const http = createServer();
  const io = new Server(http, {
    connectionStateRecovery: {},
    adapter: createAdapter(),
  });

  io.on("connection", async (socket) => {
    socket.on("chat message", async (msg, clientOffset, callback) => {
      let result;
      try {
        result = await db.query("INSERT INTO messages (content, client_offset) VALUES ($1, $2) RETURNING id", [msg, clientOffset]);
      } catch (err) {
        if (err.code === "23505") callback(); // unique_violation: it was sent before
        return; // otherwise the client sends it again
      }
      io.emit("chat message", msg, result.rows[0].id);
      callback();
    });

    if (!socket.recovered) {
      const after = socket.handshake.auth.serverOffset ?? 0;
      const { rows } = await db.query("SELECT content, id FROM messages WHERE id > $1 ORDER BY id", [after]);
      for (const row of rows) socket.emit("chat message", row.content, row.id);
    }
  });

  http.listen(process.env.PORT, "127.0.0.1");
}
