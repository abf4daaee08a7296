import type { ServerSign } from '../../eventstore/port.ts';

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
