// A browser, headless Chromium, in the example `web_socket_chat`: two pages hear each other, and are told when the chat is over.
//
//     drive_chat.mjs PROGRAM FOLDER [SCREENSHOT]
//
// PROGRAM is the example. FOLDER is where `npm install playwright-core` has put that. /usr/bin/chromium is Debian's.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

const [program, folder, screenshot] = process.argv.slice(2);
const { chromium } = createRequire(resolve(folder, "package.json"))("playwright-core");

const server = spawn(program, ["127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
process.on("exit", () => server.kill("SIGKILL"));
const ended = once(server, "exit");
const lines = createInterface({ input: server.stdout })[Symbol.asyncIterator]();
const url = (await lines.next()).value.replace("listening on ", "http://") + "/";

// It makes a new folder for the browser's data, and removes it.
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
try {
  const faults = [];
  const [anna, bert] = await Promise.all(["Anna", "Bert"].map(async name => {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(60_000);
    page.on("pageerror", error => faults.push(error));
    await page.goto(url);
    await page.locator("#name").fill(name);
    await page.getByText("You are in.").waitFor();
    return page;
  }));

  const say = async (page, text) => {
    await page.locator("#text").fill(text);
    await page.getByRole("button", { name: "Say" }).click();
  };
  const heard = page => page.locator("#talk li").allTextContents();
  const talk = [];
  for (const [page, text, line] of [
    [anna, "Hello, Bert!", "Anna: Hello, Bert!"],
    [bert, "Grüß dich, Anna. 👋", "Bert: Grüß dich, Anna. 👋"],
    [anna, "<b>not bold</b>", "Anna: <b>not bold</b>"],
  ]) {
    await say(page, text);
    talk.push(line);
    for (const page of [anna, bert]) {
      await page.locator(`#talk li:nth-child(${talk.length})`).waitFor();
      assert.deepEqual(await heard(page), talk);
    }
  }

  server.kill("SIGINT");
  for (const page of [anna, bert]) {
    await page.getByText("The chat is over (1001).").waitFor();
    assert(await page.getByRole("button", { name: "Say" }).isDisabled());
    assert.deepEqual(await heard(page), talk);
  }
  assert.equal((await lines.next()).value, "stopped");
  assert.deepEqual(await ended, [0, null]);
  assert.deepEqual(faults, []);
  if (screenshot) await bert.screenshot({ path: screenshot });
  console.log("two pages have heard each other, and that the chat is over");
} finally {
  await browser.close();
}
