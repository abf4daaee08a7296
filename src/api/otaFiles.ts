import { setTimeout as sleep } from 'node:timers/promises';
import { createRoute, z } from '@hono/zod-openapi';
import { toHex } from '../bytes.ts';
import { NusecError } from '../errors.ts';
import { sealedFileBytes } from '../ota/blocks.ts';
import type { Run } from '../services/firmware/otaFiles.ts';
import { type Span, sealedFile } from '../services/firmware/sealedFile.ts';
import { bytesAnswer, idField } from './fields.ts';
import type { Resource } from './resource.ts';
import { whenSent } from './response.ts';

/** Firmware by HTTPS, for a device with its certificate: the file of its sealed blocks, whole or in ranges (RFC 9110 §14). The job and the session that
 *  makes the block key come by MQTT; so does what is not fetched here. The right to each block is looked up when it is served. */

/** Files that are sent in parallel: to one device, and in total. */
const maxPerDevice = 2;
const maxAtOnce = 256;

/** Before a file that has waited for its turn for too long tries again. */
const turnPauseMs = 1000;

export const otaFilesResource: Resource = (api, { field }, auth) => {
  const sending = new Map<string, number>();
  let total = 0;
  const begin = (uid: string): (() => void) => {
    const own = sending.get(uid) ?? 0;
    if (own >= maxPerDevice || total >= maxAtOnce) throw new NusecError('RATE_LIMITED', 'too many files are sent: try again later');
    sending.set(uid, own + 1);
    total += 1;
    return () => {
      total -= 1;
      const left = (sending.get(uid) ?? 1) - 1;
      if (left > 0) sending.set(uid, left);
      else sending.delete(uid);
    };
  };
  const file = createRoute({
    method: 'get',
    path: '/v1/ota/{otaJobId}',
    summary: 'The sealed blocks of an OTA job, whole or in ranges',
    middleware: auth.machine('device'),
    request: { params: z.object({ otaJobId: idField }) },
    responses: {
      200: bytesAnswer('all blocks, one after the other, each with its tag of 16 bytes'),
      206: bytesAnswer('the range that was asked for'),
      416: { description: 'a range beyond the file' },
    },
  });
  api.openapi(file, async c => {
    const uid = c.var.machine.id;
    const { otaJobId } = c.req.valid('param');
    const { job, jobDigest } = await field.files.open(uid, otaJobId);
    const bytes = sealedFileBytes(job);
    const tag = `"${toHex(jobDigest)}"`;
    const isSame = (c.req.header('If-Range') ?? tag) === tag;
    const span = isSame ? spanOf(c.req.header('Range'), bytes) : undefined;
    const headers = { 'Content-Type': 'application/octet-stream', 'Accept-Ranges': 'bytes', ETag: tag };
    if (span === 'beyond') return c.body(null, 416, { ...headers, 'Content-Range': `bytes */${bytes}` });
    const { first, last } = span ?? { first: 0, last: bytes - 1 };
    const part = span === undefined ? {} : { 'Content-Range': `bytes ${first}-${last}/${bytes}` };
    const sealed = {
      job,
      run: async (run: Run, gone: AbortSignal) => {
        for (;;) {
          const sealed = await field.files.run(uid, otaJobId, run, gone);
          if (sealed !== undefined || gone.aborted) return sealed;
          await sleep(turnPauseMs);
        }
      },
      whenSent,
    };
    const body = sealedFile(sealed, { first, last }, begin(uid));
    return c.body(body, span === undefined ? 200 : 206, { ...headers, ...part, 'Content-Length': String(last - first + 1) });
  });
};

/** One range; several, and what is no range of bytes, are answered with the whole file (RFC 9110 §14.2). */
function spanOf(header: string | undefined, bytes: number): Span | 'beyond' | undefined {
  const [, from, to] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? [];
  if (from === undefined || to === undefined || (from === '' && to === '')) return undefined;
  const first = from === '' ? Math.max(0, bytes - Number(to)) : Number(from);
  const last = from === '' || to === '' ? bytes - 1 : Math.min(Number(to), bytes - 1);
  if (to !== '' && from !== '' && Number(to) < first) return undefined;
  return first >= bytes || (from === '' && Number(to) === 0) ? 'beyond' : { first, last };
}
