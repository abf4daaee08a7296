import { NusecError } from '../../errors.ts';

/** What could not be done. */
export type Failed<Item> = { readonly item: Item; readonly error: unknown };

/** Does work for each of several things: one for which it fails keeps no other from it.
 *  @param atOnce so many at the same time @param stop ends it before the next
 *  @returns those for which it failed @throws NusecError LEADERSHIP_OVER, immediately: all others would be refused too */
export async function eachAlone<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<unknown>,
  { atOnce = 1, stop }: { readonly atOnce?: number; readonly stop?: AbortSignal | undefined } = {},
): Promise<readonly Failed<Item>[]> {
  const failed: Failed<Item>[] = [];
  const attempt = async (item: Item): Promise<void> => {
    try {
      await work(item);
    } catch (error) {
      if (error instanceof NusecError && error.code === 'LEADERSHIP_OVER') throw error;
      failed.push({ item, error });
    }
  };
  for (let from = 0; from < items.length && stop?.aborted !== true; from += atOnce)
    await Promise.all(items.slice(from, from + atOnce).map(attempt));
  return failed;
}

/** @throws what has failed first, if anything */
export function throwFirst(failed: readonly Failed<unknown>[]): void {
  const [first] = failed;
  if (first !== undefined) throw first.error;
}
