import { randomBytes } from 'node:crypto';
import { equalBytes, toHex } from '../../src/bytes.ts';
import { keyIdOf } from '../../src/cose/publicKey.ts';
import { sha256 } from '../../src/digest.ts';
import type { Version } from '../../src/domain/version.ts';
import { NusecError } from '../../src/errors.ts';
import { type ChainPolicy, checkChain } from '../../src/pki/chain.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import type { PutType } from '../../src/production/devauth/identity.ts';
import { type Pieces, takePiece } from '../../src/production/devauth/pieces.ts';
import type { DevAuthHandlers } from '../../src/production/devauth/responder.ts';
import { imageIds } from '../../src/production/fields.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import { type Receipt, signReceipt } from '../../src/production/receipt.ts';
import { decodeUnitObject } from '../../src/production/unitData.ts';
import { recordedIn } from '../link/knownIssuers.ts';
import type { StageContext } from './board.ts';
import type { BootedImage } from './bootloader.ts';
import { configWordsOf, otpHash } from './hardwareState.ts';
import { authKeySlot, encryptionKeySlot } from './keyStore.ts';
import { putNext } from './nextGeneration.ts';
import { takeBundle, trustOf } from './trust.ts';

/** DevAuth commands that more than one stage answers. */

/** Longest CBOR map that the chip accepts or sends; HELLO reports it. */
export const maxBodyBytes = 16 * 1024;
const objIdBytes = 16;
const noVersion: Version = { major: 0, minor: 0, revision: 0, build: 0 };

/** The nonce of the last HELLO: an order must name it, and serves once. */
export type OrderNonce = { current: Uint8Array | undefined };

/** HELLO and RESET. */
export function commonHandlers({ chip, boot, stage, resetLater }: StageContext, orderNonce: OrderNonce): DevAuthHandlers {
  return {
    hello: () => {
      orderNonce.current = new Uint8Array(randomBytes(16));
      const image = boot.app ?? boot.bl2;
      const objId = chip.data.get('objId');
      return {
        version: 1,
        stage,
        uid: chip.uid,
        productId: chip.productId,
        lifeCycle: chip.lifeCycle(),
        debugState: chip.debugState(),
        otpMask: chip.otp.mask(),
        firmwareVersion: image?.version ?? noVersion,
        securityCounter: image?.securityCounter ?? 0,
        maxBodyBytes,
        nonce: orderNonce.current,
        ...(objId && { objId }),
      };
    },
    reset: ({ mode }) => {
      resetLater(mode);
      return {};
    },
  };
}

/** OTP: burned, read back, and on the disk before the answer. */
export const otpHandler =
  ({ chip }: StageContext): NonNullable<DevAuthHandlers['otp']> =>
  ({ slot, value }) => {
    const result = chip.otp.burn(slot, value);
    if (result === 'used') throw new DevAuthError('otp-used');
    if (result === 'verify') throw new DevAuthError('otp-verify');
    return { sha256: sha256(chip.otp.read(slot)) };
  };

/** PUT: the object is accepted when it is complete and valid; it is in flash before the answer. */
export function putHandler(context: StageContext): NonNullable<DevAuthHandlers['put']> {
  let pieces: Pieces | undefined;
  return async (request, { sealed }) => {
    const taken = takePiece(pieces, request);
    pieces = taken.pieces;
    const { type } = request;
    if (taken.object) await keepObject(context, type, taken.object, sealed);
    return { nextOffset: taken.nextOffset };
  };
}

async function keepObject(context: StageContext, type: PutType, object: Uint8Array, sealed: boolean): Promise<void> {
  if (type === 'bundle') return putBundle(context, object);
  if (sealed && context.stage === 'bl2' && (await putNext(context.chip, type, object))) return;
  await checkObject(context, type, object);
  context.chip.data.put(type, object);
}

/** @throws DevAuthError bad-state (no root yet), version (older than the stored one); NusecError COSE_SIGNATURE and as takeBundle */
async function putBundle({ chip }: StageContext, bundle: Uint8Array): Promise<void> {
  if (!chip.data.get('rootCertificate')) throw new DevAuthError('bad-state');
  await takeBundle(chip, bundle).catch(error => {
    throw error instanceof NusecError && error.code === 'ROLLBACK' ? new DevAuthError('version') : error;
  });
}

/** @throws DevAuthError bad-arg for unreadable input, policy for input of another chip */
async function checkObject({ chip, boot, stage }: StageContext, type: Exclude<PutType, 'bundle'>, object: Uint8Array): Promise<void> {
  const { rootCaHash, icaHash } = otpMap;
  switch (type) {
    case 'deviceCertificate': {
      const { point, uid } = certificate(object);
      const own = chip.keyStore.publicKey(authKeySlot);
      require(own !== undefined && point !== undefined && equalBytes(point, own) && uid === toHex(chip.uid));
      if (stage !== 'devauth') await requireChain(chip, object, 'device');
      return;
    }
    case 'rootCertificate':
    case 'icaCertificate': {
      certificate(object);
      const { slot } = type === 'rootCertificate' ? rootCaHash : icaHash;
      require(chip.otp.slot(slot) !== 'burned' || equalBytes(chip.otp.read(slot), sha256(object)));
      return;
    }
    case 'programmerCertificate':
      certificate(object);
      if (stage !== 'devauth') await requireChain(chip, object, 'programmer');
      return;
    case 'objId':
      if (object.length !== objIdBytes) throw new DevAuthError('bad-arg');
      require(chip.lifeCycle() === 'manufacture' || equalBytes(chip.data.get('objId') ?? object, object));
      return;
    case 'unitData':
      unitObject(object);
      // Serial number and addresses stay those that the application began with.
      require(boot.app === undefined || equalBytes(chip.data.get('unitData') ?? object, object));
      return;
  }
}

/** Behind the lock a certificate must come from an authority that issues such: the device's own from the one in flash, whose hash is in OTP; a
 *  programmer's from one that the trust bundle names. Before the lock their order of arrival is free. */
async function requireChain(chip: StageContext['chip'], leaf: Uint8Array, purpose: 'device' | 'programmer'): Promise<void> {
  const { roots, bundle } = await trustOf(chip);
  const ica = chip.data.get('icaCertificate');
  if (!ica) throw new DevAuthError('bad-state');
  const named = (bundle?.issuers ?? []).filter(({ use }) => use === purpose).map(issuer => issuer.certificate);
  const issuers = purpose === 'device' ? [ica] : named;
  const policy = { roots, now: undefined, purpose, recorded: recordedIn(bundle) } as const;
  if (!issuers.some(issuer => isChain([leaf, issuer], policy))) throw new NusecError('CHAIN_REFUSED', `not from an issuer of a ${purpose}`);
}

function isChain(chain: readonly Uint8Array[], policy: ChainPolicy): boolean {
  try {
    return checkChain(chain, policy).kind === policy.purpose;
  } catch {
    return false;
  }
}

function certificate(der: Uint8Array) {
  try {
    return parseCertificate(der);
  } catch {
    throw new DevAuthError('bad-arg');
  }
}

function unitObject(object: Uint8Array): void {
  try {
    decodeUnitObject(object);
  } catch {
    throw new DevAuthError('bad-arg');
  }
}

function require(isMine: boolean): void {
  if (!isMine) throw new DevAuthError('policy');
}

/** A receipt over the present state by the AUTH key. @param changes  what is about to become true, such as a wipe */
export async function receiptOf(
  { chip, boot, stage }: Pick<StageContext, 'chip' | 'boot' | 'stage'>,
  nonce: Uint8Array,
  changes: Partial<Receipt> = {},
): Promise<Uint8Array> {
  const own = chip.keyStore.publicKey(authKeySlot);
  if (!own) throw new DevAuthError('bad-state');
  const encryptionKey = chip.keyStore.publicKey(encryptionKeySlot)?.slice(1);
  const objId = chip.data.get('objId');
  const deviceCertificate = chip.data.get('deviceCertificate');
  const unitData = chip.data.get('unitData');
  const configWords = configWordsOf(chip);
  const secret = chip.otp.read(otpMap.deviceSecret.slot);
  const value: Receipt = {
    uid: chip.uid,
    nonce,
    stage,
    lifeCycle: chip.lifeCycle(),
    debugState: chip.debugState(),
    otpMask: chip.otp.mask(),
    images: [...imageOf(imageIds.bl2, boot.bl2), ...imageOf(imageIds.bl3, boot.app)],
    bootCount: chip.bootCount(),
    otpSha256: otpHash(chip),
    ...(secret && { secretOtpSha256: sha256(secret) }),
    ...(encryptionKey && { encryptionKey }),
    ...(objId && { objId }),
    ...(unitData && { unitDataSha256: sha256(unitData) }),
    ...(configWords && { configWords }),
    ...(deviceCertificate && { certificateSha256: sha256(deviceCertificate) }),
    ...changes,
  };
  return signReceipt(value, { kid: keyIdOf(own), sign: input => chip.keyStore.sign(authKeySlot, input) });
}

export const receiptHandler =
  (context: StageContext): NonNullable<DevAuthHandlers['receipt']> =>
  async ({ nonce }) => ({ receipt: await receiptOf(context, nonce) });

const imageOf = (image: number, booted: BootedImage | undefined): Receipt['images'] =>
  booted ? [{ image, version: booted.version, sha256: booted.imageHash, securityCounter: booted.securityCounter }] : [];
