import { utf8 } from '../../../bytes.ts';

/** Files that are made while they are sent, so that their length is no limit. */

export const linesOfJson = (name: string, rows: () => AsyncGenerator<object>): Response =>
  streamed(name, 'application/jsonl; charset=utf-8', async function* () {
    for await (const row of rows()) yield `${JSON.stringify(row)}\n`;
  });

/** @param lines of text, with their ends */
export function streamed(name: string, type: string, lines: () => AsyncGenerator<string>): Response {
  const rest = lines();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { value, done } = await rest.next();
      if (done) return controller.close();
      controller.enqueue(utf8(value));
    },
    async cancel() {
      await rest.return(undefined);
    },
  });
  return new Response(body, { headers: { 'Content-Type': type, 'Content-Disposition': `attachment; filename="${name}"` } });
}
