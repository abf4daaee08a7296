import { execFileSync } from 'node:child_process';
import { createECDH, generateKeyPairSync, type KeyObject, randomBytes, sign, verify } from 'node:crypto';
import { cpus } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { sha256 } from '../src/digest.ts';
import { derToRaw } from '../src/ecdsa.ts';
import { issueCertificate, type Signer } from '../src/pki/certificate.ts';
import { type ChainPolicy, checkChain, checkChainAsync } from '../src/pki/chain.ts';
import { parseCertificate } from '../src/pki/parse.ts';
import { pooledRandom } from '../src/random.ts';
import { keepChain } from '../src/spdm/certChain.ts';
import type { CertSlot } from '../src/spdm/certSlot.ts';
import type { Wire } from '../src/spdm/constants.ts';
import { type Evidence, verifyEvidence } from '../src/spdm/evidence.ts';
import { allAlgorithms } from '../src/spdm/negotiation.ts';
import { continueAttestation, startAttestation } from '../src/spdm/requester/attestation.ts';
import { runSessionSetup } from '../src/spdm/requester/run.ts';
import { createResponder, type Responder } from '../src/spdm/responder/responder.ts';
import type { LeafKey, VerifyPlace } from '../src/spdm/signature.ts';
import { interleave, median, perSecond, type Report } from './parts/measure.ts';

/** Attestations and sessions: what a verifier, a responder and a requester do with one device, beside the bare signatures in it.
 *  On one core (the process pins itself; signatures are verified in the calling thread, as in the bound) and over two through the thread pool.
 *  'full' is a device never seen before: chain transferred, read, its leaf verified, its key imported; only the link from the issuing authority to
 *  the root is known. The bound has its keys ready. */

type Curve = 'P-256' | 'P-384';

/** Each has keys and a chain of its own under one authority, whose link to the root is verified once, as in a fleet. */
const devices = 300;
const rounds = 15;
/** Until the compiler has seen enough of the subject: a server or a device runs for days. */
const warmUpMs = 4000;
const attestationsPerRound = 600;
const inFlight = 64;
const serialBytes = 16;
/** The prefix of 1.2 (DSP0274 §15); the hash of the transcript follows it. */
const signingPrefixBytes = 100;
const notBefore = '2026-01-01T00:00:00.000Z';
const now = '2026-06-01T00:00:00.000Z';
const nonce = new Uint8Array(randomBytes(32));

export async function run(report: Report): Promise<void> {
  for (const curve of ['P-256', 'P-384'] as const) {
    const fleet = await makeFleet(curve);
    pin('0');
    await onOneCore(report, curve, fleet);
    pin(`0-${cpus().length - 1}`);
    await overTheCores(report, curve, fleet);
    if (curve === 'P-256') await steadyLoad(report, fleet);
  }
  await idleStates(report);
}

/** Of util-linux. */
const pinTool = 'taskset';

/** Keeps this process and its thread pool on these cores; without `taskset` it runs where it is. */
function pin(cores: string): void {
  try {
    execFileSync(pinTool, ['-a', '-p', '-c', cores, String(process.pid)], { stdio: 'ignore' });
  } catch {
    console.error('taskset is missing: figures of one core are those of all');
  }
}

async function onOneCore(report: Report, curve: Curve, fleet: Fleet): Promise<void> {
  const figure = async (name: string, subject: () => Promise<number>, bound: () => number, boundWhat: string): Promise<void> => {
    for (const startMs = performance.now(); performance.now() - startMs < warmUpMs; ) await subject();
    report({ figure: `${curve} ${name}, one core`, unit: '1/s', boundWhat, ...(await interleave(rounds, subject, bound)) });
  };
  const verifications = (count: number) => () => bareVerifications(fleet, count);
  await figure(
    'verifier, full',
    () => verifying(fleet, 'full', 'none'),
    () => bareFull(fleet),
    'verify leaf + verify CHALLENGE_AUTH',
  );
  await figure('verifier, leaf cached', () => verifying(fleet, 'cached', 'none'), verifications(1), '1 bare verification');
  await figure('verifier, cached, measurements', () => verifying(fleet, 'cached', 0xff), verifications(2), '2 bare verifications');
  await figure(
    'responder, full',
    () => responding(fleet),
    () => bareSignatures(fleet),
    '1 bare signature',
  );
  await figure(
    'session set-up, both ends',
    () => settingUp(fleet),
    () => bareHandshakes(fleet),
    'verify + sign + 2 key pairs + 2 ECDH',
  );
}

async function overTheCores(report: Report, curve: Curve, fleet: Fleet): Promise<void> {
  const measured = await interleave(
    rounds,
    () => verifying(fleet, 'cached', 'none', 'pool'),
    () => pooledVerifications(fleet, 1),
  );
  const boundWhat = '1 bare verification in the thread pool';
  report({ figure: `${curve} verifier, leaf cached, ${cpus().length} cores`, unit: '1/s', boundWhat, ...measured });
}

type Device = {
  readonly leafKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly chain: readonly Uint8Array[];
  readonly responder: Responder;
  readonly slot: CertSlot;
  /** Responses to each request of an attestation with our nonce, in order. */
  readonly answers: {
    readonly full: readonly Uint8Array[];
    readonly cached: readonly Uint8Array[];
    readonly measured: readonly Uint8Array[];
  };
  readonly structure: Uint8Array;
};
type Fleet = { readonly curve: Curve; readonly root: Uint8Array; readonly list: readonly Device[]; readonly options: Options };
type Options = { readonly nonce: Uint8Array; readonly algorithms: typeof allAlgorithms; readonly portionBytes: number };

const measurements = () => [1, 2, 3].map(index => ({ index, type: 1, form: 'digest' as const, value: sha256(`${index}`) }));

async function makeFleet(curve: Curve): Promise<Fleet> {
  const bits = curve === 'P-256' ? { baseAsym: 0x10, baseHash: 1, dhe: 8 } : { baseAsym: 0x80, baseHash: 2, dhe: 0x10 };
  const options = { nonce, algorithms: { ...allAlgorithms, ...bits }, portionBytes: 4096 };
  const rootPair = makePair('P-256');
  const root = await makeRoot(rootPair);
  const authority = await makeAuthority(rootPair, root);
  const list: Device[] = [];
  for (let i = 0; i < devices; i += 1) list.push(await makeDevice(curve, options, authority, root));
  return { curve, root, list, options };
}

type Authority = { readonly der: Uint8Array; readonly signer: Signer };

async function makeAuthority(rootPair: Pair, root: Uint8Array): Promise<Authority> {
  const { spki, signer } = makePair('P-256');
  const about = { line: 'bench', scope: { use: 'device', line: 'bench' }, issuer: parseCertificate(root) } as const;
  const named = { ...common, ...about, publicKey: spki, serial: serial(), commonName: 'Example CA' };
  return { der: (await issueCertificate('ica', named, rootPair.signer)).der, signer };
}

const common = { organization: 'Example', notBefore, crlUrl: 'http://ca.example/1.crl' };

async function makeDevice(curve: Curve, options: Options, authority: Authority, root: Uint8Array): Promise<Device> {
  // Certificates of devices are P-256; for P-384 the chain is signed by P-256 authorities and the SPDM key is separate.
  const certified = makePair('P-256');
  const spdmKey = curve === 'P-256' ? certified : makePair('P-384');
  const leaf = await issueCertificate(
    'device',
    {
      ...common,
      publicKey: certified.spki,
      serial: serial(),
      uid: randomBytes(16).toString('hex'),
      objId: 'bench',
      issuer: parseCertificate(authority.der),
    },
    authority.signer,
  );
  const chain = [root, authority.der, leaf.der];
  const digest = curve === 'P-256' ? 'sha256' : 'sha384';
  const slot: CertSlot = {
    certificates: chain,
    sign: async input => derToRaw(sign(digest, input, spdmKey.privateKey), curve === 'P-256' ? 32 : 48)!,
  };
  const sizes = { ctExponent: 0, dataTransferBytes: 4096, maxMessageBytes: 4096 };
  const responder = createResponder({
    slots: [slot],
    algorithms: options.algorithms,
    randomBytes: pooledRandom(),
    measurements,
    capabilities: { ...sizes, flags: 0x62f6 },
  });
  const full = await record(responder, { ...options, measurements: 'none' });
  const structure = keepChain(full.evidence.chain);
  const cached = await record(responder, { ...options, measurements: 'none', knownChain: structure });
  const measured = await record(responder, { ...options, measurements: 0xff, knownChain: structure });
  const answers = { full: full.answers, cached: cached.answers, measured: measured.answers };
  return { leafKey: spdmKey.publicKey, signingKey: spdmKey.privateKey, chain, responder, slot, answers, structure };
}

const serial = (): Uint8Array => new Uint8Array(randomBytes(serialBytes));

async function record(responder: Responder, options: Parameters<typeof startAttestation>[0]) {
  const answers: Uint8Array[] = [];
  let step = startAttestation(options);
  while ('send' in step) {
    const answer = await responder.handle({ kind: 'clear', message: step.send });
    answers.push(answer!.message);
    step = continueAttestation(step.state, answer!.message);
  }
  return { answers, evidence: step.evidence };
}

type Mode = 'full' | 'cached';

/** Attestations with requester and verifier in one process, many in parallel, each from its first message to its verdict. */
async function verifying(fleet: Fleet, mode: Mode, measured: number | 'none', place: VerifyPlace = 'caller'): Promise<number> {
  const startMs = performance.now();
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < attestationsPerRound) {
      next += 1;
      await attestOne(fleet, fleet.list[next % devices]!, mode, measured, place);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return perSecond(attestationsPerRound, startMs);
}

async function attestOne(fleet: Fleet, device: Device, mode: Mode, measured: number | 'none', place: VerifyPlace): Promise<void> {
  const known = mode === 'cached' ? { knownChain: device.structure } : {};
  const answers = measured === 'none' ? device.answers[mode] : device.answers.measured;
  let step = startAttestation({ ...fleet.options, ...known, measurements: measured });
  for (const answer of answers) if ('send' in step) step = continueAttestation(step.state, answer);
  const { evidence } = step as { evidence: Evidence };
  const trust = mode === 'cached' ? () => device.leafKey : (chain: readonly Uint8Array[]) => trustChain(fleet, device, chain, place);
  await verifyEvidence(evidence, { nonce, trust, place });
}

async function trustChain(
  { curve, root }: Fleet,
  { leafKey }: Device,
  certificates: readonly Uint8Array[],
  place: VerifyPlace,
): Promise<LeafKey> {
  const policy: ChainPolicy = { roots: [root], now, purpose: 'device' };
  const leafFirst = certificates.toReversed();
  const leaf = place === 'caller' ? checkChain(leafFirst, policy) : await checkChainAsync(leafFirst, policy);
  return curve === 'P-256' ? leaf.point! : leafKey;
}

/** Whole attestations on the device's side. */
async function responding({ list, options }: Fleet): Promise<number> {
  const [{ responder }] = list as readonly [Device];
  const requests: Uint8Array[] = [];
  let step = startAttestation({ ...options, measurements: 'none' });
  while ('send' in step) {
    requests.push(step.send);
    step = continueAttestation(step.state, (await responder.handle({ kind: 'clear', message: step.send }))!.message);
  }
  const startMs = performance.now();
  for (let i = 0; i < attestationsPerRound; i += 1) for (const message of requests) await responder.handle({ kind: 'clear', message });
  return perSecond(attestationsPerRound, startMs);
}

async function settingUp({ list, options }: Fleet): Promise<number> {
  const count = attestationsPerRound / 6;
  // As the server has them.
  const random = pooledRandom();
  const startMs = performance.now();
  for (let i = 0; i < count; i += 1) {
    const { responder, structure, leafKey } = list[i % devices]!;
    const link = async (wire: Wire): Promise<Wire> => (await responder.handle(wire))!;
    await runSessionSetup({ ...options, knownChain: structure, trust: () => leafKey, randomBytes: random }, link);
  }
  return perSecond(count, startMs);
}

function bareVerifications({ list, curve }: Fleet, each: number): number {
  const samples = list.slice(0, 20).map(device => sampleOf(device.leafKey, curve));
  const startMs = performance.now();
  for (let i = 0; i < attestationsPerRound; i += 1)
    for (let n = 0; n < each; n += 1) {
      const { key, digest, input, signature } = samples[(i + n) % samples.length]!;
      verify(digest, input, key, signature);
    }
  return perSecond(attestationsPerRound, startMs);
}

/** The leaf's certificate is signed with P-256 whatever its SPDM key is. */
function bareFull({ list, curve }: Fleet): number {
  const leafKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
  const samples = [sampleOf(leafKey, 'P-256'), sampleOf(list[0]!.leafKey, curve)];
  const startMs = performance.now();
  for (let i = 0; i < attestationsPerRound; i += 1)
    for (const { key, digest, input, signature } of samples) verify(digest, input, key, signature);
  return perSecond(attestationsPerRound, startMs);
}

async function pooledVerifications({ list, curve }: Fleet, each: number): Promise<number> {
  const samples = list.slice(0, 20).map(device => sampleOf(device.leafKey, curve));
  const startMs = performance.now();
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < attestationsPerRound * each) {
      next += 1;
      const { key, digest, input, signature } = samples[next % samples.length]!;
      await new Promise<void>(resolve => verify(digest, input, key, signature, () => resolve()));
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return perSecond(attestationsPerRound, startMs);
}

type Sample = { readonly key: KeyObject; readonly digest: string; readonly input: Uint8Array; readonly signature: Uint8Array };
const samplesKept = new Map<KeyObject, Sample>();

/** A signature by another key costs as much to verify as one by the right one. */
function sampleOf(key: KeyObject, curve: Curve): Sample {
  const known = samplesKept.get(key);
  if (known) return known;
  const digest = curve === 'P-256' ? 'sha256' : 'sha384';
  const input = new Uint8Array(randomBytes(132));
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const sample = { key, digest, input, signature: new Uint8Array(sign(digest, input, privateKey)) };
  samplesKept.set(key, sample);
  return sample;
}

/** With the key that `responding` signs with, called in the same way, for an input of the same length. */
function bareSignatures({ curve, list }: Fleet): number {
  const [{ signingKey }] = list as readonly [Device];
  const input = new Uint8Array(randomBytes(signingPrefixBytes + (curve === 'P-256' ? 32 : 48)));
  const startMs = performance.now();
  for (let i = 0; i < attestationsPerRound; i += 1) sign(curve === 'P-256' ? 'sha256' : 'sha384', input, signingKey);
  return perSecond(attestationsPerRound, startMs);
}

/** What no implementation can do without: a signature and its verification, two ephemeral keys, two shared secrets. */
function bareHandshakes(fleet: Fleet): number {
  const { curve, list } = fleet;
  const { key, digest, input, signature } = sampleOf(list[0]!.leafKey, curve);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const count = attestationsPerRound / 6;
  const startMs = performance.now();
  for (let i = 0; i < count; i += 1) {
    sign(digest, input, privateKey);
    verify(digest, input, key, signature);
    bareAgreement(curve);
  }
  return perSecond(count, startMs);
}

function bareAgreement(curve: Curve): void {
  const name = curve === 'P-256' ? 'prime256v1' : 'secp384r1';
  const [one, other] = [createECDH(name), createECDH(name)];
  for (const side of [one, other]) side.generateKeys();
  one.computeSecret(other.getPublicKey());
  other.computeSecret(one.getPublicKey());
}

const loadPerSecond = 10_000;
const loadSeconds = 3;
const loadTickMs = 5;
const delayGoalMs = 20;
const maxRunning = 256;

/** Delay of the event loop while that many attestations (leaf cached) begin every second; no more than `maxRunning` in parallel. */
async function steadyLoad(report: Report, fleet: Fleet): Promise<void> {
  const loop = monitorEventLoopDelay({ resolution: 1 });
  const perTick = (loadPerSecond * loadTickMs) / 1000;
  let [running, done] = [0, 0];
  const begin = async (i: number): Promise<void> => {
    running += 1;
    await attestOne(fleet, fleet.list[i % devices]!, 'cached', 'none', 'pool');
    running -= 1;
    done += 1;
  };
  const startMs = performance.now();
  loop.enable();
  for (let due = startMs; performance.now() - startMs < loadSeconds * 1000; await delay(1))
    for (; due <= performance.now(); due += loadTickMs) for (let i = 0; i < perTick && running < maxRunning; i += 1) void begin(done + i);
  loop.disable();
  report({
    figure: 'attestations, 10 000/s asked for',
    value: perSecond(done, startMs),
    unit: '1/s',
    bound: loadPerSecond,
    boundWhat: 'goal',
  });
  report({ figure: 'event loop delay then, p99', value: loop.percentile(99) / 1e6, unit: 'ms', bound: delayGoalMs, boundWhat: 'goal' });
}

const idleCount = 20_000;
const idleGoalBytes = 4096;

/** Heap of a requester that has sent CHALLENGE and waits, its device's chain shared with the cache of the verifier. */
async function idleStates(report: Report): Promise<void> {
  const fleet = await makeFleet('P-256');
  const states = (): unknown[] =>
    Array.from({ length: idleCount }, (_, i) => {
      const { answers, structure } = fleet.list[i % devices]!;
      let step = startAttestation({ ...fleet.options, knownChain: structure, measurements: 'none' });
      for (const answer of answers.cached.slice(0, -1)) if ('send' in step) step = continueAttestation(step.state, answer.slice());
      return step;
    });
  const used = (): number => {
    collectGarbage();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  const before = used();
  const kept = states();
  const value = median([(used() - before) / kept.length]);
  report({ figure: 'idle requester state', value, unit: 'bytes', bound: idleGoalBytes, boundWhat: 'goal' });
}

/** What is left is what is held. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

type Pair = { readonly spki: Uint8Array; readonly publicKey: KeyObject; readonly privateKey: KeyObject; readonly signer: Signer };

function makePair(curve: Curve): Pair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  return { spki, publicKey, privateKey, signer: { algorithm: 'P-256', sign: async tbs => sign('sha256', tbs, privateKey) } };
}

async function makeRoot({ spki, signer }: Pair): Promise<Uint8Array> {
  const fields = { publicKey: spki, serial: serial(), notBefore, organization: 'Example', commonName: 'Example Root CA 1' };
  return (await issueCertificate('rootCa', fields, signer)).der;
}
