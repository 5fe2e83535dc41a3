// MCP's conformance suite against the program `mcp`.
//
//     node run.mjs ../target/debug/mcp
//
// Fails on a failure and on a warning of any scenario.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const COMMAND = "node_modules/@modelcontextprotocol/conformance/dist/index.js";

const folder = await mkdtemp(join(tmpdir(), "mcp-"));
const args = ["--listen", "127.0.0.1:0", "--journal", join(folder, "journal")];
const server = spawn(process.argv[2], args, { stdio: ["ignore", "pipe", "inherit"] });
process.on("exit", () => server.kill("SIGKILL"));
const [line] = await once(createInterface({ input: server.stdout }), "line");
const [url] = line.match(/http:\S+/);

// Node 20 lacks a function that another command of the package imports.
const results = join(folder, "results");
const suite = ["server", "--suite", "all", "--url", url, "-o", results];
const node = ["--import", "./node20.mjs", COMMAND, ...suite];
const child = spawn("node", node, { cwd: import.meta.dirname, stdio: "inherit" });
const [code] = await once(child, "exit");
assert.equal(code, 0);

const scenarios = await readdir(results);
assert.ok(scenarios.some((name) => name.includes("server-sse-polling")), scenarios);
assert.ok(scenarios.some((name) => name.includes("server-sse-multiple-streams")), scenarios);
for (const name of scenarios) {
  const checks = JSON.parse(await readFile(join(results, name, "checks.json"), "utf8"));
  const warnings = checks.filter((check) => check.status === "WARNING" || check.status === "FAILURE");
  assert.deepEqual(warnings, [], name);
}
await rm(folder, { recursive: true });
process.exit();
