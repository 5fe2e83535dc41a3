// The demo server and its page in Chromium, with a recorder on the wire between them.
//
//   DEMO      the demo binary (default: ../../target/debug/demo)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const DEMO = process.env.DEMO ?? fileURLToPath(new URL("../../target/debug/demo", import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE_MS = 20_000;

let browser;
const children = new Set();

before(async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
});

after(() => browser?.close());

// A run that is interrupted leaves no server behind either.
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

test("events arrive in order", async (t) => {
  const demo = await startDemo(t);
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire);

  for (const n of [1, 2, 3]) {
    const shown = await until(`event ${n}`, () => read(page), ({ ids }) => ids.length >= n);
    assertShows(shown, { state: "open", last: shown.ids.length });
  }
  // No favicon, nothing from elsewhere, and one connection's worth of stream.
  assert.deepEqual(wire.requests.map(({ path }) => path), ["/", "/sse"]);
  assert.equal(wire.streams()[0].lastEventId, undefined);
});

test("the stream resumes after the server was killed", async (t) => {
  const demo = await startDemo(t);
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire);
  await until("two events", () => read(page), ({ ids }) => ids.length >= 2);

  await demo.kill();
  const lost = await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
  assertShows(lost, { state: "reconnecting", last: lost.ids.length });
  assert.match(lost.notice, new RegExp(`Last-Event-ID: ${lost.lastEventId}\\b`));

  await startDemo(t, "--listen", `127.0.0.1:${demo.port}`);
  const last = lost.ids.length + 3;
  const resumed = await until(`event ${last}`, () => read(page), ({ ids }) => ids.length >= last);
  assertShows(resumed, { state: "open", last: resumed.ids.length });
  assert.deepEqual(resumed.resumed, [`resumed after event ${lost.lastEventId}`]);

  const [first, ...retries] = wire.streams();
  assert.equal(first.lastEventId, undefined);
  assert.notEqual(retries.length, 0);
  for (const retry of retries) assert.equal(retry.lastEventId, lost.lastEventId);
});

test("the close event ends the stream for good, until it is opened again", async (t) => {
  const demo = await startDemo(t, "--count", "3");
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire);

  const closed = await until("closed", () => read(page), ({ state }) => state === "closed");
  assertShows(closed, { state: "closed", last: 3 });
  assert.match(closed.notice, /the stream is over/);
  assert.ok(closed.reopen);

  const [, retry] = wire.received.match(/^retry: ?(\d+)$/m) ?? assert.fail("the server announced no retry");
  await retryPeriods(page, 3, Number(retry));
  assert.equal(wire.streams().length, 1, "the page reconnected after the close event");

  await page.click("#reopen");
  await until("the second stream", () => wire.streams().length, (streams) => streams === 2);
  const again = await until("closed again", () => read(page), ({ state }) => state === "closed");
  assertShows(again, { state: "closed", last: 3 });
  assert.equal(wire.streams()[1].lastEventId, undefined);
});

test("a refusal is final, until it is opened again", async (t) => {
  const demo = await startDemo(t);
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire, { status: 503, body: "full" });

  const refused = await until("closed", () => read(page), ({ state }) => state === "closed");
  assertShows(refused, { state: "closed", last: 0 });
  assert.match(refused.notice, /refused/);

  await page.unroute("**/sse");
  await page.click("#reopen");
  const shown = await until("an event", () => read(page), ({ ids }) => ids.length > 0);
  assertShows(shown, { state: "open", last: shown.ids.length });
  assert.ok(!shown.reopen);
});

test("data is shown as text, whatever it is", async (t) => {
  const texts = ["<img src=x onerror='throw 1'>", "not JSON", "null", '{"text":1,"ts":2}', '{"text":"far","ts":1e300}'];
  const stream = texts.map((text, at) => `id: ${at + 1}\ndata: ${text}\n\n`).join("");
  const demo = await startDemo(t);
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire, {
    contentType: "text/event-stream",
    body: `${stream}id: 6\ndata: {"text":"<b>bold</b>","ts":0}\n\nevent: close\ndata:\n\n`,
  });

  const closed = await until("closed", () => read(page), ({ state }) => state === "closed");
  assertShows(closed, { state: "closed", last: 6 });
  assert.deepEqual(closed.texts, [...texts, "<b>bold</b>"]);
});

test("only the newest hundred events stay on the page", async (t) => {
  const demo = await startDemo(t);
  const wire = await record(t, demo.port);
  const events = Array.from({ length: 150 }, (_, at) => `id: ${at + 1}\ndata: ${at + 1}\n\n`);
  const page = await openPage(t, wire, { contentType: "text/event-stream", body: `${events.join("")}event: close\ndata:\n\n` });

  const closed = await until("closed", () => read(page), ({ state }) => state === "closed");
  assert.equal(closed.count, 150);
  assert.deepEqual([closed.ids.length, closed.ids[0], closed.ids.at(-1)], [100, "51", "150"]);
});

test("an unknown path is answered by 404", async (t) => {
  const demo = await startDemo(t);
  const response = await fetch(`http://127.0.0.1:${demo.port}/unknown`);
  await response.body?.cancel();
  assert.equal(response.status, 404);
});

// What the page shows, read in one go; rows in the order of their arrival.
function read(page) {
  return page.evaluate(() => {
    const one = (selector) => document.querySelector(selector);
    const rows = (selector) => [...document.querySelectorAll(`#events ${selector}`)].reverse();
    return {
      state: one("#state").dataset.state,
      label: one("#state").textContent,
      lastEventId: one("#last-event-id").textContent,
      count: Number(one("#count").textContent),
      notice: one("#notice").textContent,
      reopen: one("#reopen").checkVisibility(),
      ids: rows("li[data-id]").map((row) => row.dataset.id),
      texts: rows("li[data-id] .text").map((text) => text.textContent),
      resumed: rows("li:not([data-id])").map((row) => row.textContent),
      errors: globalThis.errors,
    };
  });
}

// Events 1 to `last` are shown: none missing, none twice, every figure agrees, and no script failed.
function assertShows(shown, { state, last }) {
  assert.deepEqual(shown.errors, []);
  const ids = Array.from({ length: last }, (_, at) => String(at + 1));
  assert.deepEqual(
    { state: shown.state, label: shown.label, ids: shown.ids, lastEventId: shown.lastEventId, count: shown.count },
    { state, label: state, ids, lastEventId: ids.at(-1) ?? "", count: last },
  );
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

// Lets at least `periods` retry periods go by, on the browser's own clock: a second EventSource in the
// page, whose stream ends at once, has reconnected that often.
async function retryPeriods(page, periods, retryMs) {
  let streams = 0;
  await page.route("**/witness", (route) => {
    streams += 1;
    return route.fulfill({ contentType: "text/event-stream", body: `retry: ${retryMs}\n\n` });
  });
  await page.evaluate(() => void (globalThis.witness = new EventSource("/witness")));
  await until("the witness to reconnect", () => streams, () => streams > periods);
  await page.evaluate(() => globalThis.witness.close());
}

// Opens the page at the recorder's address. With `answer`, the browser gets that answer for the stream.
async function openPage(t, wire, answer) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.addInitScript(() => {
    globalThis.errors = [];
    addEventListener("error", (event) => globalThis.errors.push(event.message));
  });
  if (answer) await page.route("**/sse", (route) => route.fulfill(answer));
  await page.goto(`http://127.0.0.1:${wire.port}/`);
  return page;
}

// Starts the demo, on a free port unless told otherwise, and waits for its address.
async function startDemo(t, ...args) {
  if (!args.includes("--listen")) args.push("--listen", "127.0.0.1:0");
  const child = spawn(DEMO, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  const exited = new Promise((resolve) => child.once("close", resolve)).then(() => children.delete(child));
  const kill = () => {
    child.kill("SIGKILL");
    return exited;
  };
  t.after(kill);
  const port = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${DEMO} ended early, with ${code}`)));
    setTimeout(() => reject(new Error(`${DEMO} printed no address`)), PATIENCE_MS).unref();
    createInterface({ input: child.stdout }).on("line", (line) => {
      const address = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(line);
      if (address) resolve(Number(address[1]));
    });
  });
  return { port, kill };
}

// Passes bytes between the browser and the demo, and keeps the head of each request, and what was received.
// When the demo is gone, so is the browser's connection.
async function record(t, demoPort) {
  const wire = { port: 0, requests: [], received: "", streams: () => wire.requests.filter(({ path }) => path === "/sse") };
  const sockets = new Set();
  const server = net.createServer((toBrowser) => {
    const toDemo = net.connect(demoPort, "127.0.0.1");
    for (const [socket, other] of [[toBrowser, toDemo], [toDemo, toBrowser]]) {
      sockets.add(socket);
      socket.on("error", () => {}); // "close" follows
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroySoon();
      });
    }
    let head = "";
    toBrowser.on("data", (bytes) => {
      // The requests have no bodies: a blank line ends each.
      const heads = (head + bytes.toString("latin1")).split("\r\n\r\n");
      head = heads.pop();
      wire.requests.push(...heads.map(parseHead));
    });
    toDemo.on("data", (bytes) => (wire.received += bytes.toString("latin1")));
    toBrowser.pipe(toDemo);
    toDemo.pipe(toBrowser);
  });
  t.after(() => {
    sockets.forEach((socket) => socket.destroy());
    return new Promise((resolve) => server.close(resolve));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  wire.port = server.address().port;
  return wire;
}

function parseHead(head) {
  const [line, ...fields] = head.split("\r\n");
  const lastEventId = fields.find((field) => /^last-event-id:/i.test(field))?.replace(/^[^:]*:\s*/, "");
  return { path: line.split(" ")[1], lastEventId };
}
