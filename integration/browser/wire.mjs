// The official bundle in a page that does nothing else: it begins with polling, is upgraded, sends and gets binary data,
// and comes back.
//
//	node wire.mjs path-of-chromium url-of-page

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(new URL("../js/", import.meta.url));
const { chromium } = require("playwright-core");

const [executablePath, url] = process.argv.slice(2);

const browser = await chromium.launch({ executablePath,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"],
});
try {
  const page = await browser.newPage();
  await page.goto(url);
  const seen = await page.evaluate(async () => {
    const once = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));
    const socket = io({ reconnectionDelay: 50 });
    const seen = { first: socket.io.engine.transport.name };
    const heard = [];
    socket.on("count", (n) => heard.push(n)); // the offset is one more argument
    await once(socket, "connect");
    const engine = socket.io.engine;
    if (engine.transport.name !== "websocket") await once(engine, "upgrade");
    seen.then = engine.transport.name;

    const bytes = new Uint8Array([0, 1, 254, 255]);
    const [echo, blob] = await Promise.all([
      socket.emitWithAck("echo", { deep: [bytes] }),
      socket.emitWithAck("echo", { deep: [new Blob([bytes])] }),
    ]);
    seen.echo = [...new Uint8Array(echo.deep[0])];
    seen.blob = [...new Uint8Array(blob.deep[0])];

    await socket.emitWithAck("count", 3);
    while (heard.length < 3) await once(socket, "count");
    const { id } = socket;
    engine.close(); // as when the network is gone
    await once(socket, "connect");
    seen.recovered = socket.recovered && socket.id === id;
    await socket.emitWithAck("count", 2);
    while (heard.length < 5) await once(socket, "count");
    seen.heard = heard;
    return seen;
  });
  assert.deepEqual(seen, {
    first: "polling", then: "websocket", echo: [0, 1, 254, 255], blob: [0, 1, 254, 255], recovered: true, heard: [1, 2, 3, 4, 5],
  });
} finally {
  await browser.close();
}
