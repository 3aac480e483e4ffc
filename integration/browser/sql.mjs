// A visitor of the chat who receives what Postgres emits, and nothing that was rolled back. Such a post has no number, so
// that the page does not count it.
//
//	node sql.mjs path-of-chromium url-of-node text    # prints "in the lobby", then ends when it has received the text

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(new URL("../js/", import.meta.url));
const { chromium } = require("playwright-core");

const [executablePath, url, said] = process.argv.slice(2);
const within = { timeout: 15_000 };

const browser = await chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"] });
try {
  const page = await browser.newPage();
  await page.goto(url);
  await page.fill("#name", "ann");
  await page.click("#enter button");
  await page.waitForSelector("#state.online", within);
  console.log("in the lobby");
  await page.locator(".post p", { hasText: said }).waitFor(within);
  assert.deepEqual(await page.locator(".post p").allTextContents(), [said]);
  for (const count of ["missed", "doubled"]) assert.equal(await page.locator(`#${count}`).textContent(), "0", count);
} finally {
  await browser.close();
}
