// What the script of the official client defines for page/chat.js.
declare const io: typeof import("socket.io-client").io;
