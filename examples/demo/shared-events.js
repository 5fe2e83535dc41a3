// One connection for all tabs: a page follows topics of a hub, and every tab of the browser that shows the page
// shares one `EventSource`. Copy this file; it depends on nothing else.
//
// Why: over HTTP/1.1, browsers open at most six connections to a host, over all tabs together. A stream occupies
// one for as long as it lasts, so the seventh tab with a stream of its own would stay blank.
//
//   import { SharedEvents } from "./shared-events.js";
//
//   const events = new SharedEvents("/hub/events?visitor=ann");
//   events.addEventListener("message", ({ data, lastEventId }) => …); // listen first, for any type of event,
//   events.addEventListener("open", …);                               // also for `open` and `error`,
//   events.follow(["feed", "inbox"]);                                 // then follow; call it again to switch topics
//
// How: this file is also the script of a SharedWorker, which holds the connection and ends with the last tab. It
// follows every topic that some tab follows, and sends all events to all tabs; a tab gets the types for which it
// listens. A browser without SharedWorker (Chrome on Android) has a connection for each tab, by the same code.
//
// A tab that opens late first gets the newest events that the worker retains: 50 of each type.
//
// The script and the stream have to be of the page's origin. Pages share a connection if their URL of the stream is
// the same, so whatever decides who may see what belongs into a cookie or that URL.

const MAX_RETAINED = 50;

// In a page: an `EventTarget` like `EventSource`, with `follow` to choose and switch topics.
export class SharedEvents extends EventTarget {
  readyState = EventSource.CONNECTING;
  #port;
  #topics = [];
  #types = new Set(["open", "error", "tabs"]);

  // The query of `url` may have anything but `topics`.
  constructor(url) {
    super();
    this.url = new URL(url, location.href).href;
    this.#port = this.#attach();
    // The worker cannot see that a tab is closed.
    addEventListener("pagehide", () => this.#port.postMessage({ leaves: true }));
    // A page from the browser's cache of pages has missed events, and its worker may have ended.
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  }

  // Follows exactly these topics, and connects again if the connection is closed.
  follow(topics) {
    this.#topics = [...topics];
    this.#port.postMessage({ topics: this.#topics });
  }

  addEventListener(type, ...rest) {
    super.addEventListener(type, ...rest);
    if (this.#types.has(type)) return;
    this.#types.add(type);
    this.#port.postMessage({ type });
  }

  // Returns the port of the shared worker, or of a connection of this page's own.
  #attach() {
    if (!globalThis.SharedWorker) return this.#attachAlone();
    const worker = new SharedWorker(import.meta.url, { type: "module", name: this.url });
    // The script could not be loaded, for example because the certificate was accepted for pages only.
    worker.addEventListener("error", () => {
      this.#port = this.#attachAlone();
      for (const type of this.#types) this.#port.postMessage({ type });
      this.follow(this.#topics);
    });
    return this.#receive(worker.port);
  }

  #attachAlone() {
    const { port1, port2 } = new MessageChannel();
    new Connection(this.url).add(port1);
    return this.#receive(port2);
  }

  #receive(port) {
    port.onmessage = ({ data: { readyState, type, data, lastEventId } }) => {
      this.readyState = readyState;
      this.dispatchEvent(new MessageEvent(type, { data, lastEventId, origin: location.origin }));
    };
    return port;
  }
}

// In the worker: one `EventSource`, and the tabs that share it.
class Connection {
  #url;
  #source;
  #followed = []; // the topics of the source
  #lastEventId = "";
  #tabs = new Map(); // from the port of a tab to its topics
  #types = new Set();
  #retained = []; // the newest events of each type, in the order of their arrival
  #known = new Set(); // those that a new source may repeat

  constructor(url) {
    this.#url = url;
  }

  add(port) {
    port.onmessage = ({ data: { topics, type, leaves } }) => {
      if (type) return this.#listen(type);
      if (leaves) this.#tabs.delete(port);
      else this.#follow(port, topics);
      this.#switch();
      this.#send({ type: "tabs", data: this.#tabs.size });
    };
  }

  #listen(type) {
    if (this.#types.has(type)) return;
    this.#types.add(type);
    this.#source?.addEventListener(type, this.#pass);
  }

  #follow(port, topics) {
    const isNew = !this.#tabs.has(port);
    this.#tabs.set(port, topics);
    if (!isNew) return;
    this.#retained.forEach((event) => port.postMessage(this.#message(event)));
    // A tab that joins an open stream does not see it open.
    if (this.#state() === EventSource.OPEN) port.postMessage(this.#message({ type: "open" }));
  }

  // Follows the topics of all tabs together. `EventSource` has one URL for its life, and reconnects with it, so
  // other topics need another source. With fewer topics it continues after the last event. With a topic more it
  // begins with the newest events of each, and those that have been received are known by their IDs.
  #switch() {
    const followed = [...new Set([...this.#tabs.values()].flat())].sort();
    if (followed.join() === this.#followed.join() && this.#state() !== EventSource.CLOSED) return;
    const isSubset = followed.every((topic) => this.#followed.includes(topic));
    this.#followed = followed;
    this.#source?.close();
    this.#source = undefined;
    if (followed.length === 0) return;
    const url = new URL(this.#url);
    url.searchParams.set("topics", followed.join());
    if (isSubset && this.#lastEventId) url.searchParams.set("lastEventId", this.#lastEventId);
    this.#known = new Set(this.#retained.map(nameOf));
    this.#source = new EventSource(url);
    for (const type of ["open", "error", ...this.#types]) this.#source.addEventListener(type, this.#pass);
  }

  #state() {
    return this.#source?.readyState ?? EventSource.CLOSED;
  }

  #pass = ({ target, type, data, lastEventId }) => {
    if (target !== this.#source) return;
    const event = { type, data, lastEventId };
    if (data !== undefined) {
      this.#lastEventId = lastEventId;
      if (this.#known.delete(nameOf(event))) return;
      this.#retain(event);
    }
    this.#send(event);
  };

  // Retains an event for tabs that open later.
  #retain(event) {
    this.#retained.push(event);
    const ofType = this.#retained.filter(({ type }) => type === event.type);
    if (ofType.length > MAX_RETAINED) this.#retained.splice(this.#retained.indexOf(ofType[0]), 1);
  }

  #send(event) {
    for (const port of this.#tabs.keys()) port.postMessage(this.#message(event));
  }

  #message(event) {
    return { readyState: this.#state(), ...event };
  }
}

function nameOf({ type, lastEventId }) {
  return `${type} ${lastEventId}`;
}

if (globalThis.SharedWorkerGlobalScope) {
  // The worker's name is the URL of its stream.
  const connection = new Connection(globalThis.name);
  globalThis.addEventListener("connect", ({ ports: [port] }) => connection.add(port));
}
