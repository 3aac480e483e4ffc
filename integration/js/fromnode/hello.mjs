import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http);

io.on("connection", (socket) => {
  console.log("a user connected");
  socket.on("chat message", (msg) => {
    io.emit("chat message", msg);
  });
  socket.on("typing", (name) => {
    socket.broadcast.emit("typing", name);
  });
  socket.on("disconnect", () => {
    console.log("user disconnected");
  });
});

http.listen(process.env.PORT ?? 3000, "127.0.0.1");
