import { equalBytes, fromHex, toHex } from '../../src/bytes.ts';
import { checkChain } from '../../src/pki/chain.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import type { PutType } from '../../src/production/devauth/identity.ts';
import { recordedIn } from '../link/knownIssuers.ts';
import type { Chip } from './chip.ts';
import { authKeySlot, nextAuthKeySlot } from './keyStore.ts';
import { trustOf } from './trust.ts';

/** The next generation of a device that returns to service: a new key, a new registration id and a certificate for both, in the place of the old
 *  ones. The boot keys in OTP stay. The new parts are kept beside the present ones; the certificate comes last, and with it all take over in one
 *  write, so a power cut leaves a device that is wholly the old one or wholly the new one. */

const names = { objId: 'nextObjId', icaCertificate: 'nextIca', rootCertificate: 'nextRoot' } as const;
/** In flash between the two writes of taking over: the key is still in its slot. */
const takingOver = 'takingOver';

const hasNextKey = ({ keyStore }: Chip): boolean => keyStore.publicKey(nextAuthKeySlot) !== undefined;

/** Keeps an object of the next generation, or takes over with its certificate.
 *  @returns whether it was one: before there is a next key nothing is
 *  @throws DevAuthError policy (not of this chip), bad-arg (unreadable); NusecError CHAIN_REFUSED (not of a trusted authority) */
export async function putNext(chip: Chip, type: PutType, object: Uint8Array): Promise<boolean> {
  if (!hasNextKey(chip) || type === 'bundle' || type === 'programmerCertificate' || type === 'unitData') return false;
  if (type === 'deviceCertificate') await takeOver(chip, object);
  else {
    if (type === 'objId') requirePolicy(object.length === 16 && !equalBytes(object, chip.data.get('objId') ?? object));
    chip.data.put(names[type], object);
  }
  return true;
}

async function takeOver(chip: Chip, certificate: Uint8Array): Promise<void> {
  const { data, keyStore } = chip;
  const trust = await trustOf(chip);
  const ica = data.get(names.icaCertificate) ?? data.get('icaCertificate');
  const root = data.get(names.rootCertificate) ?? data.get('rootCertificate');
  const objId = data.get(names.objId);
  if (!ica || !root || !objId) throw new DevAuthError('bad-state');
  const isBelieved = trust.roots.some(believed => equalBytes(believed, root));
  const recorded = recordedIn(trust.bundle);
  const leaf = checkChain([certificate, ica], { roots: [root], now: undefined, purpose: 'device', uid: toHex(chip.uid), recorded });
  const next = keyStore.publicKey(nextAuthKeySlot);
  const isMine = leaf.point !== undefined && next !== undefined && equalBytes(leaf.point, next);
  requirePolicy(isBelieved && isMine && leaf.objId !== undefined && equalBytes(fromHex(leaf.objId), objId));
  const isFirstRoot = equalBytes(root, data.get('rootCertificate') ?? new Uint8Array());
  data.putAll({
    deviceCertificate: certificate,
    icaCertificate: ica,
    identityRoot: isFirstRoot ? undefined : root,
    objId,
    [names.objId]: undefined,
    [names.icaCertificate]: undefined,
    [names.rootCertificate]: undefined,
    [takingOver]: Uint8Array.of(1),
  });
  finishTakingOver(chip);
}

/** The key follows what flash says. Also at each start: a power cut may have come in between. */
export function finishTakingOver(chip: Chip): void {
  if (!chip.data.get(takingOver)) return;
  if (hasNextKey(chip)) chip.keyStore.replace(authKeySlot, nextAuthKeySlot);
  chip.data.remove(takingOver);
  chip.sync();
}

/** Root, issuer and certificate of the device, in the order that SPDM shows them; undefined while one is missing. */
export function identityChain({ data }: Chip): readonly Uint8Array[] | undefined {
  const root = data.get('identityRoot') ?? data.get('rootCertificate');
  const [ica, own] = [data.get('icaCertificate'), data.get('deviceCertificate')];
  return root && ica && own && [root, ica, own];
}

function requirePolicy(isMine: boolean): void {
  if (!isMine) throw new DevAuthError('policy');
}

/** Whether a certificate names another registration than the device has now: it is of an earlier generation. */
export function isOfEarlierGeneration({ data }: Chip, certificate: Uint8Array): boolean {
  const objId = data.get('objId');
  return objId !== undefined && parseCertificate(certificate).subject.commonName !== toHex(objId);
}
