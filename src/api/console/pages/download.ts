import { utf8 } from '../../../bytes.ts';

/** Files that are made while they are sent, so that their length is no limit. */

export const linesOfJson = (name: string, rows: () => AsyncGenerator<object>): Promise<Response> =>
  streamed(name, 'application/jsonl; charset=utf-8', async function* () {
    for await (const row of rows()) yield `${JSON.stringify(row)}\n`;
  });

/** @param lines of text, with their ends @throws what the first line throws: a refusal is a page and no file */
export async function streamed(name: string, type: string, lines: () => AsyncGenerator<string>): Promise<Response> {
  const rest = lines();
  let begun: IteratorResult<string> | undefined = await rest.next();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = begun ?? (await rest.next());
      begun = undefined;
      if (done) return controller.close();
      controller.enqueue(utf8(value));
    },
    async cancel() {
      await rest.return(undefined);
    },
  });
  return new Response(body, { headers: { 'Content-Type': type, 'Content-Disposition': `attachment; filename="${name}"` } });
}
