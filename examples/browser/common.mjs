// Helpers shared by the browser tests.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const TIMEOUT_MS = 20_000;

const children = new Set();

// An interrupted run also kills its servers.
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

// Returns the path of a program of the workspace, or the value of the variable with its name.
export function program(name) {
  return process.env[name.toUpperCase()] ?? fileURLToPath(new URL(`../../target/debug/${name}`, import.meta.url));
}

export function launch(...args) {
  return chromium.launch({
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
      ...args,
    ],
  });
}

// Starts a server, waits until it prints its address, and keeps its output.
export async function start(t, path, ...args) {
  const child = spawn(path, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  const exited = new Promise((resolve) => child.once("close", resolve)).then(() => children.delete(child));
  const kill = () => {
    child.kill("SIGKILL");
    return exited;
  };
  const stop = async (signal) => {
    child.kill(signal);
    await exited;
    assert.equal(child.exitCode, 0);
  };
  t.after(kill);
  const output = createInterface({ input: child.stdout });
  const lines = [];
  const port = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${path} ended early, with ${code}`)));
    sleep(TIMEOUT_MS, undefined, { ref: false }).then(() => reject(new Error(`${path} printed no address`)));
    output.on("line", (line) => {
      lines.push(line);
      const address = /:(\d+)\//.exec(line);
      if (address) resolve(Number(address[1]));
    });
  });
  return { port, kill, stop, output, lines };
}

// Resolves to the first value that fulfils the condition.
export async function until(what, reading, condition) {
  const deadline = Date.now() + TIMEOUT_MS;
  for (;;) {
    const value = await reading();
    if (condition(value)) return value;
    if (Date.now() > deadline) assert.fail(`timed out waiting for ${what}; last value: ${JSON.stringify(value)}`);
    await sleep(20);
  }
}

// Waits for at least `periods` reconnection times on the browser's own clock: until a second EventSource in the
// page, whose stream ends at once, has reconnected that often.
export async function retryPeriods(page, periods, retryMs) {
  let streams = 0;
  await page.route("**/witness", (route) => {
    streams += 1;
    return route.fulfill({ contentType: "text/event-stream", body: `retry: ${retryMs}\n\n` });
  });
  await page.evaluate(() => void (globalThis.witness = new EventSource("/witness")));
  await until("the witness to reconnect", () => streams, () => streams > periods);
  await page.evaluate(() => globalThis.witness.close());
}
