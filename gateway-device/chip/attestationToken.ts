import { randomBytes } from 'node:crypto';
import { concat, utf8 } from '../../src/bytes.ts';
import { p256Spki } from '../../src/cose/publicKey.ts';
import { sha256 } from '../../src/digest.ts';
import { formatVersion } from '../../src/domain/version.ts';
import { instanceIdOf, type LifeCycle, type SoftwareComponent } from '../../src/eat/psaClaims.ts';
import { signToken } from '../../src/eat/psaToken.ts';
import { NusecError } from '../../src/errors.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import type { StageContext } from './board.ts';
import type { Chip } from './chip.ts';
import { authKeySlot } from './keyStore.ts';

/** PSA attestation tokens of a virtual chip (RFC 9783), as TF-M gives them: signed by the AUTH key, measured by the boot chain. */

/** The application asks for them: a client of the NSPE. */
const clientId = -1;
const sha256Name = 'sha-256';

/** What gives tokens with a nonce of 32 bytes. */
export type TokenSource = (context: StageContext) => (nonce: Uint8Array) => Promise<Uint8Array>;

const bootSeedBytes = 32;

/** Tokens of one start: they have one boot seed. */
export const tokenSource: TokenSource = context => {
  const bootSeed = new Uint8Array(randomBytes(bootSeedBytes));
  return nonce => attestationToken(context, nonce, bootSeed);
};

/** @param nonce 32 bytes @param bootSeed 32 bytes, another one after each start @throws NusecError KEY_NOT_FOUND on a chip without a key */
async function attestationToken({ chip, boot }: StageContext, nonce: Uint8Array, bootSeed: Uint8Array): Promise<Uint8Array> {
  const point = chip.keyStore.publicKey(authKeySlot);
  if (point === undefined) throw new NusecError('KEY_NOT_FOUND', 'the chip has no key that signs tokens');
  const claims = {
    nonce,
    clientId,
    instanceId: instanceIdOf(point),
    implementationId: implementationIdOf(chip),
    lifeCycle: lifeCycleOf(chip),
    components: componentsOf(chip, boot),
    bootSeed,
  };
  return signToken(claims, input => chip.keyStore.sign(authKeySlot, input));
}

/** The same for all chips of a product. */
const implementationIdOf = ({ productId }: Chip): Uint8Array => sha256(utf8(`NuSEC virtual MCU ${productId}`));

function lifeCycleOf(chip: Chip): LifeCycle {
  const [stage, debug] = [chip.lifeCycle(), chip.debugState()];
  if (stage === 'decommissioned') return 'decommissioned';
  if (debug === 'unlocked') return 'nonPsaRotDebug';
  return stage === 'deployed' && debug === 'locked' ? 'secured' : 'assemblyAndTest';
}

function componentsOf({ otp }: Chip, { bl2, app }: StageContext['boot']): readonly SoftwareComponent[] {
  const { bootKeyX, bootKeyY, applicationKeyHash } = otpMap;
  const bootKey = p256Spki(concat(Uint8Array.of(0x04), otp.read(bootKeyX.slot), otp.read(bootKeyY.slot)));
  const image = (type: string, booted: typeof bl2, signerId: Uint8Array): readonly SoftwareComponent[] =>
    booted === undefined
      ? []
      : [{ type, value: booted.imageHash, version: formatVersion(booted.version), signerId, description: sha256Name }];
  return [...image('BL', bl2, sha256(bootKey)), ...image('App', app, otp.read(applicationKeyHash.slot))];
}
