import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { concat, equalBytes, fromBase64url, toHex, utf8 } from '../../src/bytes.ts';
import { sha256 } from '../../src/digest.ts';
import { pointOf } from '../../src/ecKey.ts';
import { NusecError } from '../../src/errors.ts';
import { hardwareStateValue, measurementIndex } from '../../src/ota/measurementIndex.ts';
import { otpMap, publicOtp } from '../../src/production/otpMap.ts';
import { spdmVersions } from '../../src/spdm/constants.ts';
import { verifyEvidence } from '../../src/spdm/evidence.ts';
import { patience } from '../../src/spdm/requester/patience.ts';
import { runAttestation, runSessionSetup } from '../../src/spdm/requester/run.ts';
import { openSealedDevAuth, spdmOver } from '../link/devAuthClient.ts';
import { attestationOffer, judgeOf, sessionOffer, type WiredIdentity } from '../link/wiredIdentity.ts';
import { certSlotUnder } from './identity.ts';
import { type Hello, startBl2 } from './target.ts';
import { factBytes, journalOf, type Unit, type UnitRef } from './unit.ts';

/** What the target proves with its certified key before anything of worth is given to it (R50–R51, R69, T9, T11): which bootloader runs, what
 *  is in OTP, and the session. */

/** Slots 0 to 4, and 5 when the server gave the hash of an unlock password. */
export const otpMaskOf = (unit: UnitRef): number => (journalOf(unit).facts.unlock === undefined ? 0b11111 : 0b111111);

/** Step 11: BL2 starts, its measurements are those expected, a session is established. @throws NusecError DEVICE_STATE, ATTESTATION_FAILED,
 *  CHAIN_REFUSED, SPDM_SIGNATURE, SPDM_MALFORMED, SPDM_UNEXPECTED, SPDM_UNSUPPORTED, SPDM_BUSY */
export async function openSession(unit: Unit): Promise<void> {
  const hello = await startBl2(unit.target);
  if (!equalBytes(hello.uid, unit.found.uid)) throw new NusecError('DEVICE_STATE', 'another chip answers');
  await proveHardware(unit, hello);
  const { session, evidence } = await runSessionSetup(
    {
      nonce: sha256(concat(utf8('NuSEC programming session'), factBytes(unit, 'grant'))),
      uidHex: toHex(unit.found.uid),
      randomBytes: length => new Uint8Array(randomBytes(length)),
      wait: patience(sleep),
      ...sessionOffer(identityOf(unit)),
      ownSlots: [await certSlotUnder(unit.core.chip, unit.identity, factBytes(unit, 'root'))],
    },
    spdmOver(unit.target.client),
  );
  unit.live.session = { hello, session, evidence, host: openSealedDevAuth(unit.target.client, session, hello.maxBodyBytes) };
}

/** Only the very certificate that the server issued under this grant will do, whose issuing CA was judged when it came with it. */
function identityOf(unit: Unit): WiredIdentity {
  const { publicKey, ...policy } = journalOf(unit).facts.spdm ?? {};
  const spdm = { ...policy, ...(publicKey !== undefined && { publicKey: fromBase64url(publicKey) }) };
  return { certificate: factBytes(unit, 'certificate'), root: factBytes(unit, 'root'), spdm };
}

/** Signed measurements: an attacker on the wire could change a hash and its read-back while OTP was burned, but cannot sign this. */
async function proveHardware(unit: Unit, hello: Hello): Promise<void> {
  const nonce = new Uint8Array(randomBytes(32));
  const identity = identityOf(unit);
  const evidence = await runAttestation({ ...attestationOffer(identity), nonce, wait: patience(sleep) }, spdmOver(unit.target.client));
  const otpSha256 = sha256(expectedOtp(unit));
  const state = hardwareStateValue({ otpMask: otpMaskOf(unit), lifeCycle: hello.lifeCycle, debugState: hello.debugState, otpSha256 });
  const { verdict, contentChanged } = await verifyEvidence(evidence, {
    nonce,
    ...judgeOf(identity),
    versions: spdmVersions,
    uidHex: toHex(unit.found.uid),
    referenceValues: [
      { index: measurementIndex.bl2, value: factBytes(unit, 'bl2Hash') },
      { index: measurementIndex.hardwareState, value: sha256(state) },
    ],
  });
  if (verdict?.verdict !== 'pass' || contentChanged)
    throw new NusecError('ATTESTATION_FAILED', 'bootloader or OTP are not as they were written');
}

/** The public slots in order: five burned by us, the others blank. */
function expectedOtp(unit: Unit): Uint8Array {
  const point = pointOf(factBytes(unit, 'bootKey'));
  const burned: Readonly<Record<number, Uint8Array>> = {
    [otpMap.bootKeyX.slot]: point.slice(1, 33),
    [otpMap.bootKeyY.slot]: point.slice(33),
    [otpMap.applicationKeyHash.slot]: sha256(factBytes(unit, 'applicationKey')),
    [otpMap.rootCaHash.slot]: sha256(factBytes(unit, 'root')),
    [otpMap.icaHash.slot]: sha256(factBytes(unit, 'ica')),
  };
  return publicOtp(slot => burned[slot]);
}
