// A small client. The Go types change under it: the test looks for an error at a line that is named at its end.
import { io, type Socket } from "socket.io-client";
import type { AnswerOf, ClientToServerEvents, ErrorReply, Post, ServerToClientEvents, SocketData } from "./events.js";

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io();

function failed(answer: unknown): answer is ErrorReply {
  return typeof answer === "object" && answer !== null && "error" in answer;
}

socket.on("chat:posted", (post) => {
  console.log(post.text.trim()); // text
  console.log(post.editor?.trim()); // editor
});

socket.on("chat:moved", (x, y, who) => {
  console.log(x + y, who.trim()); // arguments
});

socket.on("chat:asked", (question, callback) => {
  callback(question.length); // callback
});

export async function join(room: string): Promise<number> {
  const answer = await socket.emitWithAck("chat:join", room); // join
  if (failed(answer)) {
    throw new Error(answer.error.message ?? answer.error.code);
  }
  return answer.seat; // seat
}

export async function say(text: string): Promise<void> {
  const post: Post = { text, kind: "plain" }; // literal
  const answer: AnswerOf<"chat:say"> = await socket.timeout(5000).emitWithAck("chat:say", post); // say
  if (answer) {
    throw new Error(answer.error.code); // void
  }
}

export function name(data: SocketData): string {
  return data.user?.name ?? "nobody"; // data
}

export function upload(file: Uint8Array): void {
  socket.emit("chat:file", file); // file
}
