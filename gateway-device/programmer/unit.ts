import { concat, equalBytes, fromBase64url, fromHex, utf8 } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { type ImageInfo, verifyImage } from '../../src/ota/verify.ts';
import type { DevAuthHost } from '../../src/production/devauth/host.ts';
import type { PackagePayload } from '../../src/production/package.ts';
import type { Evidence } from '../../src/spdm/evidence.ts';
import type { SpdmSession } from '../../src/spdm/session.ts';
import { fromServer } from './blame.ts';
import type { Core } from './core.ts';
import type { ProgrammerIdentity } from './identity.ts';
import { type JobState, jobOf, type UnitFacts, type UnitState, withUnit } from './nvm.ts';
import type { Patience } from './patience.ts';
import type { ApplicationOffer, BootloaderOffer, ImageOffer, ServerApi } from './serverApi.ts';
import type { FoundTarget, Hello, Target } from './target.ts';

/** One unit under way: its journal, the parts that work on it, and what must be there again after a cut. */
export type Unit = UnitRef & {
  readonly identity: ProgrammerIdentity;
  readonly server: ServerApi;
  readonly payload: PackagePayload;
  readonly target: Target;
  readonly found: FoundTarget;
  /** How long the server is waited for. */
  readonly patience: Patience;
  /** Lost at a cut or failure and set up again: steps 4–10 need DevAuth, 12–14 the session, 8 and 14 what the server gave before, 16 needs nothing. */
  live: Live;
};

type Live = {
  devAuth?: Hello;
  bootloader?: BootloaderOffer;
  session?: { readonly hello: Hello; readonly host: DevAuthHost; readonly session: SpdmSession; readonly evidence: Evidence };
  /** Of the bootloader, by the certified key. */
  lockReceipt?: Uint8Array;
  application?: ApplicationOffer;
};

export type Step = {
  /** Number in docs/production.md. */
  readonly k: number;
  readonly name: string;
  /** ★: written down before it begins. */
  readonly starred: boolean;
  readonly needs?: 'devauth' | 'session';
  readonly run: (unit: Unit) => Promise<void>;
};

/** A unit by its chip. */
export type UnitRef = { readonly core: Core; readonly uidHex: string };

/** @throws NusecError STATE when no such unit is under way */
export function journalOf({ core, uidHex }: UnitRef): UnitState {
  const unit = core.nvm.state().units[uidHex];
  if (!unit) throw new NusecError('STATE', 'no such unit is under way');
  return unit;
}

export const jobOfUnit = (unit: UnitRef): JobState => jobOf(unit.core.nvm.state(), journalOf(unit).jobId);

/** Writes down what a step found out; durable when it returns. */
export function learn({ core, uidHex }: UnitRef, facts: UnitFacts): void {
  core.nvm.update(state => {
    const unit = state.units[uidHex];
    return unit ? withUnit(state, { ...unit, facts: { ...unit.facts, ...facts } }) : state;
  });
}

/** A fact of an earlier step. @throws NusecError STATE */
export function fact<N extends keyof UnitFacts>(unit: UnitRef, name: N): NonNullable<UnitFacts[N]> {
  const value = journalOf(unit).facts[name];
  if (value === undefined) throw new NusecError('STATE', `the journal has no ${name}`);
  return value;
}

type BytesFact = { [N in keyof UnitFacts]-?: NonNullable<UnitFacts[N]> extends string ? N : never }[keyof UnitFacts];

export const factBytes = (unit: UnitRef, name: BytesFact): Uint8Array => fromBase64url(fact(unit, name));
export const grantIdOf = (unit: UnitRef): string => fact(unit, 'grantId');

/** The nonces that tie receipts to this grant: anybody who knows the grant can compute them, nobody can reuse the receipt for another. */
export const receiptNonce = (label: 'NuSEC lock receipt' | 'NuSEC commit receipt' | 'NuSEC void receipt', unit: UnitRef): Uint8Array =>
  sha256(concat(utf8(label), fromHex(grantIdOf(unit)))).slice(0, 16);

/** R69, RULE-3: nothing of the firmware is asked for or written before the target has its certificate, issued for its own key. */
export function requireAuthenticated(unit: Unit): void {
  const { facts } = journalOf(unit);
  if (!facts.certificate || !facts.publicKey) throw new NusecError('DEVICE_STATE', 'no firmware before device authentication');
}

/** What both images must pass before they come near a target: named in the package (RULE-8), announced hash, floor, and signed by the key
 *  whose hash is, or will be, in OTP. Whatever the server says, these hold.
 *  @throws UnusableAnswer FIRMWARE_NOT_BOUND, ROLLBACK, IMAGE_REFUSED */
export const fetchImage = (unit: Unit, offer: ImageOffer, wanted: WantedImage): Promise<FetchedImage> =>
  fromServer(() => fetchGenuine(unit, offer, wanted));

type WantedImage = { readonly id: number; readonly keySpki: Uint8Array; readonly slotBytes: number; readonly floor: number };
type FetchedImage = { readonly bytes: Uint8Array; readonly info: ImageInfo };

async function fetchGenuine(unit: Unit, offer: ImageOffer, wanted: WantedImage): Promise<FetchedImage> {
  const listed = unit.payload.images.find(image => image.id === wanted.id && equalBytes(image.sha256, offer.bodySha256));
  if (!listed) throw new NusecError('FIRMWARE_NOT_BOUND', 'the image is not in the package');
  if (offer.bodyBytes !== listed.sizeBytes || offer.bodyBytes + offer.trailer.length > wanted.slotBytes) {
    throw new NusecError('IMAGE_REFUSED', 'the image has another size');
  }
  const hashHex = Buffer.from(offer.bodySha256).toString('hex');
  const body = await unit.core.images.body(offer.bodySha256, () => unit.server.imageBody(hashHex));
  rememberImage(unit, hashHex);
  const bytes = concat(body, offer.trailer);
  const otpKeyHash = sha256(wanted.keySpki);
  const signature = { algorithm: 'P-256', otpKeyHash } as const;
  // Production writes in clear, also what an upgrade would bring encrypted: the key is the target's.
  const verdict = verifyImage(bytes, {
    signature,
    slotBytes: wanted.slotBytes,
    slot: 'primary',
    isKeyElsewhere: true,
    uid: unit.found.uid,
  });
  if (!verdict.ok) throw new NusecError('IMAGE_REFUSED', `the image would not boot: ${verdict.reason}`);
  const counter = verdict.info.securityCounter ?? 0;
  if (counter < wanted.floor) throw new NusecError('ROLLBACK', `security counter ${counter} is below the floor ${wanted.floor}`);
  if (counter !== listed.securityCounter)
    throw new NusecError('IMAGE_REFUSED', 'the image has another security counter than the package says');
  return { bytes, info: verdict.info };
}

function rememberImage(unit: Unit, hashHex: string): void {
  const job = jobOfUnit(unit);
  if (job.images.includes(hashHex)) return;
  const images = [...job.images, hashHex];
  unit.core.nvm.update(state => ({ ...state, jobs: { ...state.jobs, [job.jobId]: { ...job, images } } }));
}
