import { equalBytes } from '../../src/bytes.ts';
import { array, bytesUpTo, decodeAs, encodeAs } from '../../src/cbor/schema.ts';
import { sha256 } from '../../src/digest.ts';
import { NusecError } from '../../src/errors.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import { maxTrustBundleBytes, type TrustBundle } from '../../src/production/trustBundle.ts';
import { verifiedBy } from '../link/trustBundles.ts';
import type { Chip } from './chip.ts';

/** What a device trusts (RULE-16, T14). It begins with the root certificate whose hash is in OTP. A trust bundle signed by a trusted root takes
 *  its place: from then on its roots are trusted, and no others. Flash keeps the newest bundle and those older ones that lead from the OTP to the
 *  root that signed it; all of them are verified each time, so flash alone makes nothing trusted: what is not
 *  connected with the OTP link by link is as if it were not there, and the server gives it again. */

export type Trust = {
  /** The newest; undefined before production gave one. */
  readonly bundle: TrustBundle | undefined;
  /** Certificates that are trusted, DER, oldest first. */
  readonly roots: readonly Uint8Array[];
};

const bundleName = 'bundle';
/** Bundles on the way to the newest one, oldest first; left out while the root in OTP signs that itself. */
const pathName = 'bundlePath';
const maxPath = 8;
const path = array(bytesUpTo(maxTrustBundleBytes), maxPath);

/** @throws NusecError CHAIN_REFUSED (no root certificate, or not the one in OTP) */
export async function trustOf(chip: Chip): Promise<Trust> {
  const steps = await stepsOf(chip);
  const bundle = steps.at(-1)?.bundle;
  return { bundle, roots: bundle?.roots ?? [firstRootOf(chip)] };
}

/** The newest bundle, for whatever its keys signed. @throws NusecError ORDER_REFUSED when the device has none, or not its root */
export async function trustBundleOf(chip: Chip): Promise<TrustBundle> {
  const bundle = isPinned(chip, chip.data.get('rootCertificate')) ? (await trustOf(chip)).bundle : undefined;
  if (!bundle) throw new NusecError('ORDER_REFUSED', 'the device has no trust bundle');
  return bundle;
}

/** Takes a bundle that a trusted root signed. It is in flash, as a whole, when this returns; a cut before that leaves the one there was. The same
 *  version again changes nothing.
 *  @throws NusecError COSE_MALFORMED, CBOR_MALFORMED, COSE_SIGNATURE, ROLLBACK (an older version, once the device is deployed), CHAIN_REFUSED */
export async function takeBundle(chip: Chip, bytes: Uint8Array): Promise<Trust> {
  // In production the programmer's bundle counts, whatever an attempt before it left.
  const steps = chip.lifeCycle() === 'manufacture' ? [] : await stepsOf(chip);
  const present = steps.at(-1)?.bundle;
  const levels = [[firstRootOf(chip)], ...steps.map(step => step.bundle.roots)];
  const next = await verifiedBy(bytes, levels.at(-1) ?? []);
  if (present && next.version < present.version)
    throw new NusecError('ROLLBACK', `version ${next.version} is older than ${present.version}`);
  if (present?.version === next.version) return { bundle: present, roots: present.roots };
  const length = await shortestPath(bytes, levels);
  const older = steps.slice(0, length).map(step => step.bytes);
  chip.data.putAll({ [bundleName]: bytes, [pathName]: older.length === 0 ? undefined : encodeAs(path, older) });
  chip.sync();
  return { bundle: next, roots: next.roots };
}

type Step = { readonly bytes: Uint8Array; readonly bundle: TrustBundle };

async function stepsOf(chip: Chip): Promise<readonly Step[]> {
  return (await follow(firstRootOf(chip), chip).catch(notOurs)) ?? [];
}

/** @throws NusecError COSE_SIGNATURE (the roots of one did not sign the next), COSE_MALFORMED, CBOR_MALFORMED */
async function follow(first: Uint8Array, { data }: Chip): Promise<readonly Step[]> {
  const [older, newest] = [data.get(pathName), data.get(bundleName)];
  const steps: Step[] = [];
  for (const bytes of [...(older ? decodeAs(path, older) : []), ...(newest ? [newest] : [])])
    steps.push({ bytes, bundle: await verifiedBy(bytes, steps.at(-1)?.bundle.roots ?? [first]) });
  return steps;
}

/** How many of the steps are needed before the roots of the next level sign this bundle. */
async function shortestPath(bytes: Uint8Array, levels: readonly (readonly Uint8Array[])[]): Promise<number> {
  for (const [length, roots] of levels.entries()) {
    if ((await verifiedBy(bytes, roots).catch(notOurs)) !== undefined) return length;
  }
  return levels.length - 1;
}

function notOurs(error: unknown): undefined {
  if (!(error instanceof NusecError)) throw error;
}

/** The root certificate in flash; the one whose hash is in OTP once that is burned. */
function firstRootOf(chip: Chip): Uint8Array {
  const root = chip.data.get('rootCertificate');
  if (!isPinned(chip, root)) throw new NusecError('CHAIN_REFUSED', 'the root certificate in flash is not the one in OTP');
  return root;
}

function isPinned({ otp }: Chip, root: Uint8Array | undefined): root is Uint8Array {
  if (!root) return false;
  const { slot } = otpMap.rootCaHash;
  return otp.slot(slot) !== 'burned' || equalBytes(otp.read(slot), sha256(root));
}
