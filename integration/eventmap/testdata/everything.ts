// Exchanges everything with the server. It prints what it received as TypeScript, which the test compiles against the types.
import { io, type Socket } from "socket.io-client";
import type { ClientToServerEvents, Everything, ServerToClientEvents } from "./events.js";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(process.env["URL"]!, {
  transports: [process.env["TRANSPORT"]!], forceNew: true, reconnection: false,
});

let received = 0;

// literal returns a value as an expression.
function literal(value: unknown): string {
  if (value instanceof ArrayBuffer) return `new Uint8Array([${[...new Uint8Array(value)]}]).buffer`;
  if (value instanceof Uint8Array) return `new Uint8Array([${[...value]}])`;
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    return `{ ${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${literal(v)}`).join(", ")} }`;
  }
  return value === undefined ? "undefined" : JSON.stringify(value);
}

function show(type: string, value: unknown): void {
  console.log(`export const received${received++}: ${type} = ${literal(value)};`);
}

function showEvent(name: keyof ServerToClientEvents, args: unknown[]): void {
  show(`Parameters<ServerToClientEvents[${JSON.stringify(name)}]>`, args);
}

function showAnswer(name: keyof ClientToServerEvents, answer: unknown): void {
  show(`AnswerOf<${JSON.stringify(name)}>`, answer);
}

const events: Everything[] = [];
const all = new Promise<void>((resolve) => socket.on("nothing", () => resolve()));
socket.on("everything", (value) => {
  showEvent("everything", [value]);
  events.push(value);
});
socket.on("bytes", (data) => showEvent("bytes", [data]));
socket.on("moved", (piece, position, data, by) => showEvent("moved", [piece, position, data, by]));
socket.on("ask", (question, callback) => {
  callback(`${question}!`);
});
socket.on("askMove", (callback) => callback("knight", [3, 4], new Uint8Array([5]), null));
socket.on("askNothing", (flag, callback) => {
  if (flag === true) callback();
});

showAnswer("begin", await socket.emitWithAck("begin"));
await all;

// What the server sent, sent back.
for (const value of events) {
  showAnswer("echo", await socket.emitWithAck("echo", value));
}

// What a client makes up: with null wherever it may be, and without whatever may be omitted.
const least: Everything = {
  Bool: false, Int: -1, Unsigned: 1, Float: 0.5, Text: "", Room: "a", Color: "red", Quoted: "9007199254740993", Pointer: null,
  Slice: null, Map: null, Bytes: null, Binary: new Uint8Array(), Binaries: null, Image: null, Time: "2026-11-27T00:00:00Z",
  Duration: 1, Raw: null, Any: null, Array: [true, false], Address: "", Big: null, Next: null, Inner: { A: 1 }, Keys: null,
  "with space": 0, Promoted: "",
};
showAnswer("echo", await socket.emitWithAck("echo", least));
showAnswer("echoPointer", await socket.emitWithAck("echoPointer", null));
showAnswer("failing", await socket.emitWithAck("failing", "all"));
showAnswer("failing", await socket.emitWithAck("failing", "little"));
showAnswer("refusing", await socket.emitWithAck("refusing"));
socket.emit("moving", "rook", [1, 2], new Uint8Array([7, 8]).buffer, "me");
socket.emit("file", new Uint8Array([1, 2, 3]));
await new Promise<void>((resolve) => {
  socket.emit("move", "queen", [5, 6], new Uint8Array([9]), null, (piece, position, data, by) => {
    show(`Parameters<Callback<"move">>`, [piece, position, data, by]);
    resolve();
  });
});
await new Promise<void>((resolve) => {
  socket.emit("move", "", null, new Uint8Array(), null, (piece, position, data, by) => {
    show(`Parameters<Callback<"move">>`, [piece, position, data, by]);
    resolve();
  });
});
showAnswer("end", await socket.emitWithAck("end"));
process.exit(0);
