// The demo's hub in Chromium: several topics, and several tabs, over one connection.
//
//   DEMO      the program (default: ../../target/debug/demo)
//   CHROMIUM  the browser (default: /usr/bin/chromium)

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch, program, start, until } from "./common.mjs";
import { record } from "./proxy.mjs";

const RIVERS = ["Amazon", "Congo", "Danube", "Elbe", "Ganges", "Mekong", "Murray", "Nile", "Rhine", "Thames", "Volga", "Yukon"];

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

test("three topics share a connection and are switched", async (t) => {
  const { demo, wire } = await serve(t);
  const page = await openPage(await newContext(t), wire);
  const first = await until("all topics", () => read(page), isComplete);
  assert.deepEqual([first.state, first.notes, first.errors], ["open", [], []]);
  assert.deepEqual(first.hidden, []);
  await say(page, "<b>hey</b>");
  await until("the message", () => read(page), ({ mails }) => mails.length > 0 && mails[0] === "<b>hey</b>");
  assert.deepEqual(topics(wire), ["feed,inbox,values"]);
  assert.equal(wire.open(), 1);

  // The values are switched off and on again while the other topics continue.
  await page.uncheck("[value=values]");
  await until("the request", () => switches(wire), (count) => count === 1);
  const without = await until("events of the feed", () => read(page), ({ feed }) => feed.length > first.feed.length + 3);
  assert.deepEqual(without.hidden, ["values"]);
  await until("the end of measuring", () => demo.lines, (lines) => lines.includes("the values have no client: measuring ends"));
  await page.check("[value=values]");
  const again = await until("values", () => read(page), ({ points, rivers, state }) => points > 30 && rivers.length === RIVERS.length && state === "open");
  assert.deepEqual([again.rivers, again.hidden, again.notes, again.errors], [RIVERS, [], [], []]);
  // No event of the other topics was lost or repeated.
  assert.deepEqual(again.mails, ["<b>hey</b>"]);
  assertRises(again.feed);

  // The inbox comes again from its beginning.
  await page.uncheck("[value=inbox]");
  await until("the request", () => switches(wire), (count) => count === 3);
  await page.evaluate(async (to) => {
    const body = JSON.stringify({ to, from: to, text: "while it is off" });
    await fetch("/hub/inbox", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  }, first.visitor);
  await page.check("[value=inbox]");
  const mails = await until("both messages", () => read(page), ({ mails }) => mails.length === 2);
  assert.deepEqual(mails.mails, ["while it is off", "<b>hey</b>"]);
  assert.deepEqual(topics(wire), ["feed,inbox,values"]);
  assert.equal(wire.open(), 1);

  for (const topic of ["values", "inbox", "feed"]) await page.uncheck(`[value=${topic}]`);
  await until("no stream", () => wire.open(), (open) => open === 0);
  const idle = await read(page);
  assert.equal(idle.state, "idle");
  await page.check("[value=feed]");
  const back = await until("the feed", () => read(page), ({ feed }) => feed.length > 3 && feed[0] !== idle.feed[0]);
  assertRises(back.feed);
  assert.deepEqual(topics(wire), ["feed,inbox,values", "feed"]);
});

test("a second tab shares the connection of the first", async (t) => {
  const { wire } = await serve(t);
  const context = await newContext(t);
  const page = await openPage(context, wire);
  await until("all topics", () => read(page), isComplete);
  await say(page, "before");
  await until("the message", () => read(page), ({ mails }) => mails.length === 1);

  const second = await openPage(context, wire);
  const shown = await until("the second tab", () => read(second), ({ mails, state, rivers }) => state === "open" && mails.length === 1 && rivers.length === RIVERS.length);
  assert.deepEqual([shown.mails, shown.rivers, shown.tabs, shown.errors], [["before"], RIVERS, "2", []]);
  assertRises(shown.feed);
  assert.equal((await read(page)).visitor, shown.visitor);

  // A topic is followed for as long as one of the tabs has it on.
  await page.uncheck("[value=values]");
  await until("more values in the second tab", () => read(second), ({ points }) => points > shown.points + 3);
  await say(second, "both");
  for (const tab of [page, second]) await until("the message", () => read(tab), ({ mails }) => mails[0] === "both");
  assert.deepEqual(topics(wire), ["feed,inbox,values"]);
  assert.equal(wire.open(), 1);

  await second.close();
  await until("one tab", () => read(page), ({ tabs }) => tabs === "1");
  await until("the values to be switched off", () => switches(wire), (count) => count === 1);
  assert.deepEqual(topics(wire), ["feed,inbox,values"]);
  assert.equal(wire.open(), 1);
});

test("without SharedWorker each tab has a connection", async (t) => {
  const { wire } = await serve(t);
  const context = await newContext(t);
  await context.addInitScript(() => delete globalThis.SharedWorker);
  const pages = [await openPage(context, wire), await openPage(context, wire)];
  for (const page of pages) {
    const shown = await until("all topics", () => read(page), isComplete);
    assert.deepEqual([shown.tabs, shown.errors], ["1", []]);
  }
  assert.equal(wire.open(), 2);
});

test("after a restart without a journal the page reports gaps and fills the table again", async (t) => {
  const { demo, wire } = await serve(t);
  const page = await openPage(await newContext(t), wire);
  const first = await until("all topics", () => read(page), isComplete);

  await demo.kill();
  await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
  await startDemo(t, "--listen", `127.0.0.1:${demo.port}`);
  const found = await until("the gap", () => read(page), ({ notes, points, rivers }) => notes.length > 0 && rivers.length === RIVERS.length && points < first.points + 100);
  assert.match(found.notes[0], /^gap after .*: events may be missing$/);
  assert.match(found.notice, /Events may be missing/);
  assert.deepEqual([found.state, found.errors], ["open", []]);
});

test("with a journal the page resumes after a restart, and a new page has the table", async (t) => {
  const journal = await mkdtemp(join(tmpdir(), "sse-demo-"));
  t.after(() => rm(journal, { recursive: true }));
  const { demo, wire } = await serve(t, "--journal", journal);
  const page = await openPage(await newContext(t), wire);
  await until("all topics", () => read(page), isComplete);
  await say(page, "before");
  await until("the message", () => read(page), ({ mails }) => mails.length === 1);
  // The network is cut first, so that the page has all that was published before the kill, or can get it.
  wire.cut();
  const lost = await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
  await demo.kill();
  await startDemo(t, "--listen", `127.0.0.1:${demo.port}`, "--journal", journal);
  wire.mend();

  const resumed = await until("later events", () => read(page), ({ feed, points }) => feed.length > lost.feed.length + 3 && points > lost.points + 3);
  assert.match(resumed.notice, /Nothing was missed/);
  assert.deepEqual([resumed.state, resumed.notes, resumed.rivers, resumed.mails], ["open", [], RIVERS, ["before"]]);
  assertRises(resumed.feed);

  const late = await openPage(await newContext(t), wire);
  const shown = await until("the table", () => read(late), isComplete);
  assert.deepEqual([shown.rivers, shown.notes, shown.errors], [RIVERS, [], []]);
  // It has the newest value of each river, and a few that have followed, but no history.
  assert.ok(shown.points < 2 * RIVERS.length, `${shown.points} points`);
});

test("after an outage the page has the newest value of each river at once, and no history", async (t) => {
  const { demo, wire } = await serve(t);
  const page = await openPage(await newContext(t), wire);
  // The values are measured while anybody follows them.
  const other = await openPage(await newContext(t), demo);
  for (const each of [page, other]) await until("all topics", () => read(each), isComplete);
  wire.cut();
  const lost = await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
  const { points } = await read(other);
  await until("three values of each river", () => read(other), (shown) => shown.points > points + 3 * RIVERS.length);
  wire.mend();
  const found = await until("a value of each river", () => read(page), (shown) => shown.points >= lost.points + RIVERS.length);
  assert.ok(found.points < lost.points + 2 * RIVERS.length, `${found.points - lost.points} points`);
  assert.deepEqual([found.state, found.rivers, found.notes, found.errors], ["open", RIVERS, [], []]);
  // One value in 100 ms may have reached only one of the pages.
  const [ours, theirs] = await Promise.all([read(page), read(other)]);
  const older = ours.levels.filter((level, at) => level !== theirs.levels[at]);
  assert.ok(older.length <= 3, `${older.length} values differ`);
});

test("topics that were switched while the server ran are followed after its restart", async (t) => {
  const journal = await mkdtemp(join(tmpdir(), "sse-demo-"));
  t.after(() => rm(journal, { recursive: true }));
  const { demo, wire } = await serve(t, "--journal", journal);
  const page = await openPage(await newContext(t), wire);
  await until("all topics", () => read(page), isComplete);
  for (const topic of ["values", "inbox", "feed"]) await page.uncheck(`[value=${topic}]`);
  await page.check("[value=feed]");
  await until("the stream of the feed", () => topics(wire), (streams) => streams.at(-1) === "feed");
  await until("the feed", () => read(page), ({ state, feed }) => state === "open" && feed.length > 1);
  await page.check("[value=inbox]");
  await say(page, "before");
  await until("the message", () => read(page), ({ mails }) => mails.length === 1);
  const count = switches(wire);

  // The page learns that the new server does not know its token, and sends its topics again.
  wire.cut();
  const lost = await until("reconnecting", () => read(page), ({ state }) => state === "reconnecting");
  await demo.kill();
  await startDemo(t, "--listen", `127.0.0.1:${demo.port}`, "--journal", journal);
  wire.mend();
  await until("the request", () => switches(wire), (again) => again === count + 1);
  await say(page, "after");
  const found = await until("both messages", () => read(page), ({ mails, feed }) => mails.length > 1 && feed.length > lost.feed.length + 3);
  assert.deepEqual([found.mails, found.notes, found.errors], [["after", "before"], [], []]);
  assert.equal(found.state, "open");
  assertRises(found.feed);
  assert.equal(wire.open(), 1);
});

function isComplete({ state, rivers, feed }) {
  return state === "open" && rivers.length === RIVERS.length && feed.length > 1;
}

// Asserts that IDs, newest first, fall without a repetition.
function assertRises(ids) {
  const numbers = ids.map((id) => id.split("-").map(Number)).reverse();
  numbers.slice(1).forEach(([millis, sequence], at) => {
    const [before, sequenceBefore] = numbers[at];
    assert.ok(millis > before || (millis === before && sequence > sequenceBefore), ids.join(" "));
  });
}

function topics(wire) {
  return wire.streams().map(({ path }) => new URL(path, "http://demo").searchParams.get("topics"));
}

// The number of requests that switch topics.
function switches(wire) {
  return wire.requests.filter(({ method, path }) => method === "POST" && path.startsWith("/hub/events?")).length;
}

// Sends a message to the visitor's own inbox.
async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

function read(page) {
  return page.evaluate(() => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map(({ textContent }) => textContent);
    return {
      state: document.querySelector("#state").dataset.state,
      tabs: texts("#tabs")[0],
      notice: texts("#notice")[0],
      visitor: texts("#visitor")[0],
      rivers: texts("#values tbody th"),
      levels: texts("#values tbody .level"),
      points: [...document.querySelectorAll("canvas")].reduce((sum, { points }) => sum + points.length, 0),
      mails: texts("#inbox li:not(.note) .text"),
      feed: texts("#feed li:not(.note) .who"),
      notes: texts("li.note"),
      hidden: ["values", "inbox", "feed"].filter((id) => !document.getElementById(id).checkVisibility()),
      errors: globalThis.errors,
    };
  });
}

async function newContext(t) {
  const context = await browser.newContext();
  t.after(() => context.close());
  await context.addInitScript(() => {
    globalThis.errors = [];
    addEventListener("error", (event) => globalThis.errors.push(event.message));
  });
  return context;
}

async function openPage(context, { port }) {
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${port}/hub`);
  return page;
}

async function serve(t, ...args) {
  const demo = await startDemo(t, ...args);
  return { demo, wire: await record(t, demo.port, "/hub/events") };
}

// Starts the demo, by default on a free port.
function startDemo(t, ...args) {
  if (!args.includes("--listen")) args.push("--listen", "127.0.0.1:0");
  return start(t, program("demo"), "--every", "0.2", ...args);
}
