// A proxy between a browser and a server, which records and can be cut.

import { once } from "node:events";
import net from "node:net";

// Forwards bytes between the browser and the demo, and keeps each request head and all received bytes. When the
// demo closes a connection, so does the proxy. `cut` interrupts the network, `mend` restores it. Streams are the
// `GET` requests for `streamPath`; `open` returns the number of their connections that are open.
export async function record(t, demoPort, streamPath = "/sse") {
  const isStream = ({ method, path }) => method === "GET" && path.split("?")[0] === streamPath;
  const streaming = new Set();
  const wire = { port: 0, requests: [], received: "", streams: () => wire.requests.filter(isStream), open: () => streaming.size };
  const sockets = new Set();
  const destroyAll = () => sockets.forEach((socket) => socket.destroy());
  let isCut = false;
  wire.cut = () => {
    isCut = true;
    destroyAll();
  };
  wire.mend = () => (isCut = false);
  const server = net.createServer((toBrowser) => {
    if (isCut) return toBrowser.destroy();
    const toDemo = net.connect(demoPort, "127.0.0.1");
    for (const [socket, other] of [[toBrowser, toDemo], [toDemo, toBrowser]]) {
      sockets.add(socket);
      socket.on("error", () => {}); // "close" follows
      socket.on("close", () => {
        sockets.delete(socket);
        streaming.delete(socket);
        other.destroySoon();
      });
    }
    let head = "";
    toBrowser.on("data", (bytes) => {
      // Each head ends with a blank line. A request with a body is the last of its connection.
      const heads = (head + bytes.toString("latin1")).split("\r\n\r\n");
      head = heads.pop();
      const requests = heads.map(parseHead);
      wire.requests.push(...requests);
      if (requests.some(isStream)) streaming.add(toBrowser);
    });
    toDemo.on("data", (bytes) => (wire.received += bytes.toString("latin1")));
    toBrowser.pipe(toDemo);
    toDemo.pipe(toBrowser);
  });
  t.after(() => {
    destroyAll();
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
  const [method, path] = line.split(" ");
  return { method, path, lastEventId };
}
