import { createHash, randomBytes, sign } from 'node:crypto';
import { afterEach } from 'vitest';
import { bl2Stage } from '../../../gateway-device/chip/bl2Stage.ts';
import { type BoardEvent, createBoard } from '../../../gateway-device/chip/board.ts';
import { serveBoard } from '../../../gateway-device/chip/boardPorts.ts';
import { type Chip, type ChipStorage, openChip } from '../../../gateway-device/chip/chip.ts';
import { devauthStage } from '../../../gateway-device/chip/devauthStage.ts';
import type { Power } from '../../../gateway-device/chip/flash.ts';
import { appStage } from '../../../gateway-device/device/appStage.ts';
import { connectTcp } from '../../../gateway-device/link/byteLink.ts';
import { type DebugPort, devAuthMagic, memoryMap } from '../../../gateway-device/link/debugPort.ts';
import { openDevAuth, openSealedDevAuth, spdmOver } from '../../../gateway-device/link/devAuthClient.ts';
import { createMctpClient, type MctpClient, type MctpClientOptions } from '../../../gateway-device/link/mctpLink.ts';
import { connectDebugPort } from '../../../gateway-device/link/virtualDebugPort.ts';
import { concat, fromHex, toHex, utf8 } from '../../../src/bytes.ts';
import { keyIdOf } from '../../../src/cose/publicKey.ts';
import { rawSigner } from '../../../src/cose/sign1.ts';
import { sha256 } from '../../../src/digest.ts';
import { signingUses } from '../../../src/domain/signingUse.ts';
import { parseVersion } from '../../../src/domain/version.ts';
import { rawToDer } from '../../../src/ecdsa.ts';
import { importKey } from '../../../src/ecKey.ts';
import { attachTrailer, buildImage, deviceTrailer, signInput } from '../../../src/ota/build.ts';
import type { ImageSpec } from '../../../src/ota/spec.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { checkChain } from '../../../src/pki/chain.ts';
import { assembleCsr, buildCertificationRequestInfo, judgeCsr } from '../../../src/pki/csr.ts';
import type { DevAuthHost } from '../../../src/production/devauth/host.ts';
import type { PutType } from '../../../src/production/devauth/identity.ts';
import { putObject, sendFirmware } from '../../../src/production/devauth/transfer.ts';
import { imageIds } from '../../../src/production/fields.ts';
import { otpMap } from '../../../src/production/otpMap.ts';
import type { Signer } from '../../../src/production/signed.ts';
import { signTrustBundle } from '../../../src/production/trustBundle.ts';
import type { CertSlot } from '../../../src/spdm/certSlot.ts';
import type { VerifyOptions } from '../../../src/spdm/evidence.ts';
import { knownOffer } from '../../../src/spdm/policy.ts';
import { runSessionSetup } from '../../../src/spdm/requester/run.ts';
import type { SpdmSession } from '../../../src/spdm/session.ts';
import { type Authority, type Key, leafFields, makeIca, makeKey, makeRoot, organization } from '../../pki/support.ts';
import { memoryStorage, memoryVault } from '../chip/memory.ts';

/** A small factory: the keys of an OEM, a bench with one virtual chip on real sockets, and a hand-held programmer. */

export const uid = fromHex('00112233445566778899aabbccddeeff');
export const objId = fromHex('a0a1a2a3a4a5a6a7a8a9aaabacadaeaf');
export const vendorUuid = new Uint8Array(16).fill(0x11);
export const classUuid = new Uint8Array(16).fill(0x22);
export const identity = { uid, productId: 0x2354 };
export const pieceBytes = 512;

export type Oem = {
  readonly root: Authority;
  /** Of devices. */
  readonly ica: Authority;
  readonly programmerIca: Authority;
  readonly serverIca: Authority;
  readonly bootKey: Key;
  readonly appKey: Key;
  readonly orders: Signer;
  readonly bundle: Uint8Array;
  readonly trust: VerifyOptions['trust'];
  /** A programmer of this OEM, as it shows itself in SPDM. */
  readonly programmer: CertSlot;
};

export const signerOf = (key: Key): Signer => ({ kid: keyIdOf(key.spki), sign: rawSigner(key.signer.sign) });

export async function makeOem(): Promise<Oem> {
  const root = await makeRoot();
  const ica = await makeIca(root);
  const programmerIca = await makeIca(root, 'programmer');
  const serverIca = await makeIca(root, 'server');
  const packageKey = makeKey();
  const bundle = await signTrustBundle(
    {
      version: 1,
      issuedAtSeconds: 1_800_000_000,
      roots: [root.der],
      issuers: Object.entries({ device: ica, programmer: programmerIca, server: serverIca }).map(([use, { der }]) => ({
        icaId: `${use}-1`,
        use,
        certificate: der,
      })),
      signingKeys: [{ kid: keyIdOf(packageKey.spki), point: packageKey.point, uses: signingUses }],
    },
    signerOf(root.key),
  );
  const trust: VerifyOptions['trust'] = (certificates, uidHex) =>
    importKey(
      checkChain([...certificates].reverse(), {
        roots: [root.der],
        now: undefined,
        purpose: 'device',
        ...(uidHex !== undefined && { uid: uidHex }),
      }).spki,
    );
  const programmer = await leafSlot(root, programmerIca, 'programmer');
  return {
    root,
    ica,
    programmerIca,
    serverIca,
    programmer,
    bootKey: makeKey(),
    appKey: makeKey(),
    orders: signerOf(packageKey),
    bundle,
    trust,
  };
}

/** A certificate slot of a requester: a programmer, or a gateway that is none. */
export async function leafSlot(root: Authority, ica: Authority, profile: 'programmer' | 'gateway'): Promise<CertSlot> {
  const key = makeKey();
  const fields = { ...leafFields(ica, key.spki), organization };
  const { der } =
    profile === 'programmer'
      ? await issueCertificate('programmer', { ...fields, uid: '4e4c3300000000000000000000000001' }, ica.key.signer)
      : await issueCertificate('gateway', { ...fields, id: 'hall-7' }, ica.key.signer);
  return { certificates: [root.der, ica.der, der], sign: rawSigner(key.signer.sign) };
}

/** A signed image of the line, some kilobytes long. */
export function makeImage(key: Key, version: string, securityCounter: number, wish: Partial<ImageSpec> = {}) {
  const payload = concat(utf8(`firmware ${version} in clear. `), createHash('shake256', { outputLength: 6000 }).update(version).digest());
  const built = buildImage({ payload, version: parseVersion(version), securityCounter, vendorUuid, classUuid, ...wish });
  const signature = new Uint8Array(sign('sha256', signInput(built), key.privateKey));
  const trailer = deviceTrailer({ imageHash: built.imageHash, publicKey: key.spki, keyForm: 'whole', signature });
  return {
    bytes: attachTrailer(built.body, trailer),
    body: built.body,
    trailer,
    imageHash: built.imageHash,
    version: parseVersion(version),
    securityCounter,
    payload,
  };
}
export type Image = ReturnType<typeof makeImage>;

export type MemoryStorage = ChipStorage & {
  readonly flash: ReturnType<typeof memoryStorage>;
  readonly otp: ReturnType<typeof memoryStorage>;
};

export const newStorage = (from?: MemoryStorage): MemoryStorage => ({
  otp: memoryStorage(from?.otp.snapshot()),
  flash: memoryStorage(from?.flash.snapshot()),
  registers: memoryStorage(),
  keys: memoryVault(),
});

export const newChip = (storage: ChipStorage = newStorage(), power?: Power): Chip => openChip(identity, storage, power);

/** A board on sockets, and both ends of what a programmer plugs in. */
export async function openBench(chip: Chip = newChip(), link: MctpClientOptions = {}) {
  const events: BoardEvent[] = [];
  const board = createBoard({
    chip,
    stages: { devauth: devauthStage, bl2: bl2Stage, app: appStage() },
    tell: event => events.push(event),
  });
  const served = await serveBoard(board);
  const debug = await connectDebugPort('127.0.0.1', served.debugPort);
  const client = createMctpClient(await connectTcp('127.0.0.1', served.serialPort), link);
  return {
    board,
    events,
    served,
    debug,
    client,
    devAuth: openDevAuth(client),
    close: async () => {
      await Promise.all([debug.close(), client.close()]);
      await served.close();
    },
  };
}
export type Bench = Awaited<ReturnType<typeof openBench>>;

/** Opens benches for the tests of a file. What a test has not closed is closed after it. */
export function benchesOfTests(): typeof openBench {
  const open = new Set<Bench>();
  afterEach(async () => {
    await Promise.all([...open].map(bench => bench.close()));
  });
  return async (...chip) => {
    const { close, ...opened } = await openBench(...chip);
    const bench: Bench = {
      ...opened,
      close: async () => {
        open.delete(bench);
        await close();
      },
    };
    open.add(bench);
    return bench;
  };
}

export const hello = (devAuth: DevAuthHost) => devAuth.request('hello', { version: 1, nonce: new Uint8Array(16).fill(7) });

export async function startDevAuth(debug: DebugPort): Promise<void> {
  await debug.writeMemory(memoryMap.sram.address, utf8(`${devAuthMagic} code`));
  await debug.run(memoryMap.sram.address);
}

export const makeCri = (point: Uint8Array, uidHex = toHex(uid)): Uint8Array =>
  buildCertificationRequestInfo({ subject: { commonName: toHex(objId), serialNumber: uidHex }, publicKeyPoint: point });

/** KEYGEN, SIGN_CRI, certificate, PUT of everything (steps 4–6). @returns the device certificate and its public point */
export async function makeIdentity(devAuth: DevAuthHost, oem: Oem) {
  const { publicKey } = await devAuth.request('keygen', { keySlot: 0, algorithm: 'es256', minEntropyBits: 256 });
  const point = concat(Uint8Array.of(4), publicKey);
  const cri = makeCri(point);
  const { signature } = await devAuth.request('signCri', { cri });
  const csr = judgeCsr(assembleCsr(cri, rawToDer(signature)));
  const fields = { ...leafFields(oem.ica, csr.publicKey), organization, uid: toHex(uid), objId: toHex(objId) };
  const { der } = await issueCertificate('device', fields, oem.ica.key.signer);
  const objects: Partial<Record<PutType, Uint8Array>> = {
    deviceCertificate: der,
    icaCertificate: oem.ica.der,
    rootCertificate: oem.root.der,
    objId,
    bundle: oem.bundle,
  };
  for (const [type, object] of Object.entries(objects)) await putObject(devAuth, type as PutType, object, pieceBytes);
  return { certificate: der, point };
}

/** BL2 over the debug port, then OTP 0–4 (steps 8–10). */
export async function installBl2({ debug, devAuth }: Pick<Bench, 'debug' | 'devAuth'>, oem: Oem, bl2 = makeImage(oem.bootKey, '1.0.0', 1)) {
  await debug.writeMemory(memoryMap.bl2.address, bl2.bytes);
  const burn = (entry: { slot: number; kind: string }, value: Uint8Array) =>
    devAuth.request('otp', { slot: entry.slot, kind: entry.kind as never, value });
  await burn(otpMap.bootKeyX, oem.bootKey.point.slice(1, 33));
  await burn(otpMap.bootKeyY, oem.bootKey.point.slice(33));
  await burn(otpMap.applicationKeyHash, sha256(oem.appKey.spki));
  await burn(otpMap.rootCaHash, sha256(oem.root.der));
  await burn(otpMap.icaHash, sha256(oem.ica.der));
  return bl2;
}

/** An SPDM session with the chip, authenticated by its certificate. */
export async function openSession(
  client: MctpClient,
  oem: Oem,
  uidHex = toHex(uid),
  ownSlot = oem.programmer,
): Promise<{ session: SpdmSession; sealed: DevAuthHost }> {
  const options = { nonce: random(32), trust: oem.trust, uidHex, randomBytes: random, ...knownOffer(), ownSlots: [ownSlot] };
  const { session } = await runSessionSetup(options, spdmOver(client));
  return { session, sealed: openSealedDevAuth(client, session) };
}

/** A unit as it leaves the factory: identity, BL2, lock, application in a sealed session. */
export async function provision(bench: Pick<Bench, 'debug' | 'client' | 'devAuth'>, oem: Oem, app = makeImage(oem.appKey, '1.2.3', 5)) {
  await startDevAuth(bench.debug);
  const { certificate, point } = await makeIdentity(bench.devAuth, oem);
  const bl2 = await installBl2(bench, oem);
  await bench.debug.reset();
  await bench.devAuth.request('lock', { debugState: 'locked', lifeCycle: 'deployed' });
  const { sealed } = await openSession(bench.client, oem);
  const receipt = await sendFirmware(sealed, transferOf(app), pieceBytes);
  await bench.devAuth.request('reset', { mode: 'normal' });
  return { certificate, point, bl2, app, receipt };
}

export const transferOf = ({ bytes, version, securityCounter }: Pick<Image, 'bytes' | 'version' | 'securityCounter'>) => ({
  image: imageIds.bl3,
  bytes,
  version,
  securityCounter,
});

export const random = (length: number): Uint8Array => new Uint8Array(randomBytes(length));
