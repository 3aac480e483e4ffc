// Judges payloads by engine.io-parser, one JSON line in, one out.
// usage: node oracle.js <directory with node_modules>
// in:  the payload, a string
// out: {"packets": [{"type", "data": text, or {"binary": base64}}], "again": the payload encoded again}
const { createRequire } = require("node:module");
const { createInterface } = require("node:readline");
const { join } = require("node:path");

const { decodePayload, encodePayload } = createRequire(join(process.argv[2], "x"))("engine.io-parser");

createInterface({ input: process.stdin }).on("line", (line) => {
  const packets = decodePayload(JSON.parse(line), "nodebuffer");
  encodePayload(packets, (again) => {
    const plain = packets.map(({ type, data }) => ({
      type, data: Buffer.isBuffer(data) ? { binary: data.toString("base64") } : data,
    }));
    process.stdout.write(JSON.stringify({ packets: plain, again }) + "\n");
  });
});
