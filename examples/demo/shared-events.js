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
// The URL of the stream has a secret token. A POST to that URL, with {"add":[…],"remove":[…]} as JSON, switches topics
// while the stream continues on its connection. The server keeps them when the browser reconnects. If it does not know
// the token any more, for example after a restart, it says so in a `gap` event, and the topics are sent again with
// `"after"`, the last event ID.
//
// A tab that opens late first gets the newest events that the worker retains: 50 of each type. `restart` means that
// a new stream begins, so that a page clears what it shows.
//
// The script and the stream have to be of the page's origin. Pages share a connection if their URL of the stream is
// the same, so whatever decides who may see what belongs into a cookie or that URL.

const MAX_RETAINED = 50;

// In a page: an `EventTarget` like `EventSource`, with `follow` to choose and switch topics.
export class SharedEvents extends EventTarget {
  readyState = EventSource.CONNECTING;
  #port;
  #topics = [];
  #types = new Set(["open", "error", "tabs", "restart"]);

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
  #address; // the URL of the source, with its token
  #first = []; // the topics in that URL
  #wanted = []; // the topics of all tabs together
  #followed = []; // those that the server knows of
  #after; // the last event ID, if the server has forgotten the topics
  #isSwitching = false;
  #lastEventId = "";
  #tabs = new Map(); // from the port of a tab to its topics
  #types = new Set();
  #retained = []; // the newest events of each type, in the order of their arrival

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

  // Follows the topics of all tabs together: with a new source if there is none, or else on the connection.
  #switch() {
    this.#wanted = [...new Set([...this.#tabs.values()].flat())].sort();
    if (this.#wanted.length === 0) {
      this.#source?.close();
      this.#source = undefined;
    } else if (this.#state() === EventSource.CLOSED) {
      this.#open();
    } else {
      this.#post();
    }
  }

  #open() {
    const url = new URL(this.#url);
    url.searchParams.set("token", makeToken());
    this.#address = url.href;
    this.#first = this.#followed = this.#wanted;
    this.#after = undefined;
    url.searchParams.set("topics", this.#first.join());
    this.#retained = [];
    this.#send({ type: "restart" });
    const source = (this.#source = new EventSource(url));
    source.addEventListener("open", () => source === this.#source && this.#post());
    source.addEventListener("gap", (event) => source === this.#source && this.#resend(event));
    for (const type of ["open", "error", ...this.#types]) source.addEventListener(type, this.#pass);
  }

  // The server has begun with the topics in the URL, since it does not know the token.
  #resend(event) {
    if (!isOfToken(event)) return;
    this.#followed = this.#first;
    this.#after = this.#lastEventId;
    this.#post();
  }

  // Sends the changes, one request after the other. What fails is sent when the stream opens again.
  async #post() {
    if (this.#isSwitching) return;
    this.#isSwitching = true;
    try {
      while (this.#state() === EventSource.OPEN && this.#wanted.join() !== this.#followed.join()) {
        const [source, wanted, followed] = [this.#source, this.#wanted, this.#followed];
        const add = wanted.filter((topic) => !followed.includes(topic));
        const remove = followed.filter((topic) => !wanted.includes(topic));
        const body = JSON.stringify({ add, remove, after: this.#after });
        const response = await fetch(this.#address, { method: "POST", headers: { "Content-Type": "application/json" }, body });
        if (!response.ok) break;
        // Meanwhile the source may be another one, or its topics may have been forgotten.
        if (source === this.#source && followed === this.#followed) this.#followed = wanted;
      }
    } catch {
      // The server cannot be reached.
    } finally {
      this.#isSwitching = false;
    }
  }

  #state() {
    return this.#source?.readyState ?? EventSource.CLOSED;
  }

  #pass = ({ target, type, data, lastEventId }) => {
    if (target !== this.#source) return;
    const event = { type, data, lastEventId };
    if (data !== undefined) {
      if (isOfToken(event)) return; // A tab has nothing to do with it.
      this.#lastEventId = lastEventId;
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

// Whether a gap event reports that the server does not know the token.
function isOfToken({ type, data }) {
  return type === "gap" && data.includes('"token":"unknown"');
}

// 128 random bits, also on a page without HTTPS.
function makeToken() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

if (globalThis.SharedWorkerGlobalScope) {
  // The worker's name is the URL of its stream.
  const connection = new Connection(globalThis.name);
  globalThis.addEventListener("connect", ({ ports: [port] }) => connection.add(port));
}
