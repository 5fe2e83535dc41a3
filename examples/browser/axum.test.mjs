// Streams inside axum, in Chromium over HTTP/2 and TLS.
//
//   AXUM      the axum binary (default: ../../target/debug/axum)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const AXUM = process.env.AXUM ?? fileURLToPath(new URL("../../target/debug/axum", import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE_MS = 20_000;

let browser;
const children = new Set();

before(async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--ignore-certificate-errors"],
  });
});

after(() => browser?.close());

process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

test("eight streams to one host are open at once", async (t) => {
  const server = await start(t);
  const page = await open(t, server);
  const protocol = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
  assert.equal(protocol, "h2");
  // Each gets the next event while all the others are open. HTTP/1.1 would allow six, the page's own among them.
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
  const server = await start(t);
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
  const server = await start(t);
  const page = await open(t, server);
  await page.evaluate(async () => {
    globalThis.source = new EventSource("/sse");
    await new Promise((resolve) => source.addEventListener("message", resolve));
  });
  const since = Date.now();
  server.child.kill("SIGINT");
  await server.exited;
  assert.equal(server.child.exitCode, 0);
  assert.ok(Date.now() - since < 1500, `it took ${Date.now() - since} ms`);
  // The page comes back by itself when it may.
  assert.equal(await page.evaluate(() => source.readyState), 0);
});

async function open(t, { port }) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(`https://localhost:${port}/`);
  return page;
}

// Starts the server on a free port, and keeps what it prints.
async function start(t) {
  const child = spawn(AXUM, ["127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  const exited = new Promise((resolve) => child.once("close", resolve)).then(() => children.delete(child));
  t.after(() => {
    child.kill("SIGKILL");
    return exited;
  });
  const output = createInterface({ input: child.stdout });
  const lines = [];
  output.on("line", (line) => lines.push(line));
  const port = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${AXUM} ended early, with ${code}`)));
    setTimeout(() => reject(new Error(`${AXUM} printed no address`)), PATIENCE_MS).unref();
    output.once("line", (line) => resolve(Number(/:(\d+)\//.exec(line)[1])));
  });
  return { port, child, exited, output, lines };
}
