// Connects, emits a burst of events that are handled slowly, and then asks for two answers: how many events were handled, and
// for an event of 5 MB before the answer. Prints what it received.
//
//	node burst.mjs URL TRANSPORTS EVENTS
import { io } from "socket.io-client";

const [url, transports, events] = process.argv.slice(2);
const socket = io(url, { transports: transports.split(","), reconnection: false });
let large = 0;
socket.on("large", (text) => (large = text.length));
socket.on("disconnect", (reason) => {
  console.log("disconnected:", reason);
  process.exit(1);
});
socket.on("connect", async () => {
  for (let i = 0; i < Number(events); i++) {
    socket.emit("number", i);
  }
  const handled = await socket.emitWithAck("handled");
  const answer = await socket.emitWithAck("large");
  console.log(handled, large, answer);
  socket.off("disconnect");
  socket.close();
});
