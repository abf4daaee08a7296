import { toHex } from '../../../src/bytes.ts';
import { NusecError } from '../../../src/errors.ts';
import { sealedBlockAt } from '../../../src/ota/blocks.ts';
import { blockCount, type OtaJob } from '../../../src/ota/otaJob.ts';
import { toPem } from '../../../src/pki/pem.ts';
import type { StageContext } from '../../chip/board.ts';
import type { Trust } from '../../chip/trust.ts';
import { createHttpClient, type HttpClient } from '../../link/httpClient.ts';
import type { tlsOf } from './operational.ts';
import { openWithAny, type Pull, sleepUntil } from './pull.ts';
import type { SpdmChannel } from './spdmChannel.ts';

/** Fetching the blocks of a job by HTTPS, in ranges of the file of sealed blocks: the same blocks under the same key as by MQTT, each compared with the
 *  signed job before it is written. What does not come stays missing. */

/** Blocks of one range. */
const runBlocks = 64;

type Fetching = {
  readonly spdm: SpdmChannel;
  readonly tell: StageContext['tell'];
  readonly open: () => HttpClient | undefined;
};

export function openHttps(baseUrl: string, tls: ReturnType<typeof tlsOf>, { roots, bundle }: Trust): HttpClient | undefined {
  const [root] = roots;
  if (!tls || !root) return undefined;
  return createHttpClient({ baseUrl, ca: toPem('CERTIFICATE', root), ...tls, bundle, isRepeatable: true });
}

export const fetcher =
  ({ spdm, tell, open }: Fetching) =>
  async (pull: Pull): Promise<void> => {
    const http = open();
    if (!http) return;
    try {
      if (spdm.secrets().length === 0) await sleepUntil(pull.rules.timeoutMs, pull.signal, spdm.onSession);
      const blocks = await fetchRuns(http, spdm, pull);
      tell({ event: 'fetched', blocks });
    } catch (error) {
      if (!(error instanceof NusecError)) throw error;
      if (pull.signal.aborted) return;
      tell({ event: 'unreachable', text: `${error.code}: ${error.message}` });
    } finally {
      http.close();
    }
  };

async function fetchRuns(http: HttpClient, spdm: SpdmChannel, { signed, have, write, signal }: Pull): Promise<number> {
  const { job } = signed;
  let fetched = 0;
  for (const [first, last] of missingRuns(job, have)) {
    if (signal.aborted) return fetched;
    const [from] = sealedBlockAt(job, first);
    const [, to] = sealedBlockAt(job, last);
    const bytes = await http.range(`/v1/ota/${toHex(job.otaJobId)}`, from, to - 1, signal);
    for (let index = first; index <= last; index += 1) {
      const [start, end] = sealedBlockAt(job, index);
      const block = openWithAny(spdm, signed, index, bytes.subarray(start - from, end - from));
      if (block) write(index, block);
      fetched += block ? 1 : 0;
    }
  }
  return fetched;
}

/** First and last block of each range. */
function missingRuns(job: OtaJob, have: Uint8Array): readonly (readonly [number, number])[] {
  const runs: [number, number][] = [];
  for (let index = 0; index < blockCount(job); index += 1) {
    if ((((have[index >> 3] ?? 0) >> (index & 7)) & 1) === 1) continue;
    const open = runs.at(-1);
    if (open !== undefined && open[1] === index - 1 && index - open[0] < runBlocks) open[1] = index;
    else runs.push([index, index]);
  }
  return runs;
}
