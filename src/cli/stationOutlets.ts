import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Closable } from '../closing.ts';
import { listenOn } from '../listening.ts';
import { within } from '../within.ts';

/** How a handler or MES is connected to a station: a socket with JSON lines and start commands, and a webhook for results. */

const maxPeers = 16;
/** A peer that reads so slowly is cut off. */
const maxUnsentBytes = 1024 * 1024;

export type StationSocket = Closable & {
  readonly port: number;
  readonly send: (line: object) => void;
  /** The next start command for a target; one that came while it was busy counts. */
  readonly started: (target: string, signal: AbortSignal) => Promise<void>;
  close(): Promise<void>;
};

/** Listens on loopback. Each peer gets every line from then on; `{"start": "name"}` begins a unit. @throws NusecError PORT_TAKEN, LISTEN_FAILED */
export async function openStationSocket(port: number): Promise<StationSocket> {
  const peers = new Set<Socket>();
  const pressed = new Set<string>();
  const waiting = new Map<string, () => void>();
  const press = (target: string): void => {
    const begin = waiting.get(target);
    if (begin) begin();
    else pressed.add(target);
  };
  const server = createServer(socket => {
    if (peers.size >= maxPeers) return void socket.destroy();
    peers.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => peers.delete(socket));
    createInterface({ input: socket }).on('line', line => {
      const target = startIn(line);
      if (target === undefined) socket.write(`${JSON.stringify({ error: 'BAD_REQUEST', detail: 'send {"start": "name of a target"}' })}\n`);
      else press(target);
    });
  });
  return {
    port: await listenOn(server, { port, host: '127.0.0.1', option: '--listen' }),
    send: line => {
      for (const peer of peers) {
        if (peer.writableLength > maxUnsentBytes) peer.destroy();
        else peer.write(`${JSON.stringify(line)}\n`);
      }
    },
    started: (target, signal) =>
      new Promise(resolve => {
        if (pressed.delete(target) || signal.aborted) return resolve();
        const begin = (): void => {
          waiting.delete(target);
          signal.removeEventListener('abort', begin);
          resolve();
        };
        waiting.set(target, begin);
        signal.addEventListener('abort', begin, { once: true });
      }),
    close: async () => {
      // A peer need not close its side, nor read what is left.
      for (const peer of peers) peer.destroySoon();
      const closed = new Promise<void>(resolve => server.close(() => resolve()));
      await within(closed, lastMs);
      for (const peer of peers) peer.destroy();
      await closed;
    },
  };
}

function startIn(line: string): string | undefined {
  try {
    const { start } = JSON.parse(line) as { start?: unknown };
    return typeof start === 'string' ? start : undefined;
  } catch {
    return undefined;
  }
}

const maxQueuedResults = 1000;
const attempts = 5;
const attemptMs = 5_000;
const pauseMs = 1_000;
/** What has not been delivered when the line ends is tried for so long; then it is lost, and said to be. */
const lastMs = 3_000;

export type Webhook = Closable & { readonly send: (result: object) => void; close(): Promise<void> };

/** Posts each result, one after the other and again when it fails. The line does not wait for it.
 *  @param onLost called with a result that could not be delivered */
export function openWebhook(url: string, onLost: (reason: string) => void): Webhook {
  let queued = 0;
  let last: Promise<void> = Promise.resolve();
  let isOver = false;
  const over = new AbortController();
  const post = async (body: string): Promise<void> => {
    for (let attempt = 1; ; attempt += 1) {
      const failure = await fetch(url, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body,
        signal: AbortSignal.timeout(attemptMs),
      }).then(
        response => (response.ok ? undefined : `HTTP ${response.status}`),
        (error: Error) => error.message,
      );
      if (failure === undefined) return;
      if (attempt === attempts || isOver) return onLost(failure);
      await sleep(pauseMs * attempt, undefined, { signal: over.signal }).catch(() => undefined);
    }
  };
  return {
    send: result => {
      if (queued >= maxQueuedResults) return onLost('too many results wait');
      queued += 1;
      last = last
        .then(() => post(JSON.stringify(result)))
        .finally(() => {
          queued -= 1;
        });
    },
    close: async () => {
      isOver = true;
      over.abort();
      if (
        (await within(
          last.then(() => true),
          lastMs,
        )) === undefined
      )
        onLost(`${queued} results were not delivered in time`);
    },
  };
}
