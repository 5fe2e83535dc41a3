// Two demos that share their feed over Redis, behind nginx, in Chromium.
//
//   DEMO      the program (default: ../../target/debug/demo)
//   CHROMIUM  the browser (default: /usr/bin/chromium)
//
// Needs redis-server, redis-cli and nginx.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { launch, program, start, until } from "./common.mjs";
import { record } from "./proxy.mjs";

const RECONNECTS = 4;

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

test("the browser changes the node at each reconnect, and misses nothing", async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "sse-redis-"));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const redis = await startRedis(t, dir);
  const args = ["--listen", "127.0.0.1:0", "--redis", `redis://127.0.0.1:${redis}`, "--every", "0.1"];
  const demos = [await start(t, program("demo"), ...args), await start(t, program("demo"), ...args)];
  const nginx = await startNginx(t, dir, demos.map(({ port }) => port));
  const wire = await record(t, nginx);
  const page = await (await browser.newContext()).newPage();
  t.after(() => page.context().close());
  await page.goto(`http://127.0.0.1:${wire.port}/page`);
  await page.evaluate(() => {
    globalThis.ids = [];
    globalThis.gaps = 0;
    const source = new EventSource("/sse");
    source.onmessage = ({ lastEventId }) => globalThis.ids.push(lastEventId);
    source.addEventListener("gap", () => (globalThis.gaps += 1));
  });
  const ids = () => page.evaluate(() => globalThis.ids);
  for (let streams = 1; streams <= RECONNECTS + 1; streams += 1) {
    await until(`stream ${streams}`, wire.streams, ({ length }) => length === streams);
    const { length } = await ids();
    await until("more events", ids, (now) => now.length > length + 5);
    if (streams > RECONNECTS) break;
    wire.cut();
    wire.mend();
  }
  const nodes = [...wire.received.matchAll(/^Node: (.*)\r$/gm)].map(([, node]) => node);
  assert.equal(nodes.length, RECONNECTS + 1);
  nodes.slice(1).forEach((node, index) => assert.notEqual(node, nodes[index]));
  assert.equal(await page.evaluate(() => globalThis.gaps), 0);

  const received = await ids();
  const stored = await storedIds(redis);
  const from = stored.indexOf(received[0]);
  assert.deepEqual(received, stored.slice(from, from + received.length));
});

async function startRedis(t, dir) {
  const port = await freePort();
  const server = spawn("redis-server", ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir], { stdio: "ignore" });
  t.after(() => server.kill("SIGKILL"));
  await listening(port);
  return port;
}

async function startNginx(t, dir, ports) {
  const port = await freePort();
  const servers = ports.map((port) => `server 127.0.0.1:${port};`).join(" ");
  const path = join(dir, "nginx.conf");
  await writeFile(path, `
    daemon off; master_process off; pid ${dir}/pid; error_log ${dir}/error warn;
    events { worker_connections 64; }
    http {
      access_log off; client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy;
      fastcgi_temp_path ${dir}/a; uwsgi_temp_path ${dir}/b; scgi_temp_path ${dir}/c;
      upstream nodes { ${servers} }
      server {
        listen 127.0.0.1:${port};
        location = /page { default_type text/html; return 200 "<title>page</title>"; }
        location = /sse {
          proxy_pass http://nodes; proxy_http_version 1.1; proxy_set_header Connection "";
          add_header Node $upstream_addr;
        }
      }
    }`);
  const server = spawn("nginx", ["-p", dir, "-c", path], { stdio: "inherit" });
  t.after(() => server.kill("SIGKILL"));
  await listening(port);
  return port;
}

async function storedIds(port) {
  const { stdout } = await promisify(execFile)("redis-cli", ["-p", port, "XRANGE", "sse:{demo}:topic:feed", "-", "+"]);
  return stdout.split("\n").filter((line) => /^\d+-\d+$/.test(line)).filter((_, index) => index % 2 === 0);
}

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return String(port);
}

async function listening(port) {
  const open = async () => {
    const socket = net.connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return true;
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  };
  await until(`port ${port}`, open, (isOpen) => isOpen);
}
