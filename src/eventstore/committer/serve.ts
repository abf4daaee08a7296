import { randomBytes } from 'node:crypto';
import { chmodSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { maxSocketPathBytes } from '../../frames.ts';
import { type LocalQueue, weightOf } from '../commitQueue.ts';
import type { AppendResult } from '../port.ts';
import { type Link, linkOver } from './link.ts';
import { type Answer, type Asked, answerOf, refusalOf, requestIn } from './messages.ts';

/** The side of the process that commits for all: takes their requests into its own groups and answers each when it is on the disk. */

/** More processes than may have a data folder open at the same time. */
const maxLinks = 64;

export type Served = {
  /** Name of the socket, beside the store's file. */
  readonly address: string;
  /** Takes nothing more from others; resolves when what was taken is answered. */
  close(): Promise<void>;
};

type Parts = { readonly file: string; readonly sealKey: Uint8Array | undefined; readonly local: LocalQueue };

/** @param turn under which the requests of others are stored; it need not have begun
 *  @returns undefined when there can be no socket: the path is too long, or the file system has none */
export async function serve({ file, sealKey, local }: Parts, turn: number): Promise<Served | undefined> {
  const address = `${addressBeginning(file)}${randomBytes(4).toString('hex')}-${process.pid}`;
  const path = join(dirname(file), address);
  if (Buffer.byteLength(path) > maxSocketPathBytes) return undefined;
  let isClosing = false;
  const links = new Set<Link>();
  const server = createServer(socket => {
    socket.unref();
    const answer = answering(answers => link.send({ answers }));
    const link = linkOver(socket, 'committer', sealKey, {
      onReady() {},
      onValue(value) {
        const asked = value as Asked;
        if (asked === 'alive?') return link.send({ answers: [] });
        // It asks another committer when the link ends.
        if (isClosing) return;
        for (const commit of asked.commits) {
          const [number] = commit;
          const request = requestIn(commit, turn);
          const done = (outcome: readonly AppendResult[] | Error): void =>
            answer(outcome instanceof Error ? refusalOf(number, outcome) : answerOf(number, outcome));
          local.put(request, weightOf(request), done);
        }
      },
      onEnd: () => links.delete(link),
    });
    links.add(link);
    if (links.size > maxLinks) link.destroy();
  });
  const isListening = await new Promise<boolean>(resolve => {
    server.once('error', () => resolve(false)).listen(path, () => resolve(true));
  });
  if (!isListening) return undefined;
  chmodSync(path, 0o600);
  server.on('error', () => undefined);
  server.unref();
  return {
    address,
    async close() {
      isClosing = true;
      server.close();
      rmSync(path, { force: true });
      await local.idle();
      // Answers go out in the turn of the event loop after the one that has them.
      await new Promise(resolve => setImmediate(() => setImmediate(resolve)));
      for (const link of links) link.end();
    },
  };
}

const addressBeginning = (file: string): string => `${basename(file)}-committer-`;

/** Where the socket of this name is; undefined when it is not the name of one. */
export const socketPath = (file: string, address: string): string | undefined =>
  address.startsWith(addressBeginning(file)) && /^[\w.-]+$/.test(address) ? join(dirname(file), address) : undefined;

/** Answers of one turn of the event loop go in one frame. */
function answering(send: (answers: readonly Answer[]) => void): (answer: Answer) => void {
  let answers: Answer[] = [];
  return answer => {
    answers.push(answer);
    if (answers.length > 1) return;
    setImmediate(() => {
      send(answers);
      answers = [];
    });
  };
}
