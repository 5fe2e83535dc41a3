// The chat program and its page in Chromium, with a proxy between them that cuts the connections.
//
//   CHAT      the program (default: ../../target/debug/chat)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, program, start, until } from "./common.mjs";
import { record } from "./proxy.mjs";

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

test("an answer continues after a cut, after a reload and in a second tab", async (t) => {
  const { context, page, wire } = await open(t);
  await ask(page, "why? <b>");
  await until("some tokens", () => answer(page), (text) => text.length > 20);

  wire.cut();
  await until("the loss", () => state(page), (state) => state === "reconnecting");
  const before = await answer(page);
  wire.mend();
  const resumed = await until("the rest", () => answer(page), (text) => text.length > before.length);
  assert.ok(resumed.startsWith(before));

  const second = await context.newPage();
  await second.goto(page.url());
  await until("the second tab", () => answer(second), (text) => text.startsWith(before));
  assert.equal(await second.locator("#question").textContent(), "why? <b>");
  await page.reload();
  await until("the reloaded page", () => answer(page), (text) => text.startsWith(before));

  for (const tab of [page, second]) await until("the end", () => state(tab), (state) => state === "completed");
  const whole = await answer(page);
  assert.equal(await answer(second), whole);
  assert.match(whole, /^That is a good question, .* the same tokens again\.$/);
  assert.ok(whole.includes("Nothing is sent twice, nothing is missing"));
  assert.ok(await page.locator("#stop").isDisabled());
  // After the end, too.
  await page.reload();
  await until("the end again", () => state(page), (state) => state === "completed");
  assert.equal(await answer(page), whole);
});

test("the stop button ends the answer in all tabs, and another question starts anew", async (t) => {
  const { context, page } = await open(t);
  await ask(page, "first");
  await until("a token", () => answer(page), (text) => text.length > 0);
  const second = await context.newPage();
  await second.goto(page.url());
  await until("a token", () => answer(second), (text) => text.length > 0);
  await second.locator("#stop").click();
  for (const tab of [page, second]) await until("the end", () => state(tab), (state) => state === "stopped");
  assert.equal(await answer(page), await answer(second));

  await ask(page, "second");
  await until("the second question", () => page.locator("#question").textContent(), (text) => text === "second");
  await until("its answer", () => answer(page), (text) => text.startsWith("That is"));
});

const answer = (page) => page.locator("#answer").textContent();
const state = (page) => page.locator("#state").getAttribute("data-state");

async function ask(page, question) {
  await page.locator("#text").fill(question);
  await page.locator("#ask").click();
}

async function open(t) {
  const { port } = await start(t, program("chat"), "--listen", "127.0.0.1:0");
  const wire = await record(t, port);
  const context = await browser.newContext();
  t.after(() => context.close());
  context.on("weberror", (error) => assert.fail(error.error()));
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${wire.port}/`);
  return { context, page, wire };
}
