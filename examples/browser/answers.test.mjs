// Responses as pages see them, and the IDs that browsers send back, in Chromium.
//
//   DEMO      the program (default: ../../target/debug/demo)
//   REPLAY    the program (default: ../../target/debug/replay)
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

test("a page of an allowed origin can read every response, also of a finished topic", async (t) => {
  const pages = await listen(t, http.createServer((_, response) => response.end("a page")));
  const demo = await start(t, DEMO, "--listen", "127.0.0.1:0", "--count", "1", "--allow-origin", `http://localhost:${pages}`);
  const url = `http://127.0.0.1:${demo.port}`;
  // The first of three IDs is that of the position before the events.
  const ids = await until("the end", async () => (await (await fetch(`${url}/sse`)).text()).match(/(?<=^id: ).*$/gm), (ids) => ids?.length === 3);

  const page = await open(t, `http://localhost:${pages}/`);
  const read = (path, options) =>
    page.evaluate(async ([url, options]) => {
      const response = await fetch(url, options);
      const [line] = (await response.text()).replace(/^id: .*\n/, "").split("\n");
      return `${response.status} ${line.replace(/\d+$/, "…")}`;
    }, [url + path, options]);
  const seen = { "Last-Event-ID": ids.at(-1) };
  for (const [path, options, expected] of [
    ["/sse", {}, "200 retry: …"],
    ["/sse", { headers: seen }, "204 "],
    [`/sse?lastEventID=${ids.at(-1)}`, {}, "204 "],
    [`/sse?lastEventId=${ids.at(-1)}`, { method: "HEAD" }, "204 "],
    ["/sse?lastEventId=%0A", {}, "400 the last event ID in the query has a control character"],
    ["/unknown", {}, "404 there is nothing at this path"],
    ["/sse", { method: "POST" }, "405 the method is not allowed; use one that Allow lists"],
    ["/sse", { headers: { Accept: "text/html" } }, "406 Accept excludes event streams, and there is nothing else here"],
  ]) {
    assert.equal(await read(path, options), expected, path);
  }
  // An EventSource that has seen every event is closed for good.
  const state = await page.evaluate(async (url) => {
    const source = new EventSource(url);
    await new Promise((resolve) => source.addEventListener("error", resolve));
    return source.readyState;
  }, `${url}/sse?lastEventID=${ids.at(-1)}`);
  assert.equal(state, 2);

  // A page of another origin cannot read the response.
  const other = await open(t, `http://127.0.0.1:${pages}/`);
  const refused = other.evaluate((url) => fetch(url).then(({ status }) => status), `${url}/unknown`);
  await assert.rejects(refused, /Failed to fetch/);
});

// IDs that a header can carry, and IDs that it cannot.
const GOOD = ["1", "a b", "7:8", '"q"', "\u00e9", "\u65e5\u672c", "\u0085\u00a0", "x".repeat(1024), "last"];
const BAD = ["a\u0001b", " 7", "7 ", "\t", "\u001b[0m", "7\u007f", "a\tb", "y".repeat(1025), "\u000b"];

test("IDs that a header can carry come back unchanged, and others are never sent", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "sse-answers-"));
  t.after(() => rm(dir, { recursive: true }));
  const file = join(dir, "recording.sse");
  // The events are so far apart that each arrives alone.
  const event = (at, id, data) => `:T+${at.toFixed(9)}\nid: ${id}\ndata: ${data}\n\n`;
  const events = GOOD.map((good, at) => event(at / 4, BAD[at], `bad ${at}`) + event(at / 4 + 0.05, good, `good ${at}`));
  await writeFile(file, `retry: 50\n\n${events.join("")}`);
  const replay = await start(t, REPLAY, file, "--listen", "127.0.0.1:0");
  const wire = await cuttingProxy(t, replay.port);

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

// Forwards bytes between the browser and the server, with a short reconnection time. Disconnects the browser after
// each good event, and keeps the last event ID and the status of each stream.
async function cuttingProxy(t, port) {
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
