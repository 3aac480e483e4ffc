// Judges messages by socket.io-msgpack-parser, one JSON line in, one out.
// usage: node oracle.js <directory with node_modules>
// in:  "hexadecimal digits"
// out: {"error"} or {"type","nsp","id","data": with placeholders for binary data, "attachments": hexadecimal}
const { createRequire } = require("node:module");
const { createInterface } = require("node:readline");
const { join } = require("node:path");

const { Decoder } = createRequire(join(process.argv[2], "x"))("socket.io-msgpack-parser");

function withPlaceholders(value, attachments) {
  if (Buffer.isBuffer(value) || value instanceof ArrayBuffer) {
    attachments.push(Buffer.from(value).toString("hex"));
    return { _placeholder: true, num: attachments.length - 1 };
  }
  if (value instanceof Date) return value.toJSON();
  if (Array.isArray(value)) return value.map((v) => withPlaceholders(v, attachments));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, withPlaceholders(v, attachments)]));
  }
  return value;
}

function judge(hex) {
  let packet = null;
  const decoder = new Decoder();
  decoder.on("decoded", (p) => (packet = p));
  try {
    decoder.add(Buffer.from(hex, "hex"));
  } catch (e) {
    return { error: e.message };
  }
  const attachments = [];
  const data = withPlaceholders(packet.data, attachments);
  return { type: packet.type, nsp: packet.nsp, id: packet.id, data, attachments };
}

createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(JSON.stringify(judge(JSON.parse(line))) + "\n");
});
