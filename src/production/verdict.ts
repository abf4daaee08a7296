import { equalBytes } from '../bytes.ts';
import { type CodecType, field, oneOf, optionalField, record, text, uint } from '../cbor/schema.ts';
import type { KeyResolver } from '../cose/sign1.ts';
import { NusecError } from '../errors.ts';
import type { Seconds } from '../times.ts';
import { hash32, id16, timeSeconds, u8, u32, uid } from './fields.ts';
import { type SignedFormat, type Signer, signAs, verifyAs } from './signed.ts';

/** Verdict: what a gateway found when it attested a device behind it (R84), signed with the gateway's key. */

const verdict = record({
  gateway: field(1, text(64)),
  uid: field(2, uid),
  /** The nonce that the cloud gave for this attestation: a gateway can relay but not lie about freshness. */
  nonce: field(3, id16),
  verdict: field(4, oneOf({ passed: 1, failed: 2, unreachable: 3 })),
  /** SPDM version byte, such as 0x12 (DSP0274 §10.1). */
  spdmVersion: optionalField(5, u8),
  transcriptSha256: optionalField(6, hash32),
  measurementSha256: optionalField(7, hash32),
  /** The trust bundle that the gateway judged with. */
  bundleVersion: field(8, u32),
  timeSeconds: field(9, timeSeconds),
  /** Rises with every verdict of this gateway. */
  sequence: field(10, uint()),
});
export type GatewayVerdict = CodecType<typeof verdict>;

const format: SignedFormat<GatewayVerdict> = { type: 'application/nusec-verdict', codec: verdict };

export const signVerdict = (value: GatewayVerdict, signer: Signer): Promise<Uint8Array> => signAs(format, value, signer);

export type ExpectedVerdict = Pick<GatewayVerdict, 'gateway' | 'uid' | 'nonce'> & {
  /** Of the evidence that came with the verdict. */
  readonly transcriptSha256: Uint8Array;
  /** Only a sequence above it is accepted. */
  readonly lastSequence: number;
  /** What the gateway said it has when it was asked, and the newest there is. */
  readonly bundleVersions: { readonly least: number; readonly newest: number };
  readonly nowSeconds: Seconds;
};

/** A gateway's clock judges when certificates end: it need not be right, but of this day. */
const maxClockDifferenceSeconds = 24 * 3600;

/** @param expected who was asked about which device, with which nonce, and what came with the answer
 *  @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED, ATTESTATION_FAILED (a verdict about something else, or an old one) */
export async function verifyVerdict(bytes: Uint8Array, expected: ExpectedVerdict, gatewayKeys: KeyResolver): Promise<GatewayVerdict> {
  const value = await verifyAs(format, bytes, gatewayKeys);
  const flaw = flawOf(value, expected);
  if (flaw !== undefined) throw new NusecError('ATTESTATION_FAILED', flaw);
  return value;
}

function flawOf(value: GatewayVerdict, expected: ExpectedVerdict): string | undefined {
  const isAnswer = value.gateway === expected.gateway && equalBytes(value.uid, expected.uid) && equalBytes(value.nonce, expected.nonce);
  if (!isAnswer) return 'the verdict answers something else';
  if (value.sequence <= expected.lastSequence)
    return `the verdict has sequence ${value.sequence}, and ${expected.lastSequence} came before`;
  const { transcriptSha256 } = value;
  if (transcriptSha256 === undefined || !equalBytes(transcriptSha256, expected.transcriptSha256))
    return 'the verdict is about other evidence';
  const { least, newest } = expected.bundleVersions;
  if (value.bundleVersion < least || value.bundleVersion > newest)
    return `the verdict was made with trust bundle ${value.bundleVersion}, not ${least} to ${newest}`;
  const awaySeconds = Math.abs(value.timeSeconds - expected.nowSeconds);
  return awaySeconds > maxClockDifferenceSeconds ? `the clock of the gateway is ${awaySeconds} s away from ours` : undefined;
}
