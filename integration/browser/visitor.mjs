// A visitor of the chat of examples/chat: a browser, its pages, and what is on them.

import { createRequire } from "node:module";
import path from "node:path";

// What npm installs for the tests lies in the directory of the other clients.
const require = createRequire(new URL("../js/", import.meta.url));
const { chromium } = require("playwright-core");

export const within = { timeout: 15_000 };

// launch starts the browser. Arguments are added to those that every test needs.
export const launch = (executablePath, ...args) => chromium.launch({
  executablePath,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", ...args,
  ],
});

// A Browser opens pages, and notes what its console complains of.
export class Browser {
  complaints = [];

  constructor(browser, pictures) {
    this.browser = browser;
    this.pictures = pictures;
  }

  // open opens a page of a node and stays before the door. Prepare is called with the page before it is loaded.
  async open(name, url, look = {}, prepare = () => {}) {
    const context = await this.browser.newContext(look);
    const page = await context.newPage();
    page.on("pageerror", (err) => this.complaints.push(`${name}: ${err}`));
    page.on("console", (message) => {
      // A node that was killed does not take connections: the browser says so, and no page can keep it from that.
      const expected = /^WebSocket connection to '.*' failed/.test(message.text());
      if (!expected && ["error", "warning"].includes(message.type())) this.complaints.push(`${name}: ${message.text()}`);
    });
    page.on("requestfailed", (r) => this.complaints.push(`${name}: ${r.url()} ${r.failure()?.errorText}`));
    await prepare(page);
    await page.goto(url);
    return page;
  }

  // visit opens a page of a node and comes in.
  async visit(name, url, look, prepare) {
    const page = await this.open(name, url, look, prepare);
    await this.picture(page, `${name}-door`);
    await page.fill("#name", name);
    await page.click("#enter button");
    await online(page);
    return page;
  }

  picture(page, name) {
    return page.screenshot({ path: path.join(this.pictures, `${name}.png`) });
  }
}

export const node = (page) => page.textContent("#nodes .here span");
export const online = (page) => page.waitForSelector("#state.online", within);
export const killCommand = (page) => page.textContent("#kill code");

// kill does what the page says: kill -9, and the process id of its node.
export async function kill(page) {
  const [, pid] = (await killCommand(page)).match(/^kill -9 (\d+)$/);
  process.kill(Number(pid), "SIGKILL");
}

export async function say(page, ...lines) {
  for (const line of lines) {
    await page.fill("#text", line);
    await page.press("#text", "Enter");
    await page.locator(".post p", { hasText: line }).waitFor(within); // it is in the log: its author sees it too
  }
}

// tally returns the numbers that a page shows.
export async function tally(page) {
  const terms = await page.locator("#tally dt").allTextContents();
  const numbers = await page.locator("#tally dd").allTextContents();
  return Object.fromEntries(terms.map((term, i) => [term, Number(numbers[i])]));
}

// received waits until a page shows that it received so many posts.
export const received = (page, n) =>
  page.waitForFunction((want) => Number(document.querySelector("#received").textContent) >= want, n, within);

export const step = (text) => console.log(`- ${text}`);
