import type { Visit } from '../visit.ts';

/** The log, or what it has of somebody, page after page. */

type LogPage = { readonly next: number; readonly head: number };

/** @param pathOf what follows a position @param rowsOf what is in a page
 *  @returns everything up to the end that the log had when the first page was made */
export async function* rowsOfLog<Page extends LogPage, Row>(
  visit: Visit,
  pathOf: (after: number) => string,
  rowsOf: (page: Page) => readonly Row[],
): AsyncGenerator<Row> {
  let end: number | undefined;
  for (let after = 0; end === undefined || after < end; ) {
    const page = await visit.get<Page>(pathOf(after));
    end ??= page.head;
    yield* rowsOf(page);
    if (page.next <= after) return;
    after = page.next;
  }
}
