// The page of `replay --listen` in Chromium, behind a proxy that counts requests.
//
//   REPLAY    the program (default: ../../target/debug/replay)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, program, retryPeriods, start, until } from "./common.mjs";

const REPLAY = program("replay");

// The reconnection time of the recordings.
const RETRY_MS = 50;

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

for (const [what, ids] of [
  ["with IDs", ["1", "2", "3"]],
  ["without IDs", ["", "", ""]],
  ["whose last event has no ID", ["1", "", ""]],
]) {
  const recording = ids.map((id, at) => `:T+0.${at}00000000\n${id && `id: ${id}\n`}data: event ${at}\n\n`);

  test(`a recording ${what} is shown in order and ends`, async (t) => {
    const { wire, page } = await replay(t, recording);
    const shown = () => page.locator("#events").textContent();
    await until("the last event", shown, (text) => text.includes("event 2"));
    await until("the end", () => wire.open, (open) => open === 0);
    await retryPeriods(page, 3, RETRY_MS);

    const lines = (await shown()).trimEnd().split("\n");
    assert.deepEqual(lines.map((line) => line.slice(line.indexOf("message"))), ["message event 0", "message event 1", "message event 2"]);
    assert.deepEqual(wire.streams, [{ lastEventId: undefined, status: 200 }]);
  });

  test(`a recording ${what} ends for a page that does not handle "close"`, async (t) => {
    const { wire, page } = await replay(t, recording, "/nothing");
    await page.evaluate(() => {
      globalThis.seen = [];
      globalThis.source = new EventSource("/sse");
      source.onmessage = ({ data }) => seen.push(data);
    });
    await until("the source to be closed", () => page.evaluate(() => source.readyState), (state) => state === 2);
    await retryPeriods(page, 3, RETRY_MS);

    assert.deepEqual(await page.evaluate(() => seen), ["event 0", "event 1", "event 2"]);
    assert.deepEqual(wire.streams, [
      { lastEventId: undefined, status: 200 },
      { lastEventId: "end-of-3", status: 204 },
    ]);
  });
}

test("recorded events of the types open and error are shown, and the EventSource's own are not", async (t) => {
  const types = ["open", "error", "message", "close"];
  const recording = types.map((type, at) => `:T+0.${at}00000000\nid: ${at}\nevent: ${type}\ndata: event ${at}\n\n`);
  const { wire, page } = await replay(t, recording);
  const shown = () => page.locator("#events").textContent();
  await until("the last event", shown, (text) => text.includes("event 3"));
  await until("the end", () => wire.open, (open) => open === 0);
  await retryPeriods(page, 3, RETRY_MS);

  const lines = (await shown()).trimEnd().split("\n");
  const end = "end-of-4 close";
  assert.deepEqual(lines, [...types.map((type, at) => `${at} ${type} event ${at}`), end]);
});

// Plays a recording to the program's page, or to another, through a proxy that keeps the last event ID and the status
// of each stream.
async function replay(t, recording, path = "/") {
  const dir = await mkdtemp(join(tmpdir(), "sse-replay-"));
  t.after(() => rm(dir, { recursive: true }));
  const file = join(dir, "recording.sse");
  await writeFile(file, `retry: ${RETRY_MS}\n\n${recording.join("")}`);
  const wire = await proxy(t, (await start(t, REPLAY, file, "--listen", "127.0.0.1:0")).port);
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${wire.port}${path}`);
  return { wire, page };
}

async function proxy(t, port) {
  const wire = { port: 0, streams: [], open: 0 };
  const server = http.createServer(({ url: path, headers }, toBrowser) => {
    const request = http.get({ host: "127.0.0.1", port, path, headers }, (response) => {
      toBrowser.writeHead(response.statusCode, response.headers);
      toBrowser.flushHeaders();
      response.pipe(toBrowser);
      if (path === "/sse") wire.streams.push({ lastEventId: headers["last-event-id"], status: response.statusCode });
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
