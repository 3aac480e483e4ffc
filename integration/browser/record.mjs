// Records the demo as an animated WebP: a page of the chat, the node that serves it
// is killed, the page goes on at another node. All that the picture shows of the chat
// is the real page of a real cluster, in real time. The bar below the page is the
// recording's own: captions, whose numbers are read from the page.
//
//	node record.mjs path-of-chromium path-of-demo file.webp [directory-for-frames]

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { Browser, kill, killCommand, launch, node, online, tally, within } from "./visitor.mjs";

const [executablePath, program, file, frames = mkdtempSync(path.join(tmpdir(), "recording-"))] = process.argv.slice(2);
const size = { width: 960, height: 560 }; // of the page, in CSS pixels
const bar = 60;                           // the height of the captions
const scale = 1.5;                        // pixels of the picture per CSS pixel of the page
const period = 100;                       // milliseconds between two frames, or more if the machine is slow
const between = 450;                      // milliseconds between two posts
const bound = 1 << 20;                    // bytes of the file

// startDemo starts the demo, and returns it and the addresses of its nodes.
async function startDemo() {
  const demo = spawn(program, { stdio: ["ignore", "pipe", "ignore"] });
  const nodes = [];
  const lines = createInterface({ input: demo.stdout });
  for await (const line of lines) {
    const [, url] = line.match(/^ {2}(http:\S+) +\(kill/) ?? [];
    if (url) nodes.push(url);
    if (line.startsWith("Ctrl-C")) break;
  }
  assert.equal(nodes.length, 3, "the demo has three nodes");
  demo.stdout.resume(); // nobody reads the rest
  return { demo, nodes };
}

// The stage is a page with a frame for the chat, and the captions below.
const stage = (url) => `<!doctype html><style>
  html { zoom: ${scale}; } /* a screencast has one pixel per CSS pixel */
  body { margin: 0; background: #10131a; }
  iframe { display: block; width: 100%; height: ${size.height}px; border: 0; }
  p { box-sizing: border-box; height: ${bar}px; margin: 0; padding: 0 18px; display: flex; align-items: center; gap: 14px;
      color: #fff; background: #10131a; font: 600 19px system-ui, sans-serif; }
  p code { padding: 4px 10px; border-radius: 6px; background: #b3261e; font: 700 19px monospace; }
  p.good { background: #146c3b; }
</style><iframe src="${url}"></iframe><p></p>`;

// caption shows a text below the page; what stands between backquotes is a command.
const caption = (page, text, className = "") => page.evaluate(([words, name]) => {
  const p = document.querySelector("p");
  p.className = name;
  p.replaceChildren(...words.split("`").map((part, i) => {
    const e = document.createElement(i % 2 ? "code" : "span");
    e.textContent = part.trim();
    return e;
  }).filter((e) => e.textContent));
}, [text, className]);

// A Film keeps what the browser draws of a page, until it is cut.
class Film {
  pictures = []; // the file, and the time in milliseconds from which on it was seen

  static async start(page) {
    const film = new Film();
    film.session = await page.context().newCDPSession(page);
    film.session.on("Page.screencastFrame", async ({ data, metadata, sessionId }) => {
      film.add(Buffer.from(data, "base64"), metadata.timestamp * 1000);
      await pause(period);
      await film.session.send("Page.screencastFrameAck", { sessionId }).catch(() => {}); // it is cut
    });
    await film.session.send("Page.startScreencast", { format: "png" });
    return film;
  }

  add(image, at) {
    const name = path.join(frames, `${String(this.pictures.length).padStart(3, "0")}.png`);
    writeFileSync(name, image);
    this.pictures.push({ name, at });
  }

  async cut() {
    await this.session.send("Page.stopScreencast");
    this.end = Date.now();
  }

  get seconds() {
    return Math.round((this.end - this.pictures[0].at) / 1000);
  }

  // write encodes the pictures, each with the time for which it was seen. The browser's times are not always in order.
  write() {
    this.pictures.sort((a, b) => a.at - b.at);
    const args = this.pictures.flatMap(({ name, at }, i) => {
      const duration = Math.round((this.pictures[i + 1]?.at ?? this.end) - at);
      return duration > 0 ? ["-d", String(duration), name] : [];
    });
    const { status, stderr } = spawnSync("img2webp", ["-loop", "0", "-lossless", "-q", "75", "-m", "4", ...args, "-o", file]);
    assert.equal(status, 0, String(stderr));
  }
}

// chat lets authors post the lines of a conversation, by turns, until it is stopped.
function chat(authors) {
  const lines = [
    "Morning, Ann! Morning, Cy!", "Morning, Bob.", "We are at three different nodes.", "And in one chat.", "Each post has a number.",
    "So a page can count what it misses.", "Nothing so far.", "Shall we go on?", "We shall.", "We are counting.", "All in order here.",
    "Nothing came twice.", "Here neither.", "Keep writing.", "I do.", "Still with us, Ann?", "How many so far?", "More than twenty.",
    "Every one of them once.", "In the same order for all.", "Good.", "I like it.", "Me too.", "One Postgres, three nodes.",
    "Two, at the moment.", "Three again, soon.", "Let's stop here.", "Goodnight, Ann.", "Goodnight, Bob.", "Goodnight, Cy.",
  ];
  let going = true;
  const done = (async () => {
    for (let i = 0; going && i < lines.length; i++) {
      const author = authors[i % authors.length];
      await author.fill("#text", lines[i]);
      await author.press("#text", "Enter");
      await pause(between);
    }
  })();
  return () => {
    going = false;
    return done;
  };
}

// burst posts lines at once, faster than anybody types: while Ann's page is away.
const burst = (author, ...lines) => author.evaluate((all) => all.forEach((text) => say(shown, text)), lines);

const { demo, nodes } = await startDemo();
const browser = new Browser(await launch(executablePath), frames);
try {
  const bob = await browser.visit("Bob", nodes[1]);
  const cy = await browser.visit("Cy", nodes[2]);
  const screen = await browser.browser.newPage({
    viewport: { width: size.width * scale, height: (size.height + bar) * scale }, colorScheme: "light",
  });
  await screen.setContent(stage(nodes[0]));
  const ann = screen.frames()[1];
  await ann.waitForSelector("#name", within);
  await ann.fill("#name", "Ann");
  await ann.press("#name", "Enter");
  await online(ann);
  await ann.evaluate(() => document.activeElement.blur()); // nobody writes here: no blinking cursor
  const port = async () => (await node(ann)).replace(/.*:/, "");

  const posts = (n) => ann.locator(".post").nth(n - 1).waitFor(within);
  const breaks = (n) => ann.locator(".break", { hasText: "back at" }).nth(n - 1).waitFor(within);

  // loseNode kills the node that serves Ann's page, for the first or the second time. Cy posts lines meanwhile.
  // It returns the port of the node when another one serves the page.
  const loseNode = async (times, ...lines) => {
    const lost = await port();
    await caption(screen, `\`${await killCommand(ann)}\` kills node ${lost}, which serves this page`);
    await pause(900);
    await kill(ann);
    await burst(cy, ...lines);
    await breaks(times);
    await online(ann);
    const { replayed, missed, doubled } = await tally(ann);
    await caption(screen, `On node ${await port()} now. Replayed: ${replayed}. Missed: ${missed}. Doubled: ${doubled}.`, "good");
    return lost;
  };

  await caption(screen, "Three nodes, one Postgres. This is Ann's page, served by node 3001.");
  const stop = chat([bob, cy]);
  await posts(3);
  const film = await Film.start(screen);
  await posts(6);
  const first = await loseNode(1, "Ann, your node is dead.", "Can you read this?", "And this?");
  await posts(17);
  await loseNode(2, "Another one is dead.", "Do you get this?", "And this one?");
  await ann.locator("#nodes li:not(.dead)", { hasText: first }).waitFor(within);
  await caption(screen, `Node ${first} is started again`);
  await pause(1200);
  await stop();
  await online(ann);
  const { received, missed, doubled, "out of order": disordered } = await tally(ann);
  await caption(screen, `Two nodes killed. ${received} posts received: ${missed} missed, ${doubled} doubled, ${disordered} out of order.`, "good");
  await pause(3000);
  await film.cut();
  assert.deepEqual([missed, doubled, disordered], [0, 0, 0]);
  film.write();
  const bytes = statSync(file).size;
  console.log(`${file}: ${film.pictures.length} frames, ${film.seconds} s, ${Math.round(bytes / 1024)} KiB`);
  assert.ok(bytes < bound, `${file} has ${bytes} bytes, at most ${bound} are wanted`);
} finally {
  await browser.browser.close();
  demo.kill("SIGTERM");
  await once(demo, "exit");
}
