import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectDebugPort } from '../../../gateway-device/link/virtualDebugPort.ts';
import { fromBase64url, fromHex, toBase64url, toHex, utf8 } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { device, deviceStream } from '../../../src/domain/device.ts';
import type { LivingDevice } from '../../../src/domain/deviceState.ts';
import { pointOf } from '../../../src/ecKey.ts';
import { verifyImage } from '../../../src/ota/verify.ts';
import { judgeCsr } from '../../../src/pki/csr.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { authorityOf, rootDer } from '../../../src/services/authority/authority.ts';
import { stateOf } from '../../../src/services/base/context.ts';
import { programmerOf } from '../../../src/services/production/programmers.ts';
import { decodeEvidence } from '../../../src/spdm/evidence.ts';
import { covers } from '../../support/covers.ts';
import type { Call } from '../../support/faults.ts';
import { endLine, startLineWithJob } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { officer, produce, startTarget, type TestProgrammer, type TestTarget } from './programmerFixture.ts';

/** The steps of the source documents, one by one, after a programmer was prepared and has built one unit on the real parts. */

let server: OemServer;
let programmer: TestProgrammer;
let target: TestTarget;
let jobId: string;
let calls: readonly Call[];
let unit: LivingDevice;

beforeAll(async () => {
  ({ server, programmer, jobId } = await startLineWithJob({ count: 3 }));
  target = await startTarget();
  expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
  calls = server.proxy.calls;
  const state = await stateOf(server.ctx, device, deviceStream(toHex(target.uid)));
  if (state.status === 'NONE') throw new Error('the server knows nothing of the unit');
  unit = state;
});
afterAll(async () => {
  await target.stop();
  await endLine({ server, programmer });
});

const call = (path: RegExp): Call => calls.find(each => path.test(each.path)) ?? expect.fail(`no call ${path}`);
const text = ({ body }: Call, name: string): string => String(body[name]);
const registered = () => programmerOf(server.ctx, programmer.uid);
/** What the boot ROM, or BL2, makes of an image in flash with the hash of this key in OTP. */
const boots = (bytes: Uint8Array, spki: Uint8Array): boolean =>
  verifyImage(bytes, { signature: { algorithm: 'P-256', otpKeyHash: sha256(spki) }, slotBytes: bytes.length }).ok;

describe('preparing a programmer', () => {
  const own = () => programmer.core.chip;

  it('root and ICA are in its flash, their hashes in its OTP (R3, R4)', async () => {
    covers('R3', 'R4');
    const root = own().data.get('rootCertificate');
    expect(root).toEqual(rootDer(await authorityOf(server.ctx)));
    expect(own().otp.read(3)).toEqual(sha256(root ?? new Uint8Array()));
    expect(own().otp.read(4)).toEqual(sha256(own().data.get('icaCertificate') ?? new Uint8Array()));
  });

  it('its key is born inside, the tool gets the public half and makes the request of what the board has signed (R8, R9, R10, R11, R12, R13, R14)', () => {
    covers('R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14');
    const request = call(/\/csr$/);
    expect(text(request, 'publicKey')).toBe(toBase64url(own().keyStore.publicKey(0) ?? new Uint8Array()));
    const { publicKey } = judgeCsr(fromBase64url(text(request, 'csr')), { serialNumber: programmer.uid });
    expect(publicKey.slice(-65)).toEqual(own().keyStore.publicKey(0));
  });

  it('the certificate that the server issued for that key is in its flash (R15, R16, R17)', async () => {
    covers('R15', 'R16', 'R17');
    const certificate = own().data.get('deviceCertificate') ?? new Uint8Array();
    const parsed = parseCertificate(certificate);
    expect({ uid: parsed.uid, point: parsed.spki.slice(-65) }).toEqual({ uid: programmer.uid, point: own().keyStore.publicKey(0) });
    expect((await registered()).certificates.map(({ serial }) => serial)).toEqual([parsed.serialHex]);
  });

  it('its boot key is born in the keystore, only the public half comes out and is burned (R18, R19, R20, R21)', async () => {
    covers('R18', 'R19', 'R20', 'R21');
    const http = officer(server);
    const answer = await http.json<{ publicKey: string }>('POST', `/v1/programmers/${programmer.uid}/boot-key`, {});
    http.close();
    expect(Object.keys(answer)).toEqual(['publicKey']);
    const point = pointOf(fromBase64url(answer.publicKey));
    expect([own().otp.read(0), own().otp.read(1)]).toEqual([point.slice(1, 33), point.slice(33)]);
    expect((await registered()).bootKey?.publicKey).toBe(answer.publicKey);
  });

  it('its firmware goes to the server and comes back signed by that key, into flash (R22, R23, R24, R25)', async () => {
    covers('R22', 'R23', 'R24', 'R25');
    expect(call(/\/firmware\?/).method).toBe('POST');
    const { bootKey, firmware } = await registered();
    const { bl2 } = own().layout;
    const image = own().flash.read(bl2.offset, bl2.bytes);
    expect(boots(image, fromBase64url(bootKey?.publicKey ?? ''))).toBe(true);
    expect(boots(image.with(600, (image[600] ?? 0) ^ 1), fromBase64url(bootKey?.publicKey ?? ''))).toBe(false);
    expect(Buffer.from(image).includes(Buffer.from(utf8('NuLink3 virtual programmer firmware')))).toBe(true);
    expect(firmware?.version).toBe('1.0.0');
  });

  it('it is locked: the debug port gives nothing any more (R26, R109)', async () => {
    covers('R26', 'R109');
    const [host = '', port = ''] = programmer.addresses.debug.split(':');
    const debug = await connectDebugPort(host, Number(port));
    await expect(debug.readMemory(0x2000_0000, 4)).rejects.toMatchObject({ code: 'DEBUG_LOCKED' });
    await debug.close();
  });

  it('both agree AES_NuLink3 by keys made for it: what the one seals the other opens (R27, R28, R29, R30, R31, R32, R33, R34)', async () => {
    covers('R27', 'R28', 'R29', 'R30', 'R31', 'R32', 'R33', 'R34');
    const [offer, confirmation] = [call(/\/kek$/), call(/\/kek\/1$/)];
    expect(fromBase64url(text(offer, 'publicKey'))).toHaveLength(65);
    expect(text(offer, 'publicKey')).not.toBe(toBase64url(own().keyStore.publicKey(0) ?? new Uint8Array()));
    expect(fromBase64url(text(confirmation, 'mac'))).toHaveLength(32);
    const { kek } = await registered();
    expect(kek?.epoch).toBe(programmer.core.keks.epoch());
    const kdf = { salt: new Uint8Array(16), info: utf8('test') };
    const [iv, aad, plain] = [new Uint8Array(12), utf8('aad'), utf8('units')];
    const sealed = await server.ctx.keystore.seal(kek?.keyId ?? '', kdf, iv, aad, plain);
    const open = programmer.core.keks.contentOpenOf(kek?.epoch ?? 0);
    expect(await open?.(kdf, { iv, aad, ciphertext: sealed } as never)).toEqual(plain);
  });
});

describe('one unit', () => {
  const chip = () => target.chip;
  const bootKey = (slot: 'bl2' | 'app'): Uint8Array => fromBase64url(unit.bootKeys[slot]?.publicKey ?? '');

  const applicationBoots = (spki: Uint8Array): boolean => {
    const { primary, sectorBytes: trailerBytes } = chip().layout;
    const signature = { algorithm: 'P-256', otpKeyHash: sha256(spki) } as const;
    return verifyImage(chip().flash.read(primary.offset, primary.bytes), { signature, slotBytes: primary.bytes, trailerBytes }).ok;
  };

  it('is named to the server by the UID of its debug port and the registration id it got (R35, R36, R52, R53)', () => {
    covers('R35', 'R36', 'R52', 'R53');
    expect(call(/\/units$/).body).toMatchObject({ uid: toHex(target.uid), productId: 7, jobId });
    expect(call(/\/application$/).body).toMatchObject({ jobId, uid: toHex(target.uid), objId: unit.objId });
    expect(chip().data.get('objId')).toEqual(fromHex(unit.objId));
  });

  it('has a bootloader that the server signed by a key of this unit, whose public half is burned (R37, R38, R39, R40, R41, R42)', async () => {
    covers('R37', 'R38', 'R39', 'R40', 'R41', 'R42');
    const point = pointOf(bootKey('bl2'));
    expect([chip().otp.read(0), chip().otp.read(1)]).toEqual([point.slice(1, 33), point.slice(33)]);
    const { bl2 } = chip().layout;
    const image = chip().flash.read(bl2.offset, bl2.bytes);
    const body = await server.image(jobId, 'bl2');
    expect(toHex(image.slice(0, body.length))).toBe(toHex(body));
    expect(boots(image, bootKey('bl2'))).toBe(true);
  });

  it('makes its own key and signs the request that becomes its certificate (R74, R75, R76, R77, R78, R79, R111)', () => {
    covers('R74', 'R75', 'R76', 'R77', 'R78', 'R79', 'R111');
    const csr = calls.findLast(each => /\/units\/\w+\/csr$/.test(each.path)) ?? expect.fail('no request');
    const { publicKey } = judgeCsr(fromBase64url(text(csr, 'csr')), { serialNumber: toHex(target.uid), commonName: unit.objId });
    expect(publicKey.slice(-65)).toEqual(chip().keyStore.publicKey(0));
    const certificate = parseCertificate(chip().data.get('deviceCertificate') ?? new Uint8Array());
    expect({ uid: certificate.uid, point: certificate.spki.slice(-65) }).toEqual({ uid: toHex(target.uid), point: publicKey.slice(-65) });
    expect(certificate.serialHex).toBe(unit.serial);
  });

  it('has the certificates of its root and of the programmer in flash (R72)', async () => {
    covers('R72');
    expect(chip().data.get('rootCertificate')).toEqual(rootDer(await authorityOf(server.ctx)));
    expect(chip().data.get('programmerCertificate')).toEqual(programmer.core.chip.data.get('deviceCertificate'));
  });

  it('gets the firmware that the OEM uploaded and bound to the job, by mutual TLS alone (R59, R60, R71, R102, RULE-9)', async () => {
    covers('R59', 'R60', 'R71', 'R102', 'RULE-9');
    const job = await server.plant.ask('pia', 'GET', `/v1/jobs/${jobId}`);
    expect(unit.bootloader).toMatchObject({ releaseId: job.bl2.releaseId, imageHash: job.bl2.imageHash });
    expect(unit.firmware).toMatchObject({ releaseId: job.app.releaseId, imageHash: job.app.imageHash });
    const http = officer(server);
    const path = `/v1/production/images/${job.app.imageHash}`;
    await expect(http.bytes('GET', path)).rejects.toMatchObject({ code: 'CLIENT_CERTIFICATE_REQUIRED' });
    http.close();
    // What runs was signed by the key that is in the keystore.
    const inKeystore = await server.ctx.bootKeys.ensure(unit.bootKeys.app?.keyId ?? '');
    expect([inKeystore, applicationBoots(inKeystore)]).toEqual([bootKey('app'), true]);
  });

  it('stands in the status report with its firmware version (R83)', async () => {
    covers('R83');
    const csv = String(await server.plant.ask('aldo', 'GET', `/v1/jobs/${jobId}/status.csv`));
    expect(csv).toContain(`${toHex(target.uid)},${unit.objId},COMMITTED,2.0.0,${unit.serial}`);
  });

  it('is reset and locked (R43, R44)', async () => {
    covers('R43', 'R44');
    expect(unit.debugLocked).toBe(true);
    const [host = '', port = ''] = target.addresses.debug.split(':');
    const debug = await connectDebugPort(host, Number(port));
    await expect(debug.readMemory(0x2000_0000, 4)).rejects.toMatchObject({ code: 'DEBUG_LOCKED' });
    await debug.close();
  });

  it('has an application that is signed by a second key of this unit, whose hash is burned (R45, R46, R47, R48, R49)', () => {
    covers('R45', 'R46', 'R47', 'R48', 'R49');
    expect(bootKey('app')).not.toEqual(bootKey('bl2'));
    expect(chip().otp.read(2)).toEqual(sha256(bootKey('app')));
    expect(applicationBoots(bootKey('app'))).toBe(true);
    expect(applicationBoots(bootKey('bl2'))).toBe(false);
  });

  it('has proven its key from the bootloader in a session, with the request for its application (R50, R51)', () => {
    covers('R50', 'R51');
    const evidence = decodeEvidence(fromBase64url(text(call(/\/application$/), 'evidence')));
    expect(evidence.kind).toBe('session');
    expect(unit.session?.grantId).toBe(unit.grantId);
  });

  it('is six calls: what a step reports goes with the next request', () => {
    const names = calls.map(({ name }) => name);
    const unitCalls = names.slice(names.lastIndexOf('units')).filter(name => name !== 'images');
    expect(unitCalls.slice(0, 6)).toEqual(['units', 'csr', 'bootloader', 'application-key', 'application', 'commit']);
  });

  it('takes one of the count, and has identity, boot key and firmware when it is done (R65, R67, R68)', () => {
    covers('R65', 'R67', 'R68');
    expect(programmer.core.nvm.state().jobs[jobId]).toMatchObject({ count: 3, committed: 1, open: 0 });
    const certificate = parseCertificate(chip().data.get('deviceCertificate') ?? new Uint8Array());
    expect({ uid: certificate.uid, objId: certificate.objId }).toEqual({ uid: toHex(target.uid), objId: unit.objId });
    expect(unit.status).toBe('STOCK');
    expect(unit.firmware?.version).toBe('2.0.0');
  });
});
