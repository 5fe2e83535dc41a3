// Streams inside axum, in Chromium over HTTP/2 and TLS.
//
//   INSIDE_AXUM  the program (default: ../../target/debug/inside_axum)
//   CHROMIUM     the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { launch, program, start } from "./common.mjs";

const AXUM = program("inside_axum");

let browser;

before(async () => {
  browser = await launch("--ignore-certificate-errors");
});

after(() => browser?.close());

test("eight streams to one host are open at once", async (t) => {
  const server = await start(t, AXUM, "--listen", "127.0.0.1:0");
  const page = await open(t, server);
  const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  assert.equal(protocol, "h2");
  // Each gets an event while all the others are open. HTTP/1.1 would allow six connections.
  const got = await page.evaluate(async () => {
    const sources = Array.from({ length: 8 }, (_, at) => new EventSource(`/sse?${at}`));
    const opened = (source) => new Promise((resolve) => source.addEventListener("open", resolve));
    await Promise.all(sources.map(opened));
    const next = (source) => new Promise((resolve) => source.addEventListener("message", resolve));
    const events = await Promise.all(sources.map(next));
    return events.map((event, at) => [sources[at].readyState, JSON.parse(event.data).text]);
  });
  assert.deepEqual(got, Array(8).fill([1, "hey from axum"]));
});

test("a stream ends with its close event, and with its page", async (t) => {
  const server = await start(t, AXUM, "--listen", "127.0.0.1:0");
  const page = await open(t, server);
  const tokens = await page.evaluate(async () => {
    const source = new EventSource("/ask");
    const tokens = [];
    source.addEventListener("message", (event) => tokens.push(event.data));
    await new Promise((resolve) => source.addEventListener("close", resolve));
    source.close();
    return tokens;
  });
  assert.equal(tokens.join(" "), "It depends on what you mean by why .");

  await page.evaluate(async () => {
    const source = new EventSource("/ask");
    await new Promise((resolve) => source.addEventListener("message", resolve));
  });
  await page.close();
  while (!server.lines.some((line) => /the model stops after [1-9] tokens/.test(line))) await once(server.output, "line");
});

test("a graceful shutdown ends the streams", async (t) => {
  const server = await start(t, AXUM, "--listen", "127.0.0.1:0");
  const page = await open(t, server);
  await page.evaluate(async () => {
    globalThis.source = new EventSource("/sse");
    await new Promise((resolve) => source.addEventListener("message", resolve));
    globalThis.stateAfterError = new Promise((resolve) =>
      source.addEventListener("error", () => resolve(source.readyState), { once: true }),
    );
  });
  const since = Date.now();
  await server.stop("SIGINT");
  assert.ok(Date.now() - since < 1500, `it took ${Date.now() - since} ms`);
  const reconnecting = 0;
  assert.equal(await page.evaluate(() => stateAfterError), reconnecting);
});

async function open(t, { port }) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(`https://localhost:${port}/`);
  return page;
}
