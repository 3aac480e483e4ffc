import { createServer } from "node:http";
import pg from "pg";
import { Server } from "socket.io";
import { io as connect } from "socket.io-client";

const db = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const http = createServer();
const io = new Server(http, { connectionStateRecovery: {} });

const insertAndEmit = `
  WITH post AS (INSERT INTO messages (content, client_offset) VALUES ($1, $2) RETURNING content, id)
  SELECT socketio.emit_all('chat message', args => jsonb_build_array(content, id), notify => true) FROM post`;

io.on("connection", async (socket) => {
  socket.on("chat message", async (msg, clientOffset, callback) => {
    try {
      await db.query(insertAndEmit, [msg, clientOffset]); // in place of io.emit
    } catch (err) {
      if (err.code === "23505") callback();
      return;
    }
    callback();
  });

  if (!socket.recovered) {
    const after = socket.handshake.auth.serverOffset ?? 0;
    const { rows } = await db.query("SELECT content, id FROM messages WHERE id > $1 ORDER BY id", [after]);
    for (const row of rows) socket.emit("chat message", row.content, row.id);
  }
});

// The Go server's events, for the clients of this process.
const { rows } = await db.query("SELECT coalesce(max(id), 0) AS id FROM messages");
const log = connect(process.env.GO_URL, { transports: ["websocket"], auth: { serverOffset: rows[0].id } });
log.on("chat message", (msg, id) => {
  log.auth.serverOffset = id;
  io.local.emit("chat message", msg, id);
});
log.once("connect", () => http.listen(process.env.PORT ?? 3000, "127.0.0.1"));
