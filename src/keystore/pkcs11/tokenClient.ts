import { type ChildProcess, fork } from 'node:child_process';
import { moduleBeside } from '../../entry.ts';
import { NusecError } from '../../errors.ts';
import type { KeyInfo } from '../port.ts';
import { fileVersion } from '../secretFile.ts';
import type { TokenApi, TokenFailure } from './tokenApi.ts';
import { type OpenToken, openNumber, type TokenAnswer, type TokenRequest } from './tokenMessages.ts';

/** The server's side of the token process: starts it, asks it, replaces it when the token or the process is lost. */
export type TokenClient = {
  /** Executes one operation of the token. After a loss it is tried once more with a fresh process, except that nothing which changes the
   *  token is repeated when the old process did not answer.
   *  @throws what the token refuses; KEYSTORE_UNAVAILABLE */
  call<Name extends keyof TokenApi>(name: Name, ...args: Parameters<TokenApi[Name]>): ReturnType<TokenApi[Name]>;
  close(): Promise<void>;
};

/** A single answer that is not there after so long does not come, even when others do. */
const timeoutMs = 30_000;
/** A process that leaves requests unanswered for so long counts as hanging. */
const silenceMs = 3_000;
/** Longest wait for a token that hangs. */
export const maxHungWaitMs = 5_000;
/** Checks for silence. The checks are counted, not the time between them: our own event loop may have been blocked. */
const lookMs = 250;
/** A process that hangs in the token's library does not notice that it is to end. */
const endMs = 2_000;
/** A token that cannot be opened is not tried more often than this; meanwhile operations fail immediately. */
const pauseMs = 500;
const maxWaiting = 100_000;
const changing: ReadonlySet<keyof TokenApi> = new Set(['generate', 'addPair', 'addAgreed', 'derive', 'destroy']);

/** Opens the token, so that a wrong PIN or label is noticed at the start.
 *  @param accept judges the keys of the token each time it is opened, and throws when this is not the token it was
 *  @throws as tokenApi.ts, and what `accept` throws */
export async function openTokenClient(
  options: OpenToken,
  accept: (keys: readonly KeyInfo[]) => void,
  { onTrouble = () => {}, onFine = () => {} }: TokenWatch = {},
): Promise<TokenClient> {
  let current: Promise<Running> | undefined;
  let running: Running | undefined;
  let refusal: Refusal | undefined;
  let closed = false;
  /** When the opening that goes on has kept callers waiting for long enough: whoever comes later, or asks again, does not wait anew. */
  let patienceEndsMs = 0;

  const connect = (patienceMs = maxHungWaitMs): Promise<Running> => {
    if (closed) throw new NusecError('KEYSTORE_LOCKED', 'the keystore is closed');
    if (current) return current;
    if (refusal && stillRefused(refusal, options.pinFile)) throw refusal.error;
    patienceEndsMs = performance.now() + patienceMs;
    const starting = startAccepted(options, accept);
    current = starting;
    starting
      .then(started => {
        running = started;
        onFine();
      })
      .catch(error => {
        current = undefined;
        refusal = { error, atMs: performance.now(), pinVersion: fileVersion(options.pinFile) };
        if (isAboutPin(error)) onTrouble(pinTrouble(error as NusecError));
      });
    return starting;
  };
  /** The first of many operations that find the token lost says so. */
  const giveUp = (lost: Running, detail: string): void => {
    if (running !== lost) return;
    running = undefined;
    current = undefined;
    lost.retire();
    onTrouble({ code: detail === hungDetail ? 'KEYSTORE_HUNG' : 'KEYSTORE_LOST', detail });
  };

  const call = async (name: keyof TokenApi, ...args: readonly unknown[]): Promise<unknown> => {
    const opening = connect();
    // A look at least: our own event loop may have been blocked.
    const first = await soon(opening, Math.max(lookMs, patienceEndsMs - performance.now()));
    const answer = await first.ask(name, args);
    if ('value' in answer) return answer.value;
    const { failure } = answer;
    if (!failure.lost) throw errorOf(failure);
    giveUp(first, failure.detail);
    const isHung = failure.detail === hungDetail;
    if ((isHung || failure.detail === diedDetail) && changing.has(name)) throw errorOf(failure);
    const retried = Promise.resolve(connect(isHung ? maxHungWaitMs - silenceMs : maxHungWaitMs)).then(next => next.ask(name, args));
    const again = await (isHung ? soon(retried, maxHungWaitMs - silenceMs) : retried);
    if ('value' in again) return again.value;
    throw errorOf(again.failure);
  };

  await connect();
  return {
    call: call as TokenClient['call'],
    async close() {
      closed = true;
      const last = await current?.catch(() => undefined);
      await last?.end();
    },
  };
}

type Refusal = { readonly error: unknown; readonly atMs: number; readonly pinVersion: string };

/** What is reported to operators: the token or its process was lost, it hangs, or it refuses the PIN. */
export const tokenTroubles = ['KEYSTORE_LOST', 'KEYSTORE_HUNG', 'KEYSTORE_PIN_REFUSED', 'KEYSTORE_LOCKED'] as const;
export type TokenTrouble = { readonly code: (typeof tokenTroubles)[number]; readonly detail: string };
export type TokenWatch = {
  readonly onTrouble?: ((trouble: TokenTrouble) => void) | undefined;
  /** It was opened: each time. */
  readonly onFine?: (() => void) | undefined;
};

const pinTrouble = ({ code, message: detail }: NusecError): TokenTrouble => ({
  code: code === 'KEYSTORE_LOCKED' ? code : 'KEYSTORE_PIN_REFUSED',
  detail,
});

const isAboutPin = (error: unknown): boolean =>
  error instanceof NusecError && (error.code === 'KEYSTORE_WRONG_PASSPHRASE' || error.code === 'KEYSTORE_LOCKED');

/** @throws NusecError KEYSTORE_UNAVAILABLE when it is not there in time; the work continues */
async function soon<Result>(work: Promise<Result>, ms: number): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(errorOf(hung)), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** Tokens lock after a few wrong PINs: one that was refused is not tried again before its file has changed. */
function stillRefused({ error, atMs, pinVersion }: Refusal, pinFile: string): boolean {
  return isAboutPin(error) ? fileVersion(pinFile) === pinVersion : performance.now() - atMs < pauseMs;
}

const diedDetail = 'the token process ended';
const died: TokenFailure = { code: 'KEYSTORE_UNAVAILABLE', detail: diedDetail, lost: true };
const hungDetail = 'the token does not answer';
const hung: TokenFailure = { code: 'KEYSTORE_UNAVAILABLE', detail: hungDetail, lost: true };
const errorOf = ({ code, detail }: TokenFailure): NusecError => new NusecError(code, detail);

type Answer = { readonly value: unknown } | { readonly failure: TokenFailure };
type Running = {
  ask(name: keyof TokenApi, args: readonly unknown[]): Promise<Answer>;
  /** Ends the process once its last answer is here. */
  retire(): void;
  end(): Promise<void>;
};

async function startAccepted(options: OpenToken, accept: (keys: readonly KeyInfo[]) => void): Promise<Running> {
  const running = await start(options);
  try {
    const answer = await running.ask('list', []);
    if ('failure' in answer) throw errorOf(answer.failure);
    accept(answer.value as readonly KeyInfo[]);
    return running;
  } catch (error) {
    void running.end();
    throw error;
  }
}

async function start(options: OpenToken): Promise<Running> {
  const child = fork(moduleBeside(import.meta.url, 'tokenProcess'), {
    serialization: 'advanced',
    execArgv: [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const waiting = new Map<number, (answer: Answer) => void>();
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()));
  let retired = false;
  const retireWhenIdle = (): void => {
    if (retired && waiting.size === 0 && child.connected) child.disconnect();
  };
  const silence = watchSilence(child, waiting);
  child.on('message', (answers: readonly TokenAnswer[]) => {
    silence.heard();
    for (const { number, ...answer } of answers) {
      waiting.get(number)?.(answer as Answer);
      waiting.delete(number);
    }
    retireWhenIdle();
  });
  child.on('error', () => child.kill('SIGKILL'));
  void ended.then(() => {
    silence.stop();
    for (const settle of waiting.values()) settle({ failure: died });
    waiting.clear();
  });

  const running: Running = {
    ask: createAsk(child, waiting),
    retire() {
      retired = true;
      retireWhenIdle();
    },
    async end() {
      keepAlive(child, true);
      if (child.connected) child.disconnect();
      const kill = setTimeout(() => child.kill('SIGKILL'), endMs);
      await ended;
      clearTimeout(kill);
    },
  };
  const opened = await awaitAnswer(child, waiting, openNumber, () => child.send(options));
  if ('value' in opened) return running;
  void running.end();
  throw errorOf(opened.failure);
}

/** Ends a process that hangs: its waiting callers get an error, and a fresh process replaces it. */
function watchSilence(child: ChildProcess, waiting: Map<number, (answer: Answer) => void>) {
  let silentLooks = 0;
  const looking = setInterval(() => {
    // Opening a slow token takes its time, and has a limit of its own.
    silentLooks = waiting.size === 0 || waiting.has(openNumber) ? 0 : silentLooks + 1;
    if (silentLooks * lookMs < silenceMs) return;
    silentLooks = 0;
    const unanswered = [...waiting.values()];
    waiting.clear();
    for (const settle of unanswered) settle({ failure: hung });
    child.kill('SIGKILL');
  }, lookMs);
  looking.unref();
  return {
    heard: (): void => {
      silentLooks = 0;
    },
    stop: (): void => clearInterval(looking),
  };
}

/** Requests of one tick go in one message, before anything else has its turn: a write of events may keep the loop for milliseconds. */
function createAsk(child: ChildProcess, waiting: Map<number, (answer: Answer) => void>): Running['ask'] {
  let number = openNumber;
  let batch: TokenRequest[] = [];
  const flush = (): void => {
    const requests = batch;
    batch = [];
    if (child.connected) child.send(requests);
  };
  return (name, args) => {
    if (waiting.size >= maxWaiting) throw new NusecError('RATE_LIMITED', 'too many operations wait for the token');
    if (!child.connected) return Promise.resolve({ failure: died });
    number += 1;
    batch.push({ number, name, args });
    return awaitAnswer(child, waiting, number, () => {
      if (batch.length === 1) process.nextTick(flush);
    });
  };
}

async function awaitAnswer(
  child: ChildProcess,
  waiting: Map<number, (answer: Answer) => void>,
  number: number,
  send: () => void,
): Promise<Answer> {
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  try {
    return await new Promise(resolve => {
      if (waiting.size === 0) keepAlive(child, true);
      waiting.set(number, resolve);
      send();
    });
  } finally {
    clearTimeout(timer);
    if (waiting.size === 0) keepAlive(child, false);
  }
}

/** The server waits for answers of the token process; an idle one does not keep it from ending. */
function keepAlive(child: ChildProcess, wanted: boolean): void {
  if (wanted) child.ref();
  else child.unref();
  if (wanted) child.channel?.ref();
  else child.channel?.unref();
}
