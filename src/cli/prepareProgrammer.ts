import { randomBytes } from 'node:crypto';
import type { HttpClient } from '../../gateway-device/link/httpClient.ts';
import { connectProgrammer } from '../../gateway-device/programmer/client.ts';
import { connectTarget, hello, startBl2, startDevAuth, type Target, type TargetAddresses } from '../../gateway-device/programmer/target.ts';
import { concat, equalBytes, fromBase64url, toBase64url, toHex, utf8 } from '../bytes.ts';
import { sha256 } from '../digest.ts';
import { rawToDer } from '../ecdsa.ts';
import { pointOf } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { assembleCsr, buildCertificationRequestInfo } from '../pki/csr.ts';
import { DevAuthError } from '../production/devauth/error.ts';
import { pieceBytesFor, putObject } from '../production/devauth/transfer.ts';
import { otpMap } from '../production/otpMap.ts';

/** Preparing a programmer at the OEM, R3–R34 in their order: key, certificate, trust anchors, signed firmware, lock, AES_NuLink3, shipped.
 *  Every call may be repeated, so a preparation that was cut is simply run again: an open board starts over with the same key and the same
 *  answers, a locked one continues after the lock. */

export type Preparation = {
  readonly addresses: TargetAddresses;
  /** 32 lower-case hex; the board must have it. */
  readonly uid: string;
  readonly name: string;
  readonly firmware: Uint8Array;
  readonly firmwareVersion: string;
  /** How the programmer itself will reach the server. */
  readonly serverUrl: string;
  readonly shipTo?: string;
};

export type Prepared = { readonly uid: string; readonly status: string; readonly kekEpoch: number };
type ProgrammerView = { readonly status: string; readonly kekEpoch: number };

const authKeySlot = 0;
const minEntropyBits = 256;
const doneStatuses = ['SHIPPED', 'ACTIVE'];

/** @param server people's API, as a security officer @param tell called with one line for each step
 *  @throws NusecError DEVICE_STATE (another board), KEY_REFUSED, and what the server or the board refuses */
export async function prepareProgrammer(server: HttpClient, wish: Preparation, tell: (line: string) => void): Promise<Prepared> {
  const path = `/v1/programmers/${wish.uid}`;
  await server.json('POST', '/v1/programmers', { uid: wish.uid, name: wish.name });
  tell(`registered ${wish.uid}`);
  const board = await connectTarget(wish.addresses);
  try {
    if (!(await isLocked(board))) await setUp(server, path, wish, board, tell);
    else {
      tell('the board is locked already: going on behind the lock');
      await startFirmware(board);
    }
  } finally {
    await board.close();
  }
  return finish(server, path, wish, tell);
}

async function isLocked({ debug }: Target): Promise<boolean> {
  await debug.connect();
  return (await debug.status()).debugState === 'locked';
}

/** R3–R26: everything that needs the open debug port, and then its closing. */
async function setUp(server: HttpClient, path: string, wish: Preparation, board: Target, tell: (line: string) => void): Promise<void> {
  const found = await board.debug.readUid();
  if (toHex(found.uid) !== wish.uid) throw new NusecError('DEVICE_STATE', `the board has UID ${toHex(found.uid)}`);
  const { maxBodyBytes } = await startDevAuth(board);
  tell('R5–R7 DevAuth runs');
  await certify(server, path, wish.uid, board, pieceBytesFor(maxBodyBytes), tell);
  const { publicKey } = await server.json<{ publicKey: string }>('POST', `${path}/boot-key`, {});
  const point = pointOf(fromBase64url(publicKey));
  await burn(board, otpMap.bootKeyX, point.slice(1, 33));
  await burn(board, otpMap.bootKeyY, point.slice(33));
  tell('R18–R21 secure-boot key in OTP 0 and 1');
  const image = await server.bytes('POST', `${path}/firmware?version=${wish.firmwareVersion}`, wish.firmware);
  await writeFirmware(board, image);
  tell(`R22–R25 firmware ${wish.firmwareVersion} in flash, ${image.length} bytes`);
  await startBl2(board);
  await board.host.request('lock', { debugState: 'locked', lifeCycle: 'deployed' });
  const nonce = new Uint8Array(randomBytes(16));
  const { receipt } = await board.host.request('receipt', { nonce });
  await server.json('POST', `${path}/locked`, { receipt: toBase64url(receipt), nonce: toBase64url(nonce) });
  tell('R26 locked, proven by its receipt');
  await startFirmware(board);
}

/** Behind the lock the bootloader runs until it is told to go on: that may have been cut off before. */
async function startFirmware({ host }: Target): Promise<void> {
  if ((await hello(host)).stage !== 'bl2') return;
  await host.request('reset', { mode: 'normal' });
  await hello(host);
}

/** R8–R17 and R3–R4: the key is born in the KeyStore, the board signs the request, and takes certificates and their hashes. */
async function certify(
  server: HttpClient,
  path: string,
  uid: string,
  board: Target,
  pieceBytes: number,
  tell: (line: string) => void,
): Promise<void> {
  const { host } = board;
  const { publicKey } = await host.request('keygen', { keySlot: authKeySlot, algorithm: 'es256', minEntropyBits });
  const publicKeyPoint = concat(Uint8Array.of(0x04), publicKey);
  tell('R8–R10 key generated in the KeyStore');
  const cri = buildCertificationRequestInfo({ subject: { serialNumber: uid }, publicKeyPoint });
  const { signature } = await host.request('signCri', { cri });
  const csr = assembleCsr(cri, rawToDer(signature));
  const answer = await server.json<Record<'certificate' | 'ica' | 'root', string>>('POST', `${path}/csr`, {
    publicKey: toBase64url(publicKeyPoint),
    csr: toBase64url(csr),
  });
  const [root, ica] = [fromBase64url(answer.root), fromBase64url(answer.ica)];
  tell('R11–R16 certificate issued');
  await putObject(host, 'rootCertificate', root, pieceBytes);
  await putObject(host, 'icaCertificate', ica, pieceBytes);
  await putObject(host, 'deviceCertificate', fromBase64url(answer.certificate), pieceBytes);
  await putObject(host, 'bundle', await server.bytes('GET', `/v1/trust-bundle?root=${toHex(sha256(root))}`), pieceBytes);
  await burn(board, otpMap.rootCaHash, sha256(root));
  await burn(board, otpMap.icaHash, sha256(ica));
  tell('R3–R4, R17 certificates in flash, their hashes in OTP 3 and 4');
}

async function burn({ host }: Target, { slot, kind }: (typeof otpMap)[keyof typeof otpMap], value: Uint8Array): Promise<void> {
  const readBack = await host.request('otp', { slot, kind, value });
  if (!equalBytes(readBack.sha256, sha256(value))) throw new NusecError('RECEIPT_REFUSED', `OTP ${slot} reads back differently`);
}

async function writeFirmware({ debug }: Target, image: Uint8Array): Promise<void> {
  const { address, bytes } = debug.flash.bl2;
  if (image.length > bytes) throw new NusecError('BODY_TOO_LARGE', `firmware has at most ${bytes} bytes`);
  await debug.writeMemory(address, image);
  if (!equalBytes(await debug.readMemory(address, image.length), image)) {
    throw new NusecError('IMAGE_REFUSED', 'the firmware reads back differently');
  }
}

/** R27–R34, and shipped. A lock that the server has not heard of is proven once more, by the programmer itself. */
async function finish(server: HttpClient, path: string, wish: Preparation, tell: (line: string) => void): Promise<Prepared> {
  const programmer = await connectProgrammer(wish.addresses.serial);
  try {
    let view = await server.json<ProgrammerView>('GET', path);
    if (view.status === 'CERTIFIED') {
      const nonce = new Uint8Array(randomBytes(16));
      const { receipt } = await programmer.request('receipt', { nonce });
      view = await server.json('POST', `${path}/locked`, { receipt: toBase64url(receipt), nonce: toBase64url(nonce) });
    }
    const { kekEpoch } = await programmer.request('status', {});
    if (kekEpoch === 0 || view.kekEpoch !== kekEpoch) {
      const { epoch } = await programmer.request('agreeKek', { serverUrl: wish.serverUrl }).catch(unreachableWhileBusy);
      tell(`R27–R34 AES_NuLink3 agreed, epoch ${epoch}`);
    }
    view = await server.json<ProgrammerView>('GET', path);
    if (!doneStatuses.includes(view.status)) {
      view = await server.json<ProgrammerView>('POST', `${path}/ship`, wish.shipTo === undefined ? {} : { to: wish.shipTo });
      tell('ready, shipped');
    }
    return { uid: wish.uid, status: view.status, kekEpoch: view.kekEpoch };
  } finally {
    await programmer.close();
  }
}

function unreachableWhileBusy(error: unknown): never {
  if (!(error instanceof DevAuthError && error.reason === 'busy')) throw error;
  throw new NusecError('SERVER_UNREACHABLE', 'the programmer does not reach the server; run the command again', { cause: error });
}

/** Replaces NuLink3's firmware where none is given: the virtual board needs an image that boots, whatever it contains. */
export const builtInFirmware: Uint8Array = utf8('NuLink3 virtual programmer firmware\n');
