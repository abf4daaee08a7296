import { setTimeout as sleep } from 'node:timers/promises';
import { createHttpClient, type HttpClient } from '../../gateway-device/link/httpClient.ts';
import { utf8 } from '../../src/bytes.ts';
import { toPem } from '../../src/pki/pem.ts';
import { agreeKek, lockedProgrammer, newUid, type PreparedProgrammer } from '../../test/services/parties.ts';
import { Chip, defineProduct, releasedJob, TestProgrammer } from '../../test/services/production/factory.ts';
import { asking, type Call, type Site } from '../../test/services/production/plant.ts';

/** A process of programmers for bench/production.ts: prepares them, waits for `go`, and builds units as fast as the server lets them; with the next
 *  message it builds as many at a steady pace. */

export type LineWish = {
  readonly url: string;
  /** Product line of its own. */
  readonly line: string;
  readonly ca: string;
  readonly alice: string;
  readonly bob: string;
  readonly programmers: number;
  readonly unitsEach: number;
  /** Of the steady pace: time from the begin of one unit to the next, of each programmer. */
  readonly paceMs: number;
};
/** Milliseconds of each call, by the last word of its path. */
export type CallMs = Readonly<Record<string, readonly number[]>>;
export type LineResult = {
  readonly seconds: number;
  /** Processor time of this process meanwhile. */
  readonly cpuMs: number;
  readonly callMs: CallMs;
  /** Of a package whose job lists 10 000 chips. */
  readonly exportMs: readonly number[];
};

const wish = JSON.parse(process.argv[2] ?? '') as LineWish;
const listedChips = 10_000;
const exports = 9;
/** Of each programmer: two hundred in all, until the server's code is compiled. */
const warmUnits = 4;
const second = new Set(['bob', 'rolf', 'paul']);
const callMs: Record<string, number[]> = {};

const people = { alice: open({ token: wish.alice }), bob: open({ token: wish.bob }) };

function open(options: object): HttpClient {
  return createHttpClient({ baseUrl: wish.url, ca: wish.ca, isRepeatable: true, ...options });
}

/** People by their token, one machine by its key. */
function siteOf(machine?: PreparedProgrammer): Site {
  const key = machine?.key.export({ format: 'pem', type: 'pkcs8' }) as string;
  const own = machine && open({ cert: toPem('CERTIFICATE', machine.certificate), key });
  const call: Call = async (who, method, path, body) => {
    const client = typeof who === 'string' ? (second.has(who) ? people.bob : people.alice) : (own as HttpClient);
    const type = body instanceof Uint8Array ? 'application/octet-stream' : typeof body === 'string' ? 'text/plain' : 'application/json';
    const bytes = body instanceof Uint8Array ? body : utf8(typeof body === 'string' ? body : JSON.stringify(body ?? {}));
    const begin = performance.now();
    const answer = await (method === 'GET' ? client.bytes(method, path) : client.bytes(method, path, bytes, type));
    const name = path.split('/').at(-1) ?? '';
    callMs[name] ??= [];
    callMs[name].push(performance.now() - begin);
    const text = new TextDecoder().decode(answer);
    return { status: 200, bytes: answer, body: text.startsWith('{') ? JSON.parse(text) : text };
  };
  return { call, ...asking(call) };
}

async function prepared(jobId: string): Promise<TestProgrammer> {
  const party = await lockedProgrammer(siteOf());
  const site = siteOf(party);
  const programmer = new TestProgrammer(site, party, await agreeKek(site, party));
  await site.ask('olga', 'POST', `/v1/programmers/${party.uid}/ship`, { to: 'CM' });
  await site.ask(party.certificate, 'POST', `/v1/programmers/${party.uid}/check-in`);
  await programmer.begin(jobId, 2 * wish.unitsEach + warmUnits);
  return programmer;
}

/** A new package each time, so that nothing is only read again. */
async function exportTimes({ uid }: TestProgrammer): Promise<readonly number[]> {
  const uids = Array.from({ length: listedChips }, () => newUid());
  const listed = await releasedJob(office, wish.line, { plannedCount: listedChips, uids });
  await office.ask('pia', 'POST', `/v1/jobs/${listed}/allotments`, { programmer: uid, count: listedChips, scrapAllowance: 0 });
  const times: number[] = [];
  while (times.length < exports) {
    const begin = performance.now();
    await office.call('pia', 'POST', `/v1/jobs/${listed}/allotments/${uid}/export`, { replace: true });
    times.push(performance.now() - begin);
  }
  return times;
}

/** @param paceMs 0: without a pause */
const build = (unitsEach: number, paceMs = 0) => {
  const begin = performance.now();
  return Promise.all(
    programmers.map(async (programmer, index) => {
      for (let unit = 0; unit < unitsEach; unit += 1) {
        const at = begin + (unit + index / programmers.length) * paceMs;
        if (paceMs > 0) await sleep(Math.max(0, at - performance.now()));
        await programmer.build(new Chip());
      }
    }),
  );
};

function takeCalls(): CallMs {
  const taken = { ...callMs };
  for (const name of Object.keys(callMs)) delete callMs[name];
  return taken;
}

const programmers: TestProgrammer[] = [];
const office = siteOf();
await defineProduct(office, wish.line);
const jobId = await releasedJob(office, wish.line, { plannedCount: wish.programmers * (2 * wish.unitsEach + warmUnits) });
while (programmers.length < wish.programmers) programmers.push(await prepared(jobId));
// The first units are no work of the line: connections and code are warm after them.
await build(warmUnits);
const exportMs = await exportTimes(programmers[0] as TestProgrammer);
takeCalls();
process.once('message', async () => {
  const begin = performance.now();
  const cpuBegin = process.cpuUsage();
  await build(wish.unitsEach);
  const { user, system } = process.cpuUsage(cpuBegin);
  const seconds = (performance.now() - begin) / 1000;
  const result: LineResult = { seconds, cpuMs: (user + system) / 1000, callMs: takeCalls(), exportMs };
  process.once('message', async () => {
    await build(wish.unitsEach, wish.paceMs);
    process.send?.(takeCalls(), () => process.exit());
  });
  process.send?.(result);
});
process.send?.('ready');
