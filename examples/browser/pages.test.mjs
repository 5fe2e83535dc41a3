// The pages of Datastar and htmx in Chromium. Nothing is fetched from other hosts.
//
//   DATASTAR  the program (default: ../../target/debug/datastar)
//   HTMX      the program (default: ../../target/debug/htmx)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, program, start, until } from "./common.mjs";

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

test("a page of Datastar sends its signals and gets elements and signals", async (t) => {
  const { page, hosts, port } = await open(t, program("datastar"), "/datastar.js", "/clock");
  const text = (id) => page.locator(`#${id}`).textContent();
  // Signals of a topic, that other pages get as well.
  const first = Number(await until("the clock", () => text("seconds"), (seconds) => Number(seconds) >= 0));
  await until("the next second", () => text("seconds"), (seconds) => Number(seconds) > first);

  await page.locator("#name").fill("<b>Zo\u00eb</b> & co");
  await page.locator("#greet").click();
  await until("the signal", () => text("greeted"), (greeted) => greeted === "<b>Zo\u00eb</b> & co");
  assert.equal(await text("greeting"), "Hello, <b>Zo\u00eb</b> & co!");
  // Again, over a new connection.
  await page.locator("#name").fill("you");
  await page.locator("#greet").click();
  await until("the second greeting", () => text("greeting"), (greeting) => greeting === "Hello, you!");
  assert.deepEqual([...hosts], [`127.0.0.1:${port}`]);
});

test("a page of htmx sends a form and gets a stream, and named events", async (t) => {
  const { page, hosts, port } = await open(t, program("htmx"), "/htmx.js", "/messages");
  const text = (id) => page.locator(`#${id}`).textContent();
  await page.locator("#text").fill("a & <b>");
  await page.locator("#say").click();
  await until("the reply", () => text("reply"), (reply) => reply === "You said: a & <b>");
  await until("the message", () => page.locator("#messages li").allTextContents(), (all) => all.length === 1);
  await until("the named event", () => text("count"), (count) => count === "1");

  await page.locator("#text").fill("second");
  await page.locator("#say").click();
  await until("the second message", () => page.locator("#messages li").allTextContents(), (all) => all.length === 2);
  assert.deepEqual(await page.locator("#messages li").allTextContents(), ["a & <b>", "second"]);
  await until("the second count", () => text("count"), (count) => count === "2");
  assert.deepEqual([...hosts], [`127.0.0.1:${port}`]);
});

// Starts a program and opens its page, and keeps the hosts of all requests.
async function open(t, path, ...others) {
  const { port } = await start(t, path, "--listen", "127.0.0.1:0");
  for (const target of ["/", ...others]) {
    const response = await fetch(`http://127.0.0.1:${port}${target}`, { method: "HEAD" });
    assert.equal(response.status, 200, target);
  }
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  const hosts = new Set();
  page.on("request", (request) => request.url().startsWith("data:") || hosts.add(new URL(request.url()).host));
  page.on("pageerror", (error) => assert.fail(error));
  await page.goto(`http://127.0.0.1:${port}/`);
  return { page, hosts, port };
}
