// The page of `replay --listen` in Chromium, before a server that counts what it is asked for.
//
//   REPLAY    the replay binary (default: ../../target/debug/replay)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const REPLAY = process.env.REPLAY ?? fileURLToPath(new URL("../../target/debug/replay", import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE_MS = 20_000;

// Browsers come back that soon, if they do.
const RETRY_MS = 50;

let browser;
const children = new Set();

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ["--no-sandbox", "--disable-gpu"] });
});

after(() => browser?.close());

process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

for (const [what, ids] of [
  ["with IDs", ["1", "2", "3"]],
  ["without IDs", ["", "", ""]],
  ["whose last event has no ID", ["1", "", ""]],
]) {
  const recording = ids.map((id, at) => `:T+0.${at}00000000\n${id && `id: ${id}\n`}data: event ${at}\n\n`);

  test(`a recording ${what} is shown in order, and is over at its end`, async (t) => {
    const { wire, page } = await replay(t, recording);
    const shown = () => page.locator("#events").textContent();
    await until("the last event", shown, (text) => text.includes("event 2"));
    await until("the end", () => wire.open, (open) => open === 0);
    await retryPeriods(page);

    const lines = (await shown()).trimEnd().split("\n");
    assert.deepEqual(lines.map((line) => line.slice(line.indexOf("message"))), ["message event 0", "message event 1", "message event 2"]);
    assert.deepEqual(wire.streams, [{ lastEventId: undefined, status: 200 }]);
  });

  test(`a recording ${what} is over for a page that knows of no "close"`, async (t) => {
    const { wire, page } = await replay(t, recording, "/nothing");
    await page.evaluate(() => {
      globalThis.seen = [];
      globalThis.source = new EventSource("/sse");
      source.onmessage = ({ data }) => seen.push(data);
    });
    await until("the source to be closed", () => page.evaluate(() => source.readyState), (state) => state === 2);
    await retryPeriods(page);

    assert.deepEqual(await page.evaluate(() => seen), ["event 0", "event 1", "event 2"]);
    assert.deepEqual(wire.streams, [
      { lastEventId: undefined, status: 200 },
      { lastEventId: "end-of-3", status: 204 },
    ]);
  });
}

// Resolves to the first reading that fulfils the condition.
async function until(what, reading, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await reading();
    if (condition(value)) return value;
    if (Date.now() > deadline) assert.fail(`waited in vain for ${what}; at the end: ${JSON.stringify(value)}`);
    await sleep(20);
  }
}

// Lets three retry periods go by, on the browser's own clock: another EventSource has reconnected that often.
async function retryPeriods(page) {
  let streams = 0;
  await page.route("**/witness", (route) => {
    streams += 1;
    return route.fulfill({ contentType: "text/event-stream", body: `retry: ${RETRY_MS}\n\n` });
  });
  await page.evaluate(() => void (globalThis.witness = new EventSource("/witness")));
  await until("the witness to reconnect", () => streams, () => streams > 3);
  await page.evaluate(() => globalThis.witness.close());
}

// Plays a recording, through a proxy that keeps what each stream was asked for with and answered by, to the
// program's page, or to another.
async function replay(t, recording, path = "/") {
  const dir = await mkdtemp(join(tmpdir(), "sse-replay-"));
  t.after(() => rm(dir, { recursive: true }));
  const file = join(dir, "recording.sse");
  await writeFile(file, `retry: ${RETRY_MS}\n\n${recording.join("")}`);
  const wire = await proxy(t, await start(t, file, "--listen", "127.0.0.1:0"));
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${wire.port}${path}`);
  return { wire, page };
}

async function start(t, ...args) {
  const child = spawn(REPLAY, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  const exited = once(child, "close").then(() => children.delete(child));
  t.after(() => {
    child.kill("SIGKILL");
    return exited;
  });
  const lines = createInterface({ input: child.stdout });
  const [line] = await once(lines, "line", { signal: AbortSignal.timeout(PATIENCE_MS) });
  return Number(/:(\d+)\//.exec(line)[1]);
}

async function proxy(t, port) {
  const wire = { port: 0, streams: [], open: 0 };
  const server = http.createServer(({ url: path, headers }, toBrowser) => {
    const request = http.get({ host: "127.0.0.1", port, path, headers }, (answer) => {
      toBrowser.writeHead(answer.statusCode, answer.headers);
      toBrowser.flushHeaders();
      answer.pipe(toBrowser);
      if (path === "/sse") wire.streams.push({ lastEventId: headers["last-event-id"], status: answer.statusCode });
    });
    request.on("error", () => toBrowser.destroy());
    wire.open += 1;
    toBrowser.once("close", () => {
      wire.open -= 1;
      request.destroy();
    });
  });
  t.after(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  wire.port = server.address().port;
  return wire;
}
