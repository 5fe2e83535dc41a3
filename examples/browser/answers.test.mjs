// What pages see of answers, and what browsers send back, in Chromium.
//
//   DEMO      the demo binary (default: ../../target/debug/demo)
//   REPLAY    the replay binary (default: ../../target/debug/replay)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, program, start, until } from "./common.mjs";

const DEMO = program("demo");
const REPLAY = program("replay");

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

test("a page of an allowed origin can read every answer, also on a finished topic", async (t) => {
  const pages = await listen(t, http.createServer((_, response) => response.end("a page")));
  const demo = await start(t, DEMO, "--listen", "127.0.0.1:0", "--count", "1", "--allow-origin", `http://localhost:${pages}`);
  const url = `http://127.0.0.1:${demo.port}`;
  const ids = await until("the end", async () => (await (await fetch(`${url}/sse`)).text()).match(/(?<=^id: ).*$/gm), (ids) => ids?.length === 2);

  const page = await open(t, `http://localhost:${pages}/`);
  const read = (path, options) =>
    page.evaluate(async ([url, options]) => {
      const response = await fetch(url, options);
      return `${response.status} ${(await response.text()).split("\n")[0].replace(/\d+$/, "…")}`;
    }, [url + path, options]);
  const seen = { "Last-Event-ID": ids.at(-1) };
  for (const [path, options, expected] of [
    ["/sse", {}, "200 retry: …"],
    ["/sse", { headers: seen }, "204 "],
    [`/sse?lastEventID=${ids.at(-1)}`, {}, "204 "],
    [`/sse?lastEventId=${ids.at(-1)}`, { method: "HEAD" }, "204 "],
    ["/sse?lastEventId=%0A", {}, "400 the last event ID in the query has a control character"],
    ["/unknown", {}, "404 there is nothing at this path"],
    ["/sse", { method: "POST" }, "405 the method is not allowed; use GET"],
    ["/sse", { headers: { Accept: "text/html" } }, "406 Accept excludes text/event-stream, which is all there is here"],
  ]) {
    assert.equal(await read(path, options), expected, path);
  }
  // A source that has seen it all is closed for good.
  const state = await page.evaluate(async (url) => {
    const source = new EventSource(url);
    await new Promise((resolve) => source.addEventListener("error", resolve));
    return source.readyState;
  }, `${url}/sse?lastEventID=${ids.at(-1)}`);
  assert.equal(state, 2);

  // Another origin sees nothing.
  const other = await open(t, `http://127.0.0.1:${pages}/`);
  const refused = other.evaluate((url) => fetch(url).then(({ status }) => status), `${url}/unknown`);
  await assert.rejects(refused, /Failed to fetch/);
});

// What a header can carry, and what it cannot.
const GOOD = ["1", "a b", "7:8", '"q"', "\u00e9", "\u65e5\u672c", "\u0085\u00a0", "x".repeat(1024), "last"];
const BAD = ["a\u0001b", " 7", "7 ", "\t", "\u001b[0m", "7\u007f", "a\tb", "y".repeat(1025), "\u000b"];

test("IDs come back as they were sent, and those that could not are not sent", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "sse-answers-"));
  t.after(() => rm(dir, { recursive: true }));
  const file = join(dir, "recording.sse");
  // So far apart that they come one by one.
  const event = (at, id, data) => `:T+${at.toFixed(9)}\nid: ${id}\ndata: ${data}\n\n`;
  const events = GOOD.map((good, at) => event(at / 4, BAD[at], `bad ${at}`) + event(at / 4 + 0.05, good, `good ${at}`));
  await writeFile(file, `retry: 50\n\n${events.join("")}`);
  const replay = await start(t, REPLAY, file, "--listen", "127.0.0.1:0");
  const wire = await cutter(t, replay.port);

  const page = await open(t, `http://127.0.0.1:${wire.port}/nothing`);
  await page.evaluate(() => {
    globalThis.seen = [];
    globalThis.source = new EventSource("/sse");
    source.onmessage = ({ data, lastEventId }) => seen.push([data, lastEventId]);
  });
  await until("the source to be closed", () => page.evaluate(() => source.readyState), (state) => state === 2);

  const expected = GOOD.flatMap((good, at) => [[`bad ${at}`, GOOD[at - 1] ?? ""], [`good ${at}`, good]]);
  assert.deepEqual(await page.evaluate(() => seen), expected);
  assert.deepEqual(wire.streams.slice(0, GOOD.length), [undefined, ...GOOD.slice(0, -1)]);
  assert.deepEqual(wire.statuses, [...Array(wire.statuses.length - 1).fill("200"), "204"]);
});

async function open(t, url) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

// Passes bytes between the browser and the server, but for the time after which the browser comes back, which is
// short. Cuts the browser off after each event that is good, and keeps with which last event ID each stream was
// asked for, and the status of its answer.
async function cutter(t, port) {
  const wire = { port: 0, streams: [], statuses: [] };
  const server = net.createServer((toBrowser) => {
    const toServer = net.connect(port, "127.0.0.1");
    for (const [socket, other] of [[toBrowser, toServer], [toServer, toBrowser]]) {
      socket.on("error", () => {}); // "close" follows
      socket.on("close", () => other.destroySoon());
    }
    let isStream = false;
    toBrowser.on("data", (bytes) => {
      const head = bytes.toString();
      toServer.write(bytes);
      isStream ||= head.startsWith("GET /sse ");
      if (isStream) wire.streams.push(/^last-event-id: ?(.*?)\r$/im.exec(head)?.[1]);
    });
    toServer.on("data", (bytes) => {
      const text = bytes.toString("latin1").replace(/^retry: \d+$/m, "retry: 50");
      const [first] = text.split(/(?<=data: good \d+\n\n)/);
      if (toBrowser.writable) toBrowser.write(first, "latin1");
      const status = /^HTTP\/1.1 (\d+)/.exec(text);
      if (isStream && status) wire.statuses.push(status[1]);
      if (first.includes("data: good ")) toBrowser.destroySoon();
    });
  });
  wire.port = await listen(t, server);
  return wire;
}

async function listen(t, server) {
  t.after(() => {
    server.closeAllConnections?.();
    server.close();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server.address().port;
}
