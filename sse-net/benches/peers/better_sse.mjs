// The feed of the benchmarks with Node and better-sse, the events of `fanout`.
//
//   node better_sse.mjs --port PORT [--rate RATE | --ramp RATE:FACTOR:STEP:DELAY]

import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { createChannel, createSession } from "better-sse";

const { values } = parseArgs({
  options: { port: { type: "string" }, rate: { type: "string", default: "0" }, ramp: { type: "string" } },
});
const [rate, factor, step, delay] = (values.ramp ?? `${values.rate}:1:1:0`).split(":").map(Number);
const SIZE = 100;
const BATCH = 1 << 14;

const channel = createChannel();
createServer(async (request, response) => {
  channel.register(await createSession(request, response));
}).listen({ port: Number(values.port), host: "127.0.0.1", backlog: 4096 });

const start = process.hrtime.bigint();
let due = 0; // seconds after the start
let sequence = 0;
if (rate > 0) publish();

function publish() {
  const now = seconds();
  for (let count = 0; due <= now && count < BATCH; count += 1) {
    const event = { n: sequence, t: Number(start) + Math.round(due * 1e9), pad: "" };
    event.pad = "x".repeat(Math.max(0, SIZE - JSON.stringify(event).length));
    channel.broadcast(event, "message", { eventId: "1700000000000-0" });
    sequence += 1;
    due += 1 / (rate * factor ** Math.max(0, Math.floor((due - delay) / step)));
  }
  const wait = (due - seconds()) * 1000;
  if (wait < 1) setImmediate(publish);
  else setTimeout(publish, wait);
}

function seconds() {
  return Number(process.hrtime.bigint() - start) / 1e9;
}
