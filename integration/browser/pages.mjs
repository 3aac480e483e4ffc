// Two visitors of the chat: Ann at a desk, Bob with a phone. Told with what is on
// their screens only.
//
//	node pages.mjs path-of-chromium directory-for-pictures url-of-node...

import assert from "node:assert/strict";
import { Browser, kill, launch, node, online, say, step, within } from "./visitor.mjs";

const [executablePath, pictures, ...nodes] = process.argv.slice(2);
const browser = new Browser(await launch(executablePath), pictures);
const picture = (page, name) => browser.picture(page, name);

const texts = (page) => page.locator("#lines ol:not([hidden]) .post p").allTextContents();
const replayed = (page) => page.locator("#lines ol:not([hidden]) .post.replayed p").allTextContents();
const lastLog = (page) => page.locator("#log li span").last().textContent();

// see waits until a page shows exactly these lines.
async function see(page, want) {
  await page.waitForFunction(
    (n) => document.querySelectorAll("#lines ol:not([hidden]) .post").length >= n, want.length, within,
  );
  assert.deepEqual(await texts(page), want);
}

// here waits until a page shows these people in its room.
const here = (page, people) => page.locator("#here", { hasText: new RegExp(`^here: ${people}$`) }).waitFor(within);

step("Ann and Bob come in, at two nodes");
const ann = await browser.visit("ann", nodes[0], { viewport: { width: 1280, height: 800 }, colorScheme: "light" });
const bob = await browser.visit("bob", nodes[1], { viewport: { width: 390, height: 780 }, deviceScaleFactor: 2, colorScheme: "dark" });
assert.notEqual(await node(ann), await node(bob));
await ann.locator(".note", { hasText: "bob joined" }).waitFor(within);
for (const page of [ann, bob]) await here(page, "ann, bob");

step("they talk");
await say(ann, "Hello! Is anybody at another node?");
await say(bob, "Yes, me. How is the weather on yours?");
await say(ann, "Fine so far. I shall cut my line in a moment, tell me something meanwhile.");
const talk = ["Hello! Is anybody at another node?", "Yes, me. How is the weather on yours?",
  "Fine so far. I shall cut my line in a moment, tell me something meanwhile."];
await see(bob, talk);

step("Ann's line is cut while Bob goes on");
await ann.click("#cut");
await ann.waitForSelector("#state.cut", within);
const missed = ["Are you still there?", "I have been told that nothing gets lost here.", "One.", "Two.",
  "And a longer one, to see that lines break where they should when there is more to say than fits on a telephone."];
await say(bob, ...missed);
await picture(ann, "ann-cut");
assert.deepEqual(await texts(ann), talk);
assert.equal(await bob.textContent("#here"), "here: ann, bob"); // she may come back

step("Ann is back, elsewhere, and has missed nothing");
await ann.click("#cut");
await see(ann, [...talk, ...missed]);
await online(ann);
assert.deepEqual(await replayed(ann), missed);
assert.match(await lastLog(ann), /recovered, 5 events replayed$/);
assert.deepEqual(await replayed(bob), []);

step("Ann goes to the node where neither of them is, and its process is killed");
const taken = await Promise.all([ann, bob].map(node));
const third = nodes.map((url) => new URL(url).host).find((host) => !taken.includes(host));
await ann.locator("#nodes li", { hasText: third }).getByRole("button").click();
await ann.locator("#nodes .here", { hasText: third }).waitFor(within);
assert.match(await lastLog(ann), /recovered, 0 events replayed$/);
const before = ["Now the node."];
await say(ann, ...before);
await kill(ann);
const during = ["Ann?", "Your node is dead.", "Long live the others."];
await say(bob, ...during);

step("Ann goes on at another node");
await see(ann, [...talk, ...missed, ...before, ...during]);
await online(ann);
assert.notEqual(await node(ann), third);
assert.match(await lastLog(ann), /recovered, \d+ events? replayed$/);
for (const page of [ann, bob]) assert.equal(await page.textContent("#here"), "here: ann, bob");
await say(ann, "I am here, and I have read all of it.");
const all = [...talk, ...missed, ...before, ...during, "I am here, and I have read all of it."];
await see(ann, all);
await see(bob, all);

step("rooms are apart");
await ann.click("#rooms button:has-text('engine')");
await ann.click("#join");
await ann.waitForSelector("#composer:not([hidden])", within);
await say(ann, "Nobody here?");
assert.deepEqual(await texts(ann), ["Nobody here?"]);
await ann.click("#leave");
await ann.waitForSelector("#outside:not([hidden])", within);
await picture(ann, "ann-outside");
await ann.click("#rooms button:has-text('lobby')");
await see(bob, all);

step("pictures");
for (const colorScheme of ["light", "dark"]) {
  await ann.emulateMedia({ colorScheme });
  await picture(ann, `ann-${colorScheme}`);
  await bob.emulateMedia({ colorScheme });
  await picture(bob, `bob-${colorScheme}`);
}
await bob.click("#side summary");
await picture(bob, "bob-side");

step("Bob closes his page, which sends a DISCONNECT");
await bob.close({ runBeforeUnload: true });
await ann.locator(".note", { hasText: "bob left" }).waitFor(within);

assert.deepEqual(browser.complaints, []);
await browser.browser.close();
