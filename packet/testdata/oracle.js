// Judges texts by the JavaScript parser, one JSON line in, one out.
// usage: node oracle.js <directory with node_modules>
// in:  {"text": the packet, "data": its JSON as the Go decoder has it, or null}
// out: {"error"} or {"type","nsp","id","same": data is equal,"text": encoded again}
const { createRequire } = require("node:module");
const { createInterface } = require("node:readline");
const { isDeepStrictEqual } = require("node:util");
const { join } = require("node:path");

const { Decoder, Encoder } = createRequire(join(process.argv[2], "x"))("socket.io-parser");

function decode(text, buffers) {
  let packet = null;
  const decoder = new Decoder();
  decoder.on("decoded", (p) => (packet = p));
  decoder.add(text);
  while (packet === null) {
    buffers.push(Buffer.from([buffers.length]));
    decoder.add(buffers[buffers.length - 1]);
  }
  return packet;
}

// The data with placeholders again where the parser has put buffers.
function withPlaceholders(data, buffers) {
  if (Buffer.isBuffer(data)) return { _placeholder: true, num: buffers.indexOf(data) };
  if (data !== null && typeof data === "object") {
    for (const key of Object.keys(data)) data[key] = withPlaceholders(data[key], buffers);
  }
  return data;
}

function judge({ text, data }) {
  const buffers = [];
  let packet;
  try {
    packet = decode(text, buffers);
  } catch (e) {
    return { error: e.message };
  }
  const verdict = { type: packet.type, nsp: packet.nsp, id: packet.id === undefined ? "" : String(packet.id) };
  try {
    verdict.text = new Encoder().encode({ ...packet })[0];
    verdict.same = data === null
      ? packet.data === undefined
      : isDeepStrictEqual(withPlaceholders(packet.data, buffers), JSON.parse(data));
  } catch (e) {
    if (!(e instanceof RangeError)) throw e; // too deep for recursion
  }
  return verdict;
}

createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(JSON.stringify(judge(JSON.parse(line))) + "\n");
});
