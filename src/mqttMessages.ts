import { totalBytes } from './bytes.ts';
import {
  array,
  bytes,
  bytesUpTo,
  type CodecType,
  encodePartsAs,
  field,
  nullable,
  oneOf,
  optionalField,
  record,
  text,
  uint,
} from './cbor/schema.ts';
import { maxTokenBytes } from './eat/psaToken.ts';
import { maxBlocksPerRequest } from './ota/blockPlan.ts';
import { blockTagBytes } from './ota/blocks.ts';
import { maxBlockBytes } from './ota/otaJob.ts';
import { maxCertificateBytes } from './pki/certificate.ts';
import { maxCsrBytes } from './pki/csr.ts';
import { hash32, id16, u32, uid } from './production/fields.ts';
import { maxTrustBundleBytes, maxTrustedRoots } from './production/trustBundle.ts';

/** What travels on the topics of mqttTopics.ts: deterministic CBOR maps with integer keys, 0 = cid (docs/mqtt.md). Both ends read and write
 *  them with `decodeAs` and `encodeAs`; whatever does not fit is CBOR_MALFORMED. */

/** Chosen by the asker; the answer contains it, and a repeat of the question has the same one. */
const cid = uint();

const maxSpdmBytes = 64 * 1024;
const maxSignedBytes = 96 * 1024;
/** Evidence, which leaves room for the verdict in one message. */
export const maxRelayedEvidenceBytes = 120 * 1024;
const maxSignatureNames = 8;
/** An ML-DSA-87 key has 2592 bytes. */
const maxPublicKeyBytes = 4096;
/** A reason code of the device, such as `rollback` or `signature-invalid`. */
const reason = text(64);

const bundleVersion = u32;
/** SHA-256 of root certificates (DER), those it would rather have a bundle signed by first. */
const trustedRoots = array(hash32, maxTrustedRoots, 1);

/** up/hello: the first message of every connection. `imageState` testing: the image runs for the first time and is not confirmed. */
export const helloMessage = record({
  cid: field(0, cid),
  /** `1.2.3` or `1.2.3+4` */
  version: field(1, text(24)),
  securityCounter: field(2, u32),
  imageHash: field(3, hash32),
  bootCount: field(4, u32),
  imageState: field(5, oneOf({ confirmed: 0, testing: 1 })),
  objId: field(6, id16),
  /** Only of a device that follows trust bundles: the version it has, 0 for none, and the roots it trusts. */
  bundleVersion: optionalField(7, bundleVersion),
  roots: optionalField(8, trustedRoots),
});

/** dn/spdm and up/spdm: type byte 05 (clear) or 06 (secured) ‖ one SPDM message. */
export const spdmMessage = record({ cid: field(0, cid), data: field(1, bytesUpTo(maxSpdmBytes, 2)) });

/** dn/eat: the server asks for a PSA attestation token with its nonce. */
export const eatQuestion = record({ cid: field(0, cid), nonce: field(1, bytes(32)) });

/** up/eat: the token, or null and why there is none now. */
export const eatAnswer = record({
  cid: field(0, cid),
  token: field(1, nullable(bytesUpTo(maxTokenBytes))),
  error: optionalField(2, reason),
});

/** up/job/next */
export const jobQuestion = record({ cid: field(0, cid) });

/** dn/job: the signed job, null when there is none now. Without a cid when the server speaks first. `cancelled`: a job that has ended and is to be
 *  forgotten, if the device still has it. */
export const jobMessage = record({
  cid: optionalField(0, cid),
  job: field(1, nullable(bytesUpTo(maxSignedBytes))),
  cancelled: optionalField(2, id16),
});

/** up/job/{otaJobId}. `testing`: the device restarts into the new image. */
export const jobStatusMessage = record({
  cid: field(0, cid),
  status: field(1, oneOf({ downloading: 1, written: 2, testing: 3, failed: 4, refused: 5 })),
  reason: optionalField(2, reason),
  version: optionalField(3, text(24)),
});
export type JobStatusMessage = CodecType<typeof jobStatusMessage>;

/** up/ota/{otaJobId}, QoS 0: a run of blocks. `blockBytes` is the one of the job. */
export const otaQuestion = record({
  cid: field(0, cid),
  first: field(1, u32),
  count: field(2, uint(maxBlocksPerRequest, 1)),
  blockBytes: field(3, uint(maxBlockBytes, 1)),
});

/** dn/ota, QoS 0: one block, sealed under the block key of the job. */
export const otaBlock = record({
  cid: field(0, cid),
  otaJobId: field(1, id16),
  index: field(2, u32),
  sealed: field(3, bytesUpTo(maxBlockBytes + blockTagBytes, blockTagBytes + 1)),
});

/** The longest sealed block, of zeros. */
const placeholder = new Uint8Array(maxBlockBytes + blockTagBytes);

/** The same message in parts: what is sealed is its last field, and is not copied. */
export function otaBlockParts(fields: Omit<CodecType<typeof otaBlock>, 'sealed'>, sealed: readonly Uint8Array[]): readonly Uint8Array[] {
  const sealedBytes = totalBytes(sealed);
  const parts = encodePartsAs(otaBlock, { ...fields, sealed: placeholder.subarray(0, sealedBytes) });
  const [first = placeholder] = parts;
  return [first.subarray(0, totalBytes(parts) - sealedBytes), ...sealed];
}

/** dn/order: a signed order. */
export const orderMessage = record({ cid: field(0, cid), order: field(1, bytesUpTo(maxSignedBytes)) });

/** up/order: the signed receipt, or null and why not. */
export const orderReply = record({
  cid: field(0, cid),
  receipt: field(1, nullable(bytesUpTo(maxSignedBytes))),
  error: optionalField(2, reason),
});

/** dn/trust: a trust bundle, COSE_Sign1 by a root the device named. */
export const trustMessage = record({ cid: field(0, cid), bundle: field(1, bytesUpTo(maxTrustBundleBytes)) });

/** up/trust: what the device trusts after it; `error`: why it did not take the bundle. */
export const trustReply = record({
  cid: field(0, cid),
  bundleVersion: field(1, bundleVersion),
  roots: field(2, trustedRoots),
  error: optionalField(3, reason),
});

/** up/csr: PKCS#10 for an operational certificate (LDevID), DER. */
export const csrMessage = record({ cid: field(0, cid), csr: field(1, bytesUpTo(2 * maxCsrBytes)) });

/** dn/crt: the certificate and its issuer, DER, leaf first. Null, without a cid, when the server speaks first: it is time to ask for the one that
 *  follows the certificate with this serial number. */
export const certificateMessage = record({
  cid: optionalField(0, cid),
  chain: field(1, nullable(array(bytesUpTo(maxCertificateBytes), 2, 2))),
  serial: optionalField(2, bytes(16)),
});

/** n1/g/{gateway}/dn/attest: attest this device with the server's nonce. What its line asks for is there where it is not the default. */
export const attestMessage = record({
  cid: field(0, cid),
  uid: field(1, uid),
  nonce: field(2, bytes(32)),
  /** SPDMVersion byte. */
  leastVersion: optionalField(3, uint(0x14, 0x10)),
  signatures: optionalField(4, array(text(16), maxSignatureNames, 1)),
  /** SubjectPublicKeyInfo by which a device without certificates is known. */
  publicKey: optionalField(5, bytesUpTo(maxPublicKeyBytes)),
  /** What the device is to prove itself with; messages of SPDM when absent. A token is verified with `publicKey`. */
  evidence: optionalField(6, oneOf({ 'psa-token': 1 })),
});

/** Serial numbers in one bundle message; with the largest bundle it stays within `maxPayloadBytes`. */
export const maxRevokedTold = 3000;

/** n1/g/{gateway}/dn/bundle: what the gateway judges with from now on, whole each time. `bundle`: COSE_Sign1 by its root; `revoked`: serial
 *  numbers of the certificates of its devices that are revoked or on hold. */
export const bundleMessage = record({
  cid: field(0, cid),
  bundle: field(1, bytesUpTo(maxTrustBundleBytes)),
  revoked: field(2, array(bytes(16), maxRevokedTold)),
});

/** n1/g/{gateway}/{uid}/up/evidence: what the device signed, and the gateway's signed verdict. Null when the device did not answer. */
export const evidenceMessage = record({
  cid: field(0, cid),
  evidence: field(1, nullable(bytesUpTo(maxRelayedEvidenceBytes))),
  verdict: field(2, bytesUpTo(4096)),
  error: optionalField(3, reason),
});
