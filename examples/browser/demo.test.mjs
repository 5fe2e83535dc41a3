// The demo server and its page in Chromium, with a recording proxy between them.
//
//   DEMO      the program (default: ../../target/debug/demo)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { launch, program, retryPeriods, start, until } from "./common.mjs";
import { record } from "./proxy.mjs";

const DEMO = program("demo");

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

test("events arrive in order, past events first", async (t) => {
  const demo = await startDemo(t, "--every", "0.5");
  const feed = await observe(t, demo.port);
  await until("history", () => feed.ids.length, (length) => length > 1);
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire);

  for (const length of [2, 4, 6]) {
    const shown = await until(`event ${length}`, () => read(page), ({ ids }) => ids.length >= length);
    assertShows(shown, { state: "open", of: feed.ids });
    assert.equal(shown.ids[0], feed.ids[0]);
    assert.deepEqual([shown.gaps, shown.resumed], [[], []]);
  }
  const { raw, lastEventId } = await read(page);
  assert.match(raw, new RegExp(`^id: ${lastEventId}\\ndata: {.*}$`));
  // No favicon, nothing from other hosts, and one stream.
  assert.deepEqual(wire.requests.map(({ path }) => path), ["/", "/sse"]);
  assert.equal(wire.streams()[0].lastEventId, undefined);
});

test("the stream resumes after the network was interrupted, and nothing is missed", async (t) => {
  const demo = await startDemo(t, "--every", "0.2");
  const feed = await observe(t, demo.port);
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire);
  await until("two events", () => read(page), ({ ids }) => ids.length >= 2);

  wire.cut();
  const lost = await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
  // The page may have received an event earlier than the other client.
  await until("the same event", () => feed.ids, (ids) => ids.includes(lost.lastEventId));
  assertShows(lost, { state: "reconnecting", of: feed.ids });
  assert.equal(lost.watching, "");
  assert.match(lost.notice, new RegExp(`Last-Event-ID: ${lost.lastEventId}\\b`));
  const published = feed.ids.length;
  await until("events meanwhile", () => feed.ids.length, (length) => length > published + 2);
  wire.mend();

  const resumed = await until("the missed events", () => read(page), ({ ids }) => ids.length > lost.ids.length + 3);
  assertShows(resumed, { state: "open", of: feed.ids });
  assert.deepEqual([resumed.gaps, resumed.resumed], [[], [`resumed after ${lost.lastEventId}: nothing was missed`]]);
  assert.match(resumed.notice, /resumed after the last event/);

  const [first, ...retries] = wire.streams();
  assert.equal(first.lastEventId, undefined);
  assert.deepEqual(retries.map(({ lastEventId }) => lastEventId), [lost.lastEventId]);
});

for (const [what, reason, stop] of [
  ["killed", /^Connection lost\./, (demo) => demo.kill()],
  ["stopped by Ctrl-C", /^The server was stopped on purpose/, (demo) => demo.stop("SIGINT")],
  ["stopped by SIGTERM", /^The server was stopped on purpose/, (demo) => demo.stop("SIGTERM")],
]) {
  test(`the page reports a gap after the server was ${what} and restarted`, async (t) => {
    const demo = await startDemo(t);
    const wire = await record(t, demo.port);
    const page = await openPage(t, wire);
    await until("an event", () => read(page), ({ ids }) => ids.length > 0);

    await stop(demo);
    const lost = await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
    assert.match(lost.notice, reason);
    await startDemo(t, "--listen", `127.0.0.1:${demo.port}`, "--every", "0.2");
    const feed = await observe(t, demo.port);

    const found = await until("the gap", () => read(page), ({ gaps, ids }) => gaps.length > 0 && ids.length > lost.ids.length + 1);
    const [first] = feed.ids;
    assertShows(found, { state: "open", of: [...lost.ids, ...feed.ids] });
    assert.deepEqual([found.gaps, found.resumed], [[`gap after ${lost.lastEventId}: events may be missing; continued with ${first}`], []]);
    assert.match(found.notice, /Events may be missing/);
    assert.equal(wire.streams().at(-1).lastEventId, lost.lastEventId);
    await until("the notice to disappear", () => read(page), ({ notice }) => notice.startsWith("Events appear here"));
  });
}

test("with a journal the page resumes after the server was killed, and nothing is missed", async (t) => {
  const journal = await mkdtemp(join(tmpdir(), "sse-demo-"));
  t.after(() => rm(journal, { recursive: true }));
  const options = ["--every", "0.2", "--journal", journal];
  const demo = await startDemo(t, ...options);
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire);
  await until("two events", () => read(page), ({ ids }) => ids.length >= 2);

  await demo.kill();
  const lost = await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
  await startDemo(t, ...options, "--listen", `127.0.0.1:${demo.port}`);
  // The observer gets the events of both runs.
  const [first] = lost.ids;
  const feed = await observe(t, demo.port, { "Last-Event-ID": first });

  const resumed = await until("later events", () => read(page), ({ ids }) => ids.length > lost.ids.length + 3);
  assertShows(resumed, { state: "open", of: [first, ...feed.ids] });
  assert.equal(resumed.ids[0], first);
  assert.deepEqual([resumed.gaps, resumed.resumed], [[], [`resumed after ${lost.lastEventId}: nothing was missed`]]);
  assert.match(resumed.notice, /resumed after the last event/);
  assert.equal(wire.streams().at(-1).lastEventId, lost.lastEventId);
});

test("an idle stream shows heartbeats", async (t) => {
  const demo = await startDemo(t, "--every", "3600", "--heartbeat", "0.25");
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire);
  const shown = await until("a heartbeat", () => read(page), ({ heartbeat }) => heartbeat !== "");
  assert.deepEqual([shown.state, shown.ids.length, shown.count, shown.lastEventId], ["open", 1, 1, shown.ids[0]]);

  wire.cut();
  await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
  wire.mend();
  // Without an event, a heartbeat shows that the stream has resumed.
  const resumed = await until("resumed", () => read(page), ({ resumed }) => resumed.length > 0);
  assertShows(resumed, { state: "open", of: shown.ids });
});

test("each page shows the number of clients", async (t) => {
  const demo = await startDemo(t, "--every", "0.2");
  const wire = await record(t, demo.port);
  const pages = [await openPage(t, wire), await openPage(t, wire)];
  for (const page of pages) await until("two", () => read(page), ({ watching }) => watching === "2");
  await pages[1].close();
  await until("one", () => read(pages[0]), ({ watching }) => watching === "1");
});

test("the close event ends the stream for good, until it is opened again", async (t) => {
  const demo = await startDemo(t, "--count", "3", "--every", "0.5");
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire);

  const closed = await until("closed", () => read(page), ({ state }) => state === "closed");
  assert.deepEqual([closed.count, closed.ids.length, closed.errors], [3, 3, []]);
  assert.match(closed.notice, /the stream is over/);
  assert.ok(closed.reopen);

  const [, retry] = wire.received.match(/^retry: ?(\d+)$/m) ?? assert.fail("the server announced no retry");
  await retryPeriods(page, 3, Number(retry));
  assert.equal(wire.streams().length, 1, "the page reconnected after the close event");

  await page.click("#reopen");
  await until("the second stream", () => wire.streams().length, (streams) => streams === 2);
  const again = await until("closed again", () => read(page), ({ state }) => state === "closed");
  assert.deepEqual([again.ids, again.lastEventId], [closed.ids, closed.lastEventId]);
  assert.equal(wire.streams()[1].lastEventId, undefined);
});

test("a browser that reconnects after the end gets 204", async (t) => {
  const demo = await startDemo(t, "--count", "0");
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire);
  const { lastEventId } = await until("closed", () => read(page), ({ state }) => state === "closed");

  const code = await page.evaluate(async (id) => (await fetch("/sse", { headers: { "Last-Event-ID": id } })).status, lastEventId);
  assert.equal(code, 204);
});

test("a refused stream stays closed until it is opened again", async (t) => {
  const demo = await startDemo(t);
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire, { status: 503, body: "full" });

  const refused = await until("closed", () => read(page), ({ state }) => state === "closed");
  assertShows(refused, { state: "closed", of: [] });
  assert.match(refused.notice, /refused/);

  await page.unroute("**/sse");
  await page.click("#reopen");
  const shown = await until("an event", () => read(page), ({ ids }) => ids.length > 0);
  assertShows(shown, { state: "open", of: shown.ids });
  assert.ok(!shown.reopen);
});

test("data is shown as text, never as markup", async (t) => {
  const texts = ["<img src=x onerror='throw 1'>", "not JSON", "null", '{"text":1,"ts":2}', '{"text":"far","ts":1e300}'];
  const stream = texts.map((text, at) => `id: ${at + 1}\ndata: ${text}\n\n`).join("");
  const gaps = ["null", '{"asked":null,"from":null}', '{"asked":"<b>","from":"<i>"}'].map((gap) => `event: gap\ndata: ${gap}\n\n`).join("");
  const demo = await startDemo(t);
  const wire = await record(t, demo.port);
  const page = await openPage(t, wire, {
    contentType: "text/event-stream",
    body: `${stream}${gaps}id: 6\ndata: {"text":"<b>bold</b>","ts":0,"watching":"<b>"}\n\nevent: close\ndata:\n\n`,
  });

  const closed = await until("closed", () => read(page), ({ state }) => state === "closed");
  assertShows(closed, { state: "closed", of: ["1", "2", "3", "4", "5", "6"] });
  assert.deepEqual(closed.texts, [...texts, "<b>bold</b>"]);
  assert.deepEqual(closed.gaps, [
    "gap after the event below: events may be missing",
    "gap after the event below: events may be missing",
    "gap after <b>: events may be missing; continued with <i>",
  ]);
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

test("the page works over TLS, also after the server was restarted", async (t) => {
  const { files, pin } = await makeCertificate(t);
  const trusting = await launch(`--ignore-certificate-errors-spki-list=${pin}`);
  t.after(() => trusting.close());
  const demo = await startDemo(t, ...files);
  const page = await openPage(t, { scheme: "https", port: demo.port }, undefined, trusting);
  const before = await until("two events", () => read(page), ({ ids }) => ids.length >= 2);
  assert.equal(before.state, "open");

  await demo.kill();
  await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
  await startDemo(t, ...files, "--listen", `127.0.0.1:${demo.port}`);
  const shown = await until("the stream again", () => read(page), ({ state, ids }) => state === "open" && ids.length > before.ids.length);
  assert.deepEqual(shown.errors, []);

  // A browser that does not trust the certificate shows nothing.
  await assert.rejects(openPage(t, { scheme: "https", port: demo.port }), /ERR_CERT_AUTHORITY_INVALID/);
});

test("an unknown path gets 404", async (t) => {
  const demo = await startDemo(t);
  const response = await fetch(`http://127.0.0.1:${demo.port}/unknown`);
  await response.body?.cancel();
  assert.equal(response.status, 404);
});

// Reads what the page shows, with rows in the order of their arrival.
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
      resumed: rows("li.resumed").map((row) => row.textContent),
      gaps: rows("li.gap").map((row) => row.textContent),
      watching: one("#watching").textContent,
      heartbeat: one("#heartbeat").textContent,
      raw: one("#raw").textContent,
      errors: globalThis.errors,
    };
  });
}

// Asserts that the page shows a part of the feed with the IDs `of`, none missing and none twice, that all figures
// agree, and that no script failed.
function assertShows(shown, { state, of }) {
  assert.deepEqual(shown.errors, []);
  const from = Math.max(of.indexOf(shown.ids[0]), 0);
  const ids = of.slice(from, from + shown.ids.length);
  assert.deepEqual(
    { state: shown.state, label: shown.label, ids: shown.ids, lastEventId: shown.lastEventId, count: shown.count },
    { state, label: state, ids, lastEventId: ids.at(-1) ?? "", count: ids.length },
  );
}

// Makes a certificate. Returns the demo's options for it, and the pin with which a browser trusts it.
async function makeCertificate(t) {
  const dir = await mkdtemp(join(tmpdir(), "sse-demo-"));
  t.after(() => rm(dir, { recursive: true }));
  const [certificate, key] = [join(dir, "certificate.pem"), join(dir, "key.pem")];
  await promisify(execFile)("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost".split(" "),
    ...["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
  ]);
  const { publicKey } = new X509Certificate(await readFile(certificate));
  const pin = createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest("base64");
  return { files: ["--cert", certificate, "--key", key], pin };
}

// Opens the page through the proxy. With `response`, the browser gets that response for the stream.
async function openPage(t, { scheme = "http", port }, response, by = browser) {
  const context = await by.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.addInitScript(() => {
    globalThis.errors = [];
    addEventListener("error", (event) => globalThis.errors.push(event.message));
  });
  if (response) await page.route("**/sse", (route) => route.fulfill(response));
  await page.goto(`${scheme}://127.0.0.1:${port}/`);
  return page;
}

// Starts the demo, by default on a free port.
function startDemo(t, ...args) {
  if (!args.includes("--listen")) args.push("--listen", "127.0.0.1:0");
  return start(t, DEMO, ...args);
}

// Follows the demo's feed without a browser and collects the IDs.
async function observe(t, port, headers = {}) {
  const feed = { ids: [] };
  const request = http.get({ host: "127.0.0.1", port, path: "/sse", headers });
  request.on("error", () => {}); // the demo may have ended
  t.after(() => request.destroy());
  const [response] = await once(request, "response");
  response.on("error", () => {});
  let id;
  createInterface({ input: response }).on("line", (line) => {
    // The first block has the ID of the position, and no data.
    if (line.startsWith("id: ")) id = line.slice("id: ".length);
    else if (line.startsWith("data: ") && id !== undefined) feed.ids.push(id);
    if (line === "" || line.startsWith("data: ")) id = undefined;
  });
  return feed;
}
