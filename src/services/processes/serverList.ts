import { setTimeout as sleep } from 'node:timers/promises';
import type { ServerSign, ServerSigns } from '../../eventstore/port.ts';

/** Which server processes are there, judged by their signs: one whose sign does not change for some looks counts as gone. No clock is compared. */

/** Looks without a new sign. */
const maxMissedLooks = 8;

type Known = { readonly sign: ServerSign; readonly missed: number };

/** @param ownId of this process, which is not in the list */
export function createServerList(ownId: string) {
  let known = new Map<string, Known>();
  return {
    /** @param signs oldest first @returns where the others are */
    look(signs: readonly ServerSign[]): readonly ServerSign[] {
      const newest = new Map(signs.filter(({ id }) => id !== ownId).map(sign => [sign.id, sign]));
      known = new Map([...newest].map(([id, sign]) => [id, seenAgain(known.get(id), sign)]));
      return [...known.values()].filter(({ sign, missed }) => sign.count > 0 && missed < maxMissedLooks).map(({ sign }) => sign);
    },
  };
}

const seenAgain = (before: Known | undefined, sign: ServerSign): Known => ({
  sign,
  missed: before === undefined || before.sign.count !== sign.count ? 0 : before.missed + 1,
});

/** A server gives a sign each second. */
const listenMs = 3000;

/** Servers that have given a sign while this listened: for a tool that has to be alone. One that is paused gives none. */
export async function livingServers(servers: ServerSigns): Promise<readonly ServerSign[]> {
  const before = new Map((await servers.read()).map(({ id, count }) => [id, count]));
  await sleep(listenMs);
  const now = new Map((await servers.read()).map(sign => [sign.id, sign]));
  return [...now.values()].filter(({ id, count }) => count > 0 && count !== before.get(id));
}
