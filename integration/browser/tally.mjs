// The numbers on the chat's page: what was received, replayed, missed, doubled and out of order.
//
//	node tally.mjs path-of-chromium directory-for-pictures url-of-node...

import assert from "node:assert/strict";
import { Browser, kill, launch, node, online, received, say, step, tally, within } from "./visitor.mjs";

const [executablePath, pictures, ...nodes] = process.argv.slice(2);
// A name that is not localhost, for a page without the rights that browsers give to localhost.
const elsewhere = "chat.test";
const browser = new Browser(await launch(executablePath, `--host-resolver-rules=MAP ${elsewhere} 127.0.0.1`), pictures);

// alter changes the posts that a page receives from its node, on the wire: each is
// replaced with the messages that change returns for its text.
const alter = (change) => (page) => page.routeWebSocket(/socket\.io/, (ws) => {
  const server = ws.connectToServer();
  server.onMessage((message) => {
    const post = /^42\["chat:posted",\{.*"text":"([^"]*)"/.exec(message);
    for (const m of post ? change(post[1], message) : [message]) ws.send(m);
  });
});

step("three visitors at three nodes, and one each whose wire drops, doubles and swaps posts");
const ann = await browser.visit("ann", nodes[0]);
const bob = await browser.visit("bob", nodes[1]);
const cy = await browser.visit("cy", nodes[2]);
const dropped = await browser.visit("dropped", nodes[0], {}, alter((text, m) => (text === "bob 2" ? [] : [m])));
const doubled = await browser.visit("doubled", nodes[0], {}, alter((text, m) => (text === "bob 2" ? [m, m] : [m])));
let late = null;
const swapped = await browser.visit("swapped", nodes[0], {}, alter((text, m) => {
  if (text === "bob 2") late = m;
  return text === "bob 2" ? [] : text === "bob 3" ? [m, late] : [m];
}));
assert.equal(new Set(await Promise.all([ann, bob, cy].map(node))).size, 3);

step("the pages notice what their wires did");
await say(bob, "bob 1", "bob 2", "bob 3");
const clean = { received: 3, replayed: 0, missed: 0, doubled: 0, "out of order": 0 };
for (const [page, n, want] of [
  [ann, 3, clean],
  [dropped, 2, { ...clean, received: 2, missed: 1 }],
  [doubled, 4, { ...clean, received: 4, doubled: 1 }],
  [swapped, 3, { ...clean, "out of order": 1 }],
]) {
  await received(page, n);
  assert.deepEqual(await tally(page), want);
  await browser.picture(page, `tally-${n}`);
}
for (const page of [dropped, doubled, swapped]) await page.context().close();

step("Ann's node is killed while Bob and Cy post");
const killed = await node(ann);
const posts = (page, name) => say(page, ...Array.from({ length: 15 }, (_, i) => `${name} ${i + 10}`));
const traffic = Promise.all([posts(bob, "bob"), posts(cy, "cy")]);
await received(ann, 6);
await kill(ann);
await ann.locator(".break.lost").waitFor(within);
await bob.locator("#nodes .dead", { hasText: killed }).waitFor(within);
await traffic;

step("no page has missed anything");
await online(ann);
assert.notEqual(await node(ann), killed);
const end = "I am here, and I have read all of it.";
await say(ann, end);
for (const page of [ann, bob, cy]) {
  await page.locator(".post p", { hasText: end }).waitFor(within);
  const { replayed, ...numbers } = await tally(page);
  assert.deepEqual(numbers, { received: 34, missed: 0, doubled: 0, "out of order": 0 });
  assert.equal(replayed, await page.locator(".post.replayed").count());
}
assert.deepEqual(
  (await ann.locator(".break").allTextContents()).map((text) => text.replace(/ .*/, "")), ["no", "back"],
);

step("the killed node is no longer shown as dead when it is back");
await bob.locator("#nodes li:not(.dead)", { hasText: killed }).waitFor(within);

step("what is posted while Bob is not in the room is not missed");
await bob.click("#leave");
await bob.waitForSelector("#outside:not([hidden])", within);
await say(ann, "Bob?");
await bob.click("#join");
await bob.waitForSelector("#composer:not([hidden])", within);
await say(bob, "Back in the room.");
assert.equal((await tally(bob)).missed, 0);

step("Copy works on a page that is not localhost");
const url = new URL(nodes[1]);
url.hostname = elsewhere;
const dan = await browser.visit("dan", url.href);
assert.equal(await dan.evaluate(() => isSecureContext), false);
await dan.click("#kill button");
await dan.getByRole("button", { name: "Copied" }).waitFor(within);
await dan.focus("#text");
await dan.keyboard.press("ControlOrMeta+v");
assert.equal(await dan.inputValue("#text"), await dan.textContent("#kill code"));

assert.deepEqual(browser.complaints, []);
await browser.browser.close();
