import { equalBytes, toHex } from '../../../src/bytes.ts';
import { array, bytesUpTo, type CodecType, decodeAs, encodeAs, field, optionalField, record, uint } from '../../../src/cbor/schema.ts';
import { rawToDer } from '../../../src/ecdsa.ts';
import { NusecError } from '../../../src/errors.ts';
import { maxCertificateBytes } from '../../../src/pki/certificate.ts';
import { checkChain } from '../../../src/pki/chain.ts';
import { assembleCsr, buildCertificationRequestInfo } from '../../../src/pki/csr.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { ldevidUnit } from '../../../src/pki/profiles.ts';
import type { Chip } from '../../chip/chip.ts';
import { authKeySlot } from '../../chip/keyStore.ts';
import { isOfEarlierGeneration } from '../../chip/nextGeneration.ts';
import type { Trust } from '../../chip/trust.ts';
import { recordedIn } from '../../link/knownIssuers.ts';

/** The operational identity of a device (LDevID): a key of its own in slot 1 or 2 of the KeyStore and its certificate in flash, beside the identity
 *  of its production (IDevID, slot 0), which stays. The next one is made in the slot that is free. Each step is one write, and a key is discarded
 *  only when flash names it no more, so that a power cut anywhere leaves an identity that works and a step that can be taken again. */

const slots = [1, 2] as const;

const kept = record({
  slot: field(1, uint(slots[1], slots[0])),
  /** Leaf and issuer, DER; none while the certificate is still asked for. */
  chain: optionalField(2, array(bytesUpTo(maxCertificateBytes), 2, 2)),
});
type Kept = CodecType<typeof kept>;
type Certified = Required<Kept>;

/** `ldevid`: in use. `ldevidNext`: asked for, or there and not yet tried. */
const names = { present: 'ldevid', next: 'ldevidNext' } as const;

function load({ data, keyStore }: Chip, name: string): Kept | undefined {
  const bytes = data.get(name);
  const identity = bytes && decodeAs(kept, bytes);
  return identity && (identity.chain === undefined || keyStore.publicKey(identity.slot)) ? identity : undefined;
}

const isCertified = (identity: Kept | undefined): identity is Certified => identity?.chain !== undefined;

/** At each start: identities of an earlier generation are not the device's any more, and keys that flash does not name are what a cut left. */
export function discardLeftKeys(chip: Chip): void {
  for (const name of [names.present, names.next]) {
    const leaf = load(chip, name)?.chain?.[0];
    if (leaf && isOfEarlierGeneration(chip, leaf)) chip.data.remove(name);
  }
  const named = [names.present, names.next].map(name => load(chip, name)?.slot);
  for (const slot of slots) if (!named.includes(slot)) chip.keyStore.discard(slot);
}

/** Whether a request was begun and has no result yet. */
export const isUnderWay = (chip: Chip): boolean => load(chip, names.next) !== undefined;
export const hasNextCertificate = (chip: Chip): boolean => isCertified(load(chip, names.next));
export const hasOperational = (chip: Chip): boolean => isCertified(load(chip, names.present));

/** A request for a fresh key; begun before, for the same key again. @returns PKCS#10 DER, with own UID and registration id as its subject */
export async function nextRequest(chip: Chip): Promise<Uint8Array> {
  const { slot } = load(chip, names.next) ?? begin(chip);
  const publicKeyPoint = chip.keyStore.publicKey(slot) ?? chip.keyStore.generate(slot);
  const cri = buildCertificationRequestInfo({ subject: { ...subjectOf(chip), organizationalUnit: ldevidUnit }, publicKeyPoint });
  return assembleCsr(cri, rawToDer(await chip.keyStore.sign(slot, cri)));
}

function begin(chip: Chip): Kept {
  const slot = load(chip, names.present)?.slot === slots[0] ? slots[1] : slots[0];
  chip.data.put(names.next, encodeAs(kept, { slot }));
  chip.sync();
  return { slot };
}

/** Keeps the certificate that came, when it is for the key that was made, for this device, and from an issuer the device trusts.
 *  @throws NusecError CHAIN_REFUSED (foreign, not asked for, another key or device) */
export function keepCertificate(chip: Chip, trust: Trust, chain: readonly Uint8Array[]): void {
  const asked = load(chip, names.next);
  const key = asked && chip.keyStore.publicKey(asked.slot);
  if (!key || chain.length !== 2) throw new NusecError('CHAIN_REFUSED', 'not asked for, or without its issuer');
  const { roots, bundle } = trust;
  const leaf = checkChain(chain, { roots, now: undefined, purpose: 'device', uid: toHex(chip.uid), recorded: recordedIn(bundle) });
  const isMine = leaf.point && equalBytes(leaf.point, key) && leaf.subject.commonName === subjectOf(chip).commonName;
  if (!isMine) throw new NusecError('CHAIN_REFUSED', 'the certificate is not for the key and registration of this device');
  chip.data.put(names.next, encodeAs(kept, { slot: asked.slot, chain }));
  chip.sync();
}

/** The server has accepted the next certificate: it takes the place of the one before. */
export function acceptNext(chip: Chip): void {
  const [present, next] = [load(chip, names.present), load(chip, names.next)];
  if (!isCertified(next)) return;
  chip.data.putAll({ [names.present]: encodeAs(kept, next), [names.next]: undefined });
  chip.sync();
  if (present) chip.keyStore.discard(present.slot);
}

/** The server does not want the request or the certificate: the next attempt starts again. */
export function dropNext(chip: Chip): void {
  const next = load(chip, names.next);
  if (!next) return;
  chip.data.remove(names.next);
  chip.sync();
  chip.keyStore.discard(next.slot);
}

export type Who = 'idevid' | 'ldevid' | 'ldevidNext';

/** Mutual TLS as this identity, believing these roots. @returns undefined when the chip does not have it */
export function tlsOf(chip: Chip, who: Who, { roots }: Pick<Trust, 'roots'>) {
  const identity = identityOf(chip, who);
  if (!identity || !chip.keyStore.publicKey(identity.slot)) return undefined;
  const pem = (ders: readonly Uint8Array[]): string => ders.map(der => toPem('CERTIFICATE', der)).join('');
  return { secureContext: chip.keyStore.secureContext(identity.slot, { cert: pem(identity.chain), ca: pem(roots) }) };
}

/** Serial number of its certificate, hex; undefined when there is none. */
export function serialOf(chip: Chip, who: Who): string | undefined {
  const leaf = identityOf(chip, who)?.chain[0];
  return leaf && parseCertificate(leaf).serialHex;
}

function identityOf(chip: Chip, who: Who): Certified | undefined {
  const identity = who === 'idevid' ? producedIdentity(chip) : load(chip, who);
  return isCertified(identity) ? identity : undefined;
}

function producedIdentity({ data }: Chip): Certified | undefined {
  const [own, ica] = [data.get('deviceCertificate'), data.get('icaCertificate')];
  return own && ica && { slot: authKeySlot, chain: [own, ica] };
}

function subjectOf(chip: Chip): { readonly commonName: string; readonly serialNumber: string } {
  const objId = chip.data.get('objId');
  if (!objId) throw new NusecError('DEVICE_STATE', 'the device is not registered');
  return { commonName: toHex(objId), serialNumber: toHex(chip.uid) };
}
