import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { equalBytes, fromHex } from '../../bytes.ts';
import { decodeAs, encodeAs } from '../../cbor/schema.ts';
import { counted } from '../../counted.ts';
import { instanceIdOfKey } from '../../eat/psaClaims.ts';
import { verifyToken } from '../../eat/psaToken.ts';
import { importKey } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { helloMessage, jobMessage, orderMessage } from '../../mqttMessages.ts';
import type { DownFamily } from '../../mqttTopics.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { endsIn } from '../../spdm/certChain.ts';
import { spdmVersionName } from '../../spdm/constants.ts';
import { verifyEvidence } from '../../spdm/evidence.ts';
import { offerUnder } from '../../spdm/policy.ts';
import { patience } from '../../spdm/requester/patience.ts';
import { runAttestation } from '../../spdm/requester/run.ts';
import type { Bench, Heard } from './bench.ts';
import type { CheckPki } from './testPki.ts';

/** What a device has to do, one check after the other, in the order of docs/device-contract.md. A check gives what it saw, or throws what is wrong. */

export type CheckTimes = {
  /** Until the device connects, and connects again. */
  readonly connectMs: number;
  /** Until it answers. */
  readonly answerMs: number;
  /** How long nothing may happen. */
  readonly quietMs: number;
};
export const defaultCheckTimes: CheckTimes = { connectMs: 120_000, answerMs: 10_000, quietMs: 2_000 };

export type CheckResult = {
  readonly name: string;
  /** The section of docs/device-contract.md. */
  readonly section: string;
  readonly verdict: 'passed' | 'failed' | 'not run';
  readonly detail: string;
};

type Parts = {
  readonly bench: Bench;
  readonly pki: CheckPki;
  readonly times: CheckTimes;
  /** What the device proves itself with. */
  readonly evidence: 'spdm' | 'psa-token';
};
type Run = (parts: Parts) => Promise<string>;
type Check = {
  readonly name: string;
  readonly section: string;
  readonly run: Run /** Without it the rest says nothing. */;
  readonly isFirst?: true;
};

/** Of a question for a token. */
const nonceBytes = 32;

const wrong = (text: string): NusecError => new NusecError('STATE', text);

const presence = (state: 'connected' | 'disconnected') => (one: Heard) =>
  one.kind === 'presence' && one.event.state === state ? one.event : undefined;
const refusal = (one: Heard) => (one.kind === 'presence' && one.event.state === 'refused' ? one.event : undefined);
const message = (family: string) => (one: Heard) => (one.kind === 'message' && one.message.family === family ? one.message : undefined);

const connects: Run = async ({ bench, times }) => {
  if (await bench.next(presence('connected'), times.connectMs, 0)) return 'TLS 1.3, own certificate, client id, clean MQTT 3.1.1';
  const refused = await bench.next(refusal, 0, 0);
  throw wrong(refused?.state === 'refused' ? `refused: ${refused.reason}: ${refused.detail}` : `nobody came within ${times.connectMs} ms`);
};

const saysHello: Run = async ({ bench, pki, times }) => {
  const found = await bench.next(one => (one.kind === 'message' ? one.message : undefined), times.answerMs, 0);
  if (found === undefined) throw wrong(`no message within ${times.answerMs} ms`);
  if (found.family !== 'hello') throw wrong(`up/${found.family} came before up/hello`);
  const hello = decodeAs(helloMessage, found.payload);
  if (!equalBytes(hello.objId, fromHex(pki.objId))) throw wrong(`another objId than ${pki.objId}`);
  return `version ${hello.version}, counter ${hello.securityCounter}, boot ${hello.bootCount}`;
};

/** GET_VERSION (DSP0274): the first request of every SPDM flow, the same each time. */
const getVersion = { kind: 'clear', message: Uint8Array.of(0x10, 0x84, 0, 0) } as const;

const answersTwice: Run = async ({ bench, times }) => {
  const cid = bench.nextCid();
  const [first, second] = [await bench.spdm(getVersion, times.answerMs, cid), await bench.spdm(getVersion, times.answerMs, cid)];
  if (!equalBytes(first.message, second.message)) throw wrong('the same request with the same cid got another answer');
  return 'GET_VERSION, twice with one cid';
};

const attests: Run = async ({ bench, pki, times }) => {
  const nonce = new Uint8Array(randomBytes(32));
  const own = pki.deviceChain.at(-1) as Uint8Array;
  const options = { ...offerUnder(), isOurs: endsIn(own), nonce, wait: patience(sleep) };
  const evidence = await runAttestation(options, wire => bench.spdm(wire, times.answerMs, bench.nextCid()));
  const trust = (certificates: readonly Uint8Array[]) => {
    if (!endsIn(own)(certificates)) throw wrong('no slot has the certificate of the connection');
    const { point } = parseCertificate(own);
    if (point === undefined) throw wrong('its key is not one of P-256');
    return point;
  };
  const { measurements, version } = await verifyEvidence(evidence, { nonce, uidHex: pki.uid, trust });
  return `SPDM ${spdmVersionName(version)}, ${counted(measurements.length, 'measurement')}, signature verified`;
};

const attestsByToken: Run = async ({ bench, pki, times }) => {
  const nonce = new Uint8Array(randomBytes(nonceBytes));
  const { token, error = 'no reason' } = await bench.eat(nonce, times.answerMs, bench.nextCid());
  if (token === null) throw wrong(`no token: ${error}`);
  const { spki } = parseCertificate(pki.deviceChain.at(-1) as Uint8Array);
  const { components, lifeCycle, instanceId } = await verifyToken(token, { nonce, key: importKey(spki) });
  if (!equalBytes(instanceId, instanceIdOfKey(spki))) throw wrong('its instance id is not 01 and SHA-256 of the point of its key');
  return `profile of RFC 9783, ${components.length} software components, life cycle ${lifeCycle}, signature verified`;
};

const answersTokenTwice: Run = async ({ bench, times }) => {
  const [cid, nonce] = [bench.nextCid(), new Uint8Array(randomBytes(nonceBytes))];
  const [first, second] = [await bench.eat(nonce, times.answerMs, cid), await bench.eat(nonce, times.answerMs, cid)];
  if (first.token === null || second.token === null || !equalBytes(first.token, second.token))
    throw wrong('the same question with the same cid got another token');
  return 'a question for a token, twice with one cid';
};

/** Whatever it proves itself with, it answers a question. @throws NusecError DEVICE_UNREACHABLE */
const answersOnce = ({ bench, times, evidence }: Parts): Promise<unknown> =>
  evidence === 'spdm'
    ? bench.spdm(getVersion, times.answerMs, bench.nextCid())
    : bench.eat(new Uint8Array(randomBytes(nonceBytes)), times.answerMs, bench.nextCid());

const staysOnline = async ({ bench, times }: Parameters<Run>[0], what: string): Promise<void> => {
  const left = await bench.next(presence('disconnected'), times.quietMs);
  if (left !== undefined || !bench.isOnline()) throw wrong(`it left after ${what}`);
};

const ignoresTheUnknown: Run = async parts => {
  const { bench } = parts;
  await bench.send('unheard' as DownFamily, Uint8Array.of(0xa0));
  await bench.send('job', Uint8Array.of(0xff));
  await bench.send('order', Uint8Array.of(0x00));
  await bench.send('err', encodeAs(jobMessage, { job: null }));
  await staysOnline(parts, 'an unknown family, malformed CBOR, or an error without a code');
  await answersOnce(parts);
  return 'an unknown family, malformed CBOR and an error without a code change nothing';
};

const refusesUnsignedOrders: Run = async ({ bench, times }) => {
  const [cid, from] = [bench.nextCid(), bench.mark()];
  await bench.send('order', encodeAs(orderMessage, { cid, order: new Uint8Array(randomBytes(64)) }));
  const answer = await bench.orderAnswer(cid, times.answerMs, from);
  if (answer === undefined) throw wrong(`no answer on up/order within ${times.answerMs} ms`);
  if (answer.receipt !== null) throw wrong('it gave a receipt for an order that nobody signed');
  return `refused: ${answer.error ?? 'no reason'}`;
};

/** Waits between the end of a connection and the next attempt, at least; a client that reconnects immediately makes every trouble worse. */
const leastWaitMs = 100;

const comesBack: Run = async ({ bench, times }) => {
  const from = bench.mark();
  const resumedBefore = bench.stats().resumed;
  bench.cut();
  const beganMs = performance.now();
  if (!(await bench.next(presence('connected'), times.connectMs, from))) throw wrong(`it did not come back within ${times.connectMs} ms`);
  const tookMs = Math.round(performance.now() - beganMs);
  if (tookMs < leastWaitMs)
    throw wrong(`it came back after ${tookMs} ms: wait at least ${leastWaitMs} ms, by chance, and longer each time`);
  if (!(await bench.next(message('hello'), times.answerMs, from))) throw wrong('no hello on the second connection');
  const isResumed = bench.stats().resumed > resumedBefore;
  return `after ${tookMs} ms, with a hello; TLS session ${isResumed ? 'resumed' : 'not resumed (it should be)'}`;
};

const repeatsWhatWasNotTaken: Run = async ({ bench, times }) => {
  const from = bench.mark();
  bench.failHello();
  bench.cut();
  if (!(await bench.next(message('hello'), times.connectMs, from))) throw wrong('a hello without PUBACK was not sent again');
  return 'a hello without PUBACK came again on the next connection';
};

const answers = { spdm: answersTwice, 'psa-token': answersTokenTwice } as const;
const proofs = { spdm: attests, 'psa-token': attestsByToken } as const;

const checks: readonly Check[] = [
  { name: 'connects', section: 'Connecting', run: connects, isFirst: true },
  { name: 'says hello first', section: 'Hello', run: saysHello, isFirst: true },
  { name: 'answers a repeated request with the same bytes', section: 'Requests and answers', run: parts => answers[parts.evidence](parts) },
  { name: 'proves its identity and state', section: 'Attestation', run: parts => proofs[parts.evidence](parts) },
  { name: 'ignores what it does not know', section: 'Requests and answers', run: ignoresTheUnknown },
  { name: 'refuses an order that is not signed', section: 'Orders', run: refusesUnsignedOrders },
  { name: 'comes back, after a wait', section: 'Connecting', run: comesBack },
  { name: 'sends again what was not acknowledged', section: 'Hello', run: repeatsWhatWasNotTaken },
];

/** Runs all checks against the one device. @param onResult called with each result as it is there */
export async function runChecks(
  parts: Parameters<Run>[0],
  onResult: (result: CheckResult) => void = () => undefined,
): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = [];
  let isOver = false;
  for (const { name, section, run, isFirst } of checks) {
    const result = isOver ? ({ verdict: 'not run', detail: '' } as const) : await outcome(run, parts);
    if (isFirst && result.verdict === 'failed') isOver = true;
    results.push({ name, section, ...result });
    onResult(results.at(-1) as CheckResult);
  }
  return results;
}

async function outcome(run: Run, parts: Parameters<Run>[0]): Promise<Pick<CheckResult, 'verdict' | 'detail'>> {
  try {
    return { verdict: 'passed', detail: await run(parts) };
  } catch (error) {
    return {
      verdict: 'failed',
      detail: error instanceof NusecError && error.code !== 'STATE' ? `${error.code}: ${error.message}` : (error as Error).message,
    };
  }
}
