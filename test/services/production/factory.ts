import { randomBytes } from 'node:crypto';
import { concat, fromBase64url, fromHex, toBase64url, toHex, utf8 } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import type { UnitDataField } from '../../../src/domain/jobEvents.ts';
import { parseVersion } from '../../../src/domain/version.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { fromPem } from '../../../src/pki/pem.ts';
import { contentOpenWith } from '../../../src/production/contentKey.ts';
import { emptyLedger, type LedgerRecord, ledgerHeadOf, signLedgerRecord } from '../../../src/production/ledger.ts';
import { openPackage, type PackagePayload } from '../../../src/production/package.ts';
import { signPackageAck } from '../../../src/production/packageAck.ts';
import { signingKeysOf, verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { encodeEvidence } from '../../../src/spdm/evidence.ts';
import { runSessionSetup } from '../../../src/spdm/requester/run.ts';
import { createResponder } from '../../../src/spdm/responder/responder.ts';
import { agreeKek, csrOf, lockedProgrammer, newParty, newUid, type Party, type PreparedProgrammer, receiptOf } from '../parties.ts';
import type { Answer, Body, Site } from './plant.ts';

/** A contract manufacturer in a test: a programmer that keeps its ledger as the real one does, and chips it builds. */

export async function defineProduct(plant: Site, line: string, counter = 5): Promise<void> {
  await plant.ask('rita', 'POST', '/v1/lines', { line });
  for (const [image, version] of [
    ['bl2', '1.0.0'],
    ['app', '2.0.0'],
  ] as const) {
    const query = `line=${line}&image=${image}&version=${version}&counter=${counter}`;
    const { releaseId } = (await plant.call('rita', 'POST', `/v1/releases?${query}`, new Uint8Array(randomBytes(5000)))).body;
    await plant.ask('rolf', 'POST', `/v1/releases/${releaseId}/approve`);
    await plant.ask('rolf', 'POST', `/v1/releases/${releaseId}/publish`);
  }
}

type JobWish = {
  readonly plannedCount?: number;
  readonly scrapAllowance?: number;
  readonly uids?: readonly string[];
  readonly site?: string;
  readonly unitData?: readonly UnitDataField[];
  readonly configWords?: readonly number[];
};

/** A released job with the line's newest firmware. */
export async function releasedJob(plant: Site, line: string, wish: JobWish = {}): Promise<string> {
  const { plannedCount = 10, scrapAllowance = 2, uids, site, unitData, configWords } = wish;
  const job = { line, plannedCount, scrapAllowance, requireUidList: uids !== undefined, site, unitData, configWords };
  const { jobId } = await plant.ask('pia', 'POST', '/v1/jobs', job);
  for (const { releaseId } of (await plant.ask('pia', 'GET', `/v1/releases?line=${line}`)).releases) {
    await plant.ask('pia', 'POST', `/v1/jobs/${jobId}/firmware`, { releaseId });
  }
  if (uids !== undefined) await plant.ask('pia', 'PUT', `/v1/jobs/${jobId}/uids`, uids.join('\n'));
  await plant.ask('paul', 'POST', `/v1/jobs/${jobId}/release`);
  return jobId;
}

export async function activeProgrammer(plant: Site): Promise<TestProgrammer> {
  const prepared = await lockedProgrammer(plant);
  const kek = await agreeKek(plant, prepared);
  await plant.ask('olga', 'POST', `/v1/programmers/${prepared.uid}/ship`, { to: 'CM' });
  await plant.ask(prepared.certificate, 'POST', `/v1/programmers/${prepared.uid}/check-in`);
  return new TestProgrammer(plant, prepared, kek);
}

/** Between reservation and commit. */
export type UnitStep = 'csr' | 'bootloader' | 'application-key' | 'application';

type Entry = Omit<LedgerRecord, 'number' | 'previousSha256' | 'uptimeSeconds'>;

export class TestProgrammer {
  readonly plant: Site;
  readonly self: PreparedProgrammer;
  readonly kek: { readonly key: Uint8Array; readonly epoch: number };
  /** Signed records of the job at hand, all that were ever made. */
  records: Uint8Array[] = [];
  /** How many of them the server has. */
  acknowledged = 0;
  payload: PackagePayload | undefined;
  /** Units left after the newest record. */
  left = 0;

  constructor(plant: Site, self: PreparedProgrammer, kek: { key: Uint8Array; epoch: number }) {
    this.plant = plant;
    this.self = self;
    this.kek = kek;
  }

  get uid(): string {
    return this.self.uid;
  }

  get jobId(): string {
    return toHex(this.payload?.jobId ?? new Uint8Array());
  }

  call(path: string, body: unknown = {}): Promise<Answer> {
    return this.plant.call(this.self.certificate, 'POST', `/v1/production/${path}`, body);
  }

  async ask(path: string, body: unknown = {}): Promise<Body> {
    return this.plant.ask(this.self.certificate, 'POST', `/v1/production/${path}`, body);
  }

  async code(path: string, body: unknown = {}): Promise<string | number> {
    return this.plant.code(this.self.certificate, 'POST', `/v1/production/${path}`, body);
  }

  /** What became of a unit. */
  async look(chip: Chip): Promise<Body> {
    return this.plant.ask(this.self.certificate, 'GET', `/v1/production/units/${chip.grantId}`);
  }

  /** What the server has not acknowledged. */
  get pending(): string[] {
    return this.records.slice(this.acknowledged).map(toBase64url);
  }

  async append(entry: Entry): Promise<Uint8Array> {
    const last = this.records.at(-1);
    const previousSha256 = last === undefined ? emptyLedger.headSha256 : ledgerHeadOf(last);
    const place = { number: this.records.length + 1, previousSha256, uptimeSeconds: this.records.length };
    const record = await signLedgerRecord({ ...entry, ...place }, this.self.signer);
    this.records.push(record);
    this.left = entry.remaining ?? this.left;
    return record;
  }

  entry(type: LedgerRecord['type'], more: Partial<Entry> = {}): Entry {
    if (this.payload === undefined) throw new Error('no package');
    const { jobId, packageId, count } = this.payload;
    const remaining = { import: count, reserve: this.left - 1, commit: this.left, void: this.left + 1, zeroise: 0, boot: this.left }[type];
    return { type, jobId, packageId, remaining: Math.max(0, remaining), ...more };
  }

  async open(file: Uint8Array): Promise<PackagePayload> {
    const get = (path: string) => this.plant.call(this.self.certificate, 'GET', path);
    const root = parseCertificate(fromPem('CERTIFICATE', String((await get('/v1/authority/root.pem')).body))[0] ?? new Uint8Array()).spki;
    const bundle = await verifyTrustBundle((await get('/v1/trust-bundle')).bytes, root);
    const contentOpenOf = (epoch: number) => (epoch === this.kek.epoch ? contentOpenWith(this.kek.key) : undefined);
    return openPackage(file, {
      contentOpenOf,
      progUid: fromHex(this.uid),
      packageKeys: signingKeysOf(bundle, 'package'),
      lastSequence: () => undefined,
    });
  }

  async notice(file: Uint8Array) {
    const { jobId, packageId, sequence, count } = this.payload as PackagePayload;
    const last = this.records.at(-1) as Uint8Array;
    const ack = {
      ...{ progUid: fromHex(this.uid), jobId, packageId, sequence, epoch: this.kek.epoch, packageSha256: sha256(file) },
      ...{ remaining: count, ledgerHead: ledgerHeadOf(last) },
    };
    return { packageId: toHex(packageId), acknowledgement: toBase64url(await signPackageAck(ack, this.self.signer)), ledger: this.pending };
  }

  /** Gets its share, the package, imports it and tells the server (R57–R64). */
  async begin(jobId: string, count: number, scrapAllowance = 0): Promise<PackagePayload> {
    await this.plant.ask('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: this.uid, count, scrapAllowance });
    const file = (await this.plant.call('pia', 'POST', `/v1/jobs/${jobId}/allotments/${this.uid}/export`)).bytes;
    this.payload = await this.open(file);
    await this.append(this.entry('import'));
    await this.ask('imports', await this.notice(file));
    this.acknowledged = this.records.length;
    return this.payload;
  }

  async reserveRequest(uid: string) {
    await this.append(this.entry('reserve', { uid: fromHex(uid) }));
    return { jobId: this.jobId, uid, productId: 7, ledger: this.pending };
  }

  async reserve(chip: Chip): Promise<void> {
    chip.use(await this.ask('units', await this.reserveRequest(chip.party.uid)));
    this.acknowledged = this.records.length;
  }

  /** The steps of one unit before commit, by name, each as one request. */
  steps(chip: Chip): Readonly<Record<UnitStep, () => Promise<Body>>> {
    const unit = (name: string, body: unknown = {}) => this.ask(`units/${chip.grantId}/${name}`, body);
    return {
      csr: async () => chip.certified(await unit('csr', { csr: csrOf(chip.party, chip.objId) })),
      bootloader: async () => chip.gotBootloader(await unit('bootloader', chip.certificateProof())),
      'application-key': () => unit('application-key', chip.bootProof()),
      application: async () => chip.gotApplication(await unit('application', await this.applicationRequest(chip))),
    };
  }

  /** @param other instead of what the chip itself would show */
  async applicationRequest(chip: Chip, other: { readonly receipt?: string; readonly evidence?: string } = {}) {
    const { receipt = await chip.receipt('NuSEC lock receipt'), evidence = await chip.session() } = other;
    return { jobId: this.jobId, uid: chip.party.uid, objId: chip.objId, receipt, evidence };
  }

  async commitRequest(chip: Chip) {
    const receipt = await chip.receipt('NuSEC commit receipt');
    await this.append(
      this.entry('commit', { uid: fromHex(chip.party.uid), grantId: fromHex(chip.grantId), receiptSha256: sha256(fromBase64url(receipt)) }),
    );
    return { receipt, ledger: this.pending };
  }

  async commit(chip: Chip): Promise<Body> {
    const answer = await this.ask(`units/${chip.grantId}/commit`, await this.commitRequest(chip));
    this.acknowledged = this.records.length;
    return answer;
  }

  async voidRequest(chip: Chip, otpTouched: boolean) {
    await this.append(this.entry('void', { uid: fromHex(chip.party.uid), grantId: fromHex(chip.grantId), reason: 'test' }));
    return { reason: 'test', otpTouched, ledger: this.pending };
  }

  async voidUnit(chip: Chip, otpTouched: boolean): Promise<Body> {
    const answer = await this.ask(`units/${chip.grantId}/void`, await this.voidRequest(chip, otpTouched));
    this.acknowledged = this.records.length;
    return answer;
  }

  /** Everything up to (not with) the named step; all of it without a name. */
  async build(chip: Chip, until?: UnitStep | 'commit'): Promise<void> {
    await this.reserve(chip);
    for (const [name, step] of Object.entries(this.steps(chip))) {
      if (name === until) return;
      await step();
    }
    if (until !== 'commit') await this.commit(chip);
  }

  async zeroise(): Promise<Body> {
    await this.append(this.entry('zeroise'));
    return this.ask(`jobs/${this.jobId}/zeroise`, { ledger: this.pending });
  }
}

/** A target: its key, and what it would prove. */
export class Chip {
  readonly party: Party;
  grantId = '';
  objId = '';
  grant = new Uint8Array();
  certificate = new Uint8Array();
  chain: Uint8Array[] = [];
  bootloader: Body;
  application: Body;
  /** What its receipts say besides. */
  facts: Parameters<typeof receiptOf>[2] = {};

  constructor(party = newParty(newUid())) {
    this.party = party;
  }

  use({ grantId, objId, grant }: Body): void {
    this.grantId = grantId;
    this.objId = objId;
    this.grant = fromBase64url(grant) as Uint8Array<ArrayBuffer>;
  }

  certified(answer: Body): Body {
    this.certificate = fromBase64url(answer.certificate) as Uint8Array<ArrayBuffer>;
    this.chain = [answer.root, answer.ica, answer.certificate].map(fromBase64url);
    return answer;
  }

  gotBootloader(answer: Body): Body {
    this.bootloader = answer;
    return answer;
  }

  gotApplication(answer: Body): Body {
    this.application = answer;
    return answer;
  }

  certificateProof() {
    return { certificateSha256: toHex(sha256(this.certificate)) };
  }

  bootProof() {
    const point = fromBase64url(this.bootloader.publicKey).slice(-65);
    const otp = [point.slice(1, 33), point.slice(33)].map((value, slot) => ({ slot, sha256: toHex(sha256(value)) }));
    return { otp, imageHash: this.bootloader.imageHash };
  }

  async receipt(
    label: 'NuSEC lock receipt' | 'NuSEC commit receipt' | 'NuSEC void receipt',
    facts: Parameters<typeof receiptOf>[2] = {},
  ): Promise<string> {
    const nonce = sha256(concat(utf8(label), fromHex(this.grantId))).slice(0, 16);
    const isCommit = label === 'NuSEC commit receipt';
    const { version, imageHash, securityCounter } = this.application ?? {
      version: '0.0.0',
      imageHash: '00'.repeat(32),
      securityCounter: 0,
    };
    const app = { image: 2, version: parseVersion(version), sha256: fromHex(imageHash), securityCounter };
    return receiptOf(this.party, nonce, {
      objId: fromHex(this.objId),
      stage: isCommit ? 'app' : 'bl2',
      images: isCommit ? [app] : [],
      certificateSha256: sha256(this.certificate),
      ...this.facts,
      ...facts,
    });
  }

  /** A real SPDM session with this chip as responder. @param nonce instead of the one that the grant gives */
  async session(nonce = sha256(concat(utf8('NuSEC programming session'), this.grant)), signer = this.party.signer): Promise<string> {
    const random = (length: number) => new Uint8Array(randomBytes(length));
    const responder = createResponder({
      slots: [{ certificates: this.chain, sign: signer.sign }],
      randomBytes: random,
      measurements: () => [],
    });
    const trust = () => this.party.spki.slice(-65);
    const { evidence } = await runSessionSetup({ nonce, trust, randomBytes: random }, async wire => {
      const answer = await responder.handle(wire);
      if (!answer) throw new Error('no answer');
      return answer;
    });
    return toBase64url(encodeEvidence(evidence));
  }
}
