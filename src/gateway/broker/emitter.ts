/** The message emitter given to Aedes as `mq`: no concurrency limit, no queue, first in first out.
 *
 *  The stock emitter has a fixed number of slots, and a slot is held until the socket drains: a hundred frozen devices stall everyone, and its
 *  waiting queue is O(n²). Here each listener gets the message immediately; what a slow client has outstanding is bounded per connection (broker.ts).
 *
 *  `removeListener` calls back synchronously on purpose: the end of a connection in Aedes (`client.close`) is then one synchronous step,
 *  and a client that comes back cannot have its new registration removed by the late end of the old one.
 *
 *  Filters: exact topics, a trailing `#`, and `$SYS/+/…`; Aedes and this broker use no others. */

export type EmitterMessage = { readonly topic: string };
type Done = (error?: Error | null) => void;
type Listener = (message: EmitterMessage, done: () => void) => void;

const sysPrefix = '$SYS/';

export function createEmitter() {
  const listeners = new Map<string, Set<Listener>>();
  const emitter = {
    concurrency: 0,
    closed: false,
    on(filter: string, listener: Listener, done: Done = noop) {
      assertKnownForm(filter);
      const set = listeners.get(filter) ?? new Set();
      listeners.set(filter, set.add(listener));
      done();
      return emitter;
    },
    removeListener(filter: string, listener: Listener, done: Done = noop) {
      const set = listeners.get(filter);
      if (set?.delete(listener) && set.size === 0) listeners.delete(filter);
      done();
      return emitter;
    },
    emit(message: EmitterMessage, done: Done = noop) {
      if (emitter.closed) done(new Error('emitter is closed'));
      else deliver(matching(listeners, message.topic), message, done);
      return emitter;
    },
    close(done: Done = noop) {
      emitter.closed = true;
      setImmediate(done);
      return emitter;
    },
  };
  return emitter;
}

function deliver(targets: readonly Listener[], message: EmitterMessage, done: Done): void {
  if (targets.length === 0) {
    done();
    return;
  }
  let waiting = targets.length;
  const delivered = () => {
    waiting -= 1;
    if (waiting === 0) done();
  };
  for (const target of targets) target(message, delivered);
}

function matching(listeners: ReadonlyMap<string, ReadonlySet<Listener>>, topic: string): Listener[] {
  return filtersFor(topic).flatMap(filter => [...(listeners.get(filter) ?? [])]);
}

/** The few filters that can match a topic: looked up, never searched. */
function filtersFor(topic: string): string[] {
  const filters = [topic];
  if (topic.startsWith(sysPrefix)) filters.push(`${sysPrefix}+${topic.slice(topic.indexOf('/', sysPrefix.length))}`);
  for (let at = topic.indexOf('/'); at !== -1; at = topic.indexOf('/', at + 1)) filters.push(`${topic.slice(0, at)}/#`);
  return filters;
}

function assertKnownForm(filter: string): void {
  const body = filter.startsWith(`${sysPrefix}+/`) ? filter.slice(sysPrefix.length + 2) : filter;
  const exact = body.endsWith('/#') ? body.slice(0, -2) : body;
  if (/[+#]/.test(exact)) throw new Error(`unsupported filter ${filter}`);
}

function noop(): void {}
