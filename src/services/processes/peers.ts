import { type ErrorCode, NusecError } from '../../errors.ts';
import type { PeerLink } from './peerLinks.ts';

/** The other server processes at this data folder: which machine is connected to which of them, and questions about it to the one that has it.
 *  Events and what follows from them need none of this; it is for what only the holder of a connection can do. */

/** What a process is asked about its connections. Arguments and results are plain values and bytes. */
export type PeerService = Readonly<Record<string, (...args: never[]) => Promise<unknown>>>;

export type Peers<Service extends PeerService> = {
  /** The process, other than this one, that has this MQTT client connected. */
  holding(clientId: string): Service | undefined;
  /** A client has connected here, or is gone. */
  tell(clientId: string, isOnline: boolean): void;
  /** Another process has this client connected now. */
  onTaken(listener: (clientId: string) => void): void;
  /** Tells all others something that needs no answer; who is not there does not hear it. */
  notify(topic: string, text: string): void;
  onNotice(topic: string, listener: (text: string) => void): void;
  /** What this process answers the others with. */
  serve(service: Service): void;
  addLink(link: PeerLink): void;
};

type Frame =
  | { readonly kind: 'online'; readonly clientIds: readonly string[]; readonly now: boolean }
  | { readonly kind: 'offline'; readonly clientId: string }
  | { readonly kind: 'notice'; readonly topic: string; readonly text: string }
  | { readonly kind: 'ask'; readonly id: number; readonly name: string; readonly args: readonly unknown[] }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly code: ErrorCode; readonly detail: string };

/** An attestation over a slow serial line, three times. */
const answerMs = 90_000;
const maxOpenQuestions = 10_000;
/** Client ids of one frame, so that frames stay small. */
const idsPerFrame = 10_000;

/** @param names of the questions */
export function createPeers<Service extends PeerService>(names: readonly (keyof Service & string)[]): Peers<Service> {
  const own = new Set<string>();
  const links = new Map<PeerLink, { readonly clients: Set<string>; readonly asking: Service }>();
  const taken: ((clientId: string) => void)[] = [];
  const noticed = new Map<string, (text: string) => void>();
  let served: Service | undefined;

  const answer = async (link: PeerLink, { id, name, args }: Extract<Frame, { kind: 'ask' }>): Promise<void> => {
    try {
      const work = served?.[name] as ((...args: readonly unknown[]) => Promise<unknown>) | undefined;
      if (work === undefined) throw new NusecError('DEVICE_UNREACHABLE', 'the process that has the connection is not ready');
      link.send({ kind: 'answer', id, value: await work(...args) } satisfies Frame);
    } catch (error) {
      const known =
        error instanceof NusecError ? error : new NusecError('DEVICE_UNREACHABLE', 'the process that has the connection failed');
      link.send({ kind: 'refusal', id, code: known.code, detail: known.message } satisfies Frame);
    }
  };

  return {
    holding: clientId => [...links.values()].find(({ clients }) => clients.has(clientId))?.asking,
    tell(clientId, isOnline) {
      if (isOnline) own.add(clientId);
      else own.delete(clientId);
      const frame: Frame = isOnline ? { kind: 'online', clientIds: [clientId], now: true } : { kind: 'offline', clientId };
      for (const link of links.keys()) link.send(frame);
    },
    onTaken: listener => void taken.push(listener),
    notify(topic, text) {
      for (const link of links.keys()) link.send({ kind: 'notice', topic, text } satisfies Frame);
    },
    onNotice: (topic, listener) => void noticed.set(topic, listener),
    serve(service) {
      served = service;
    },
    addLink(link) {
      const clients = new Set<string>();
      const questions = createQuestions(link);
      const asking = Object.fromEntries(names.map(name => [name, (...args: unknown[]) => questions.ask(name, args)])) as unknown as Service;
      links.set(link, { clients, asking });
      link.onEnd(() => {
        links.delete(link);
        questions.close();
      });
      link.onValue(value => {
        const frame = value as Frame;
        if (frame.kind === 'ask') void answer(link, frame);
        else if (frame.kind === 'notice') noticed.get(frame.topic)?.(frame.text);
        else if (frame.kind === 'offline') clients.delete(frame.clientId);
        else if (frame.kind === 'online') {
          for (const clientId of frame.clientIds) clients.add(clientId);
          if (frame.now) for (const clientId of frame.clientIds) for (const listener of taken) listener(clientId);
        } else questions.settle(frame);
      });
      const all = [...own];
      for (let from = 0; from < all.length; from += idsPerFrame)
        link.send({ kind: 'online', clientIds: all.slice(from, from + idsPerFrame), now: false } satisfies Frame);
    },
  };
}

/** The questions to one process that have no answer yet. */
function createQuestions(link: PeerLink) {
  const open = new Map<number, PromiseWithResolvers<unknown>>();
  let last = 0;
  const gone = (): NusecError => new NusecError('DEVICE_UNREACHABLE', 'the process that had the connection gives no answer');
  return {
    async ask(name: string, args: readonly unknown[]): Promise<unknown> {
      if (open.size >= maxOpenQuestions) throw new NusecError('RATE_LIMITED', 'too many questions are open');
      last += 1;
      const id = last;
      const answer = Promise.withResolvers<unknown>();
      open.set(id, answer);
      const timer = setTimeout(() => answer.reject(gone()), answerMs);
      link.send({ kind: 'ask', id, name, args } satisfies Frame);
      try {
        return await answer.promise;
      } finally {
        clearTimeout(timer);
        open.delete(id);
      }
    },
    settle(frame: Extract<Frame, { kind: 'answer' | 'refusal' }>): void {
      if (frame.kind === 'answer') open.get(frame.id)?.resolve(frame.value);
      else open.get(frame.id)?.reject(new NusecError(frame.code, frame.detail));
    },
    close(): void {
      for (const { reject } of open.values()) reject(gone());
    },
  };
}
