import { type ErrorCode, NusecError } from '../../errors.ts';
import type { PeerLink } from './peerLink.ts';

/** The other server processes of this project, at this data folder and on other machines: which machine is connected to which of them, and questions
 *  about it to the one that has it. Events and what follows from them need none of this; it is for what only the holder of a connection can do. */

/** What a process is asked about its connections. Arguments and results are plain values and bytes. */
export type PeerService = Readonly<Record<string, (...args: never[]) => Promise<unknown>>>;

export type Peers<Service extends PeerService> = {
  /** Of this process. */
  readonly id: string;
  /** The process, other than this one, that has this MQTT client connected. */
  holding(clientId: string): Service | undefined;
  /** A client has connected here. @param atMs Unix time */
  connected(clientId: string, atMs: number): void;
  /** A client is gone from here. */
  gone(clientId: string): void;
  /** Another process has this client connected now. */
  onConnected(listener: (clientId: string, place: Elsewhere) => void): void;
  /** Sends all other processes a message that needs no answer, a plain value or bytes; a process that is not connected does not get it. */
  notify(topic: string, value: unknown): void;
  /** The same; and the newest of a topic is sent to each process that is linked later. */
  announce(topic: string, value: unknown): void;
  onNotice<Value>(topic: string, listener: (value: Value) => void): void;
  /** What this process answers the others with. */
  serve(service: Service): void;
  addLink(link: PeerLink): void;
  /** Ids of the processes that are linked. */
  linked(): ReadonlySet<string>;
};

/** What a connect at another process means here. All processes judge it by one order, so that of two connections of one identity exactly one stays:
 *  `taken`: it is later than the one here; `kept`: the one here is later; `moved`: another connection of it was known, not here; `new`: none was. */
export type Elsewhere = 'taken' | 'kept' | 'moved' | 'new';

/** The order of connects: the later time, then the higher id of the process. Who connects where another connection is known comes after it, whatever
 *  the clock. */
type Since = { readonly atMs: number; readonly process: string };
const isLater = (one: Since, other: Since): boolean => one.atMs > other.atMs || (one.atMs === other.atMs && one.process > other.process);

type Frame =
  | {
      readonly kind: 'online';
      /** The sender; the first frame of a link names it, with or without clients. */
      readonly process: string;
      readonly clients: readonly (readonly [id: string, atMs: number])[];
      readonly now: boolean;
    }
  | { readonly kind: 'offline'; readonly clientId: string }
  | { readonly kind: 'notice'; readonly topic: string; readonly value: unknown }
  | { readonly kind: 'ask'; readonly id: number; readonly name: string; readonly args: readonly unknown[] }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly code: ErrorCode; readonly detail: string };

/** An attestation over a slow serial line, three times. */
const answerMs = 90_000;
const maxOpenQuestions = 10_000;
/** Client ids of one frame, so that frames stay small. */
const idsPerFrame = 10_000;

/** @param names of the questions  @param id of this process, new for each start */
export function createPeers<Service extends PeerService>(names: readonly (keyof Service & string)[], id: string): Peers<Service> {
  const own = new Map<string, Since>();
  const links = new Map<PeerLink, { readonly clients: Map<string, Since>; readonly asking: Service; process?: string }>();
  const listeners: ((clientId: string, place: Elsewhere) => void)[] = [];
  const noticed = new Map<string, (value: unknown) => void>();
  const announced = new Map<string, unknown>();
  let served: Service | undefined;

  const answer = async (link: PeerLink, { id: question, name, args }: Extract<Frame, { kind: 'ask' }>): Promise<void> => {
    try {
      const work = served?.[name] as ((...args: readonly unknown[]) => Promise<unknown>) | undefined;
      if (work === undefined) throw new NusecError('DEVICE_UNREACHABLE', 'the process that has the connection is not ready');
      link.send({ kind: 'answer', id: question, value: await work(...args) } satisfies Frame);
    } catch (error) {
      const known =
        error instanceof NusecError ? error : new NusecError('DEVICE_UNREACHABLE', 'the process that has the connection failed');
      link.send({ kind: 'refusal', id: question, code: known.code, detail: known.message } satisfies Frame);
    }
  };

  /** The link whose process had it connected last; the newer link where a process has two, as the other side of an older one may be cut off. */
  const holder = (clientId: string) => {
    let newest: { readonly since: Since; readonly asking: Service } | undefined;
    for (const { clients, asking } of links.values()) {
      const since = clients.get(clientId);
      if (since !== undefined && (newest === undefined || !isLater(newest.since, since))) newest = { since, asking };
    }
    return newest;
  };
  const sendToAll = (frame: Frame): void => {
    for (const link of links.keys()) link.send(frame);
  };
  const placeOf = (clientId: string, since: Since): Elsewhere => {
    const mine = own.get(clientId);
    if (mine !== undefined) return isLater(since, mine) ? 'taken' : 'kept';
    return holder(clientId) === undefined ? 'new' : 'moved';
  };
  const heard = (clients: Map<string, Since>, frame: Extract<Frame, { kind: 'online' }>): void => {
    for (const [clientId, atMs] of frame.clients) {
      const since = { atMs, process: frame.process };
      const place = placeOf(clientId, since);
      clients.set(clientId, since);
      // What was connected before the link was there is no connect; but of two connections one has to go.
      if (frame.now || place === 'taken') for (const listener of listeners) listener(clientId, place);
    }
  };

  return {
    holding: clientId => holder(clientId)?.asking,
    connected(clientId, atMs) {
      const since = { atMs: Math.max(atMs, (holder(clientId)?.since.atMs ?? 0) + 1), process: id };
      own.set(clientId, since);
      sendToAll({ kind: 'online', process: id, clients: [[clientId, since.atMs]], now: true });
    },
    gone(clientId) {
      if (own.delete(clientId)) sendToAll({ kind: 'offline', clientId });
    },
    onConnected: listener => void listeners.push(listener),
    notify: (topic, value) => sendToAll({ kind: 'notice', topic, value }),
    announce(topic, value) {
      announced.set(topic, value);
      sendToAll({ kind: 'notice', topic, value });
    },
    onNotice: (topic, listener) => void noticed.set(topic, listener as (value: unknown) => void),
    serve(service) {
      served = service;
    },
    id,
    linked: () => new Set([...links.values()].flatMap(({ process }) => process ?? [])),
    addLink(link) {
      const clients = new Map<string, Since>();
      const questions = createQuestions(link);
      const asking = Object.fromEntries(names.map(name => [name, (...args: unknown[]) => questions.ask(name, args)])) as unknown as Service;
      const linked: { clients: typeof clients; asking: Service; process?: string } = { clients, asking };
      links.set(link, linked);
      link.onEnd(() => {
        links.delete(link);
        questions.close();
      });
      link.onValue(value => {
        const frame = value as Frame;
        if (frame.kind === 'ask') void answer(link, frame);
        else if (frame.kind === 'notice') noticed.get(frame.topic)?.(frame.value);
        else if (frame.kind === 'offline') clients.delete(frame.clientId);
        else if (frame.kind === 'online') {
          linked.process = frame.process;
          heard(clients, frame);
        } else questions.settle(frame);
      });
      const all = [...own].map(([clientId, { atMs }]) => [clientId, atMs] as const);
      for (let from = 0; from === 0 || from < all.length; from += idsPerFrame)
        link.send({ kind: 'online', process: id, clients: all.slice(from, from + idsPerFrame), now: false } satisfies Frame);
      for (const [topic, value] of announced) link.send({ kind: 'notice', topic, value } satisfies Frame);
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
