import { createConnection } from 'node:net';
import { linkOver } from './link.ts';
import type { Answer, Answered, Asked, AskedCommit } from './messages.ts';
import { socketPath } from './serve.ts';

/** The side of a process that has its commits made by another one. */

/** How often the committer is looked at while something is asked of it. */
const lookMs = 400;
/** Looks without a sign of life after which it counts as stopped; after the first one it is asked for a sign. Only looks count, so that a pause of the
 *  whole machine changes nothing. */
const maxSilentLooks = 3;
/** How long a committer may take to take up a link. */
const greetMs = 1000;

export type Relay = {
  ask(commits: readonly AskedCommit[]): void;
  /** Whether the process has to wait for answers, and must not end by itself meanwhile. */
  expects(answers: boolean): void;
  close(): void;
};

type Parts = {
  readonly file: string;
  readonly sealKey: Uint8Array | undefined;
  onAnswers(answers: readonly Answer[]): void;
  /** The committer has ended, does not run, or is none of ours. */
  onEnd(): void;
};

/** @returns undefined when nobody answers at this address */
export async function connectRelay({ file, sealKey, onAnswers, onEnd }: Parts, address: string): Promise<Relay | undefined> {
  const path = socketPath(file, address);
  if (path === undefined) return undefined;
  const socket = createConnection(path);
  const ready = Promise.withResolvers<boolean>();
  let looks: NodeJS.Timeout | undefined;
  let silentLooks = 0;
  let isThere = false;
  const link = linkOver(socket, 'relay', sealKey, {
    onReady: () => ready.resolve(true),
    onValue(value) {
      silentLooks = 0;
      onAnswers((value as Answered).answers);
    },
    onEnd() {
      clearInterval(looks);
      ready.resolve(false);
      if (isThere) onEnd();
    },
  });
  const look = (): void => {
    silentLooks += 1;
    if (silentLooks < maxSilentLooks) link.send('alive?' satisfies Asked);
    else link.destroy();
  };
  const giveUp = setTimeout(link.destroy, greetMs);
  isThere = await ready.promise;
  clearTimeout(giveUp);
  if (!isThere) return undefined;
  socket.unref();
  return {
    ask: commits => link.send({ commits } satisfies Asked),
    expects(answers) {
      if (answers === (looks !== undefined)) return;
      clearInterval(looks);
      looks = answers ? setInterval(look, lookMs).unref() : undefined;
      silentLooks = 0;
      if (answers) socket.ref();
      else socket.unref();
    },
    close: link.destroy,
  };
}
