import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { fromHex } from '../../../src/bytes.ts';
import { encodeCbor } from '../../../src/cbor/encode.ts';
import { rawSigner } from '../../../src/cose/sign1.ts';
import { encodeClaims, instanceIdOfKey, type PsaToken } from '../../../src/eat/psaClaims.ts';
import { signToken } from '../../../src/eat/psaToken.ts';
import { newEvent } from '../../../src/eventstore/recorded.ts';
import { verifyAttestationProof } from '../../../src/evidence/attestationProof.ts';
import { nowIso } from '../../../src/services/base/context.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { attestationProof } from '../../../src/services/field/attestationProofs.ts';
import { enrolAttestationKey } from '../../../src/services/field/devices.ts';
import { setAttestationPolicy } from '../../../src/services/firmware/lines.ts';
import { line, type Unit } from '../../gateway/fieldKit.ts';
import { type Key, makeKey } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { type BenchDevice, type FieldBench, openField } from './fieldBench.ts';
import { openGateway } from './gatewayBench.ts';

/** A line whose devices prove themselves with PSA attestation tokens (RFC 9783): the same registry, log and rules as for SPDM. */

let bench: FieldBench;
let next = 0;
let unit: Unit;
let device: BenchDevice;

const signerOf = (key: Key) => rawSigner(key.signer.sign);
const claimsOf = ({ key, bootloader, firmware }: Unit): Omit<PsaToken, 'profile' | 'nonce'> => ({
  clientId: -1,
  instanceId: instanceIdOfKey(key.spki),
  implementationId: new Uint8Array(32).fill(7),
  lifeCycle: 'secured',
  components: [bootloader, firmware].map(({ imageHash, version }, at) => ({
    type: at === 0 ? 'BL' : 'App',
    value: fromHex(imageHash),
    version,
    signerId: new Uint8Array(32),
  })),
});
const gives =
  (of: Unit, changed: Partial<PsaToken> = {}, key = of.key) =>
  (nonce: Uint8Array) =>
    signToken({ nonce, ...claimsOf(of), ...changed }, signerOf(key));
const attest = (uid = unit.uid) => bench.field.attestation.attest(uid);
const policy = (wish: Parameters<typeof setAttestationPolicy>[2]) => setAttestationPolicy(bench.ctx, line, wish, 'operator:olga');

beforeAll(async () => {
  bench = await openField(12);
  await policy({ evidence: 'psa-token' });
});
beforeEach(() => {
  unit = bench.fleet.units[next++]!;
  device = bench.plugIn(unit);
  device.token = gives(unit);
});
afterAll(() => bench.close());

it('passes by the key of its certificate, and keeps every token (R84, R85)', async () => {
  covers('R84', 'R85');
  const token = { profile: 'tag:psacertified.org,2023:psa#tfm', algorithm: 'ES256', lifeCycle: 'secured' };
  expect(await attest()).toMatchObject({ result: 'passed', via: 'mqtt', imageHash: unit.firmware.imageHash, version: '1.0.0', token });
  expect(await bench.typesOf(unit.uid)).toEqual(expect.arrayContaining(['DevicePutInService', 'AttestationPassed']));
  const events = (await bench.typesOf(unit.uid)).length;
  await attest();
  expect(await bench.typesOf(unit.uid)).toHaveLength(events);
  const rows = bench.attestations.page(unit.uid, { limit: 10 });
  expect(rows).toHaveLength(2);
  expect(rows[0]).toMatchObject({ result: 'passed', via: 'mqtt', token });
  for (const { evidenceSha256 = '' } of rows) expect(bench.attestations.kept(unit.uid, evidenceSha256)?.[0]).toBe(0xd2);
});

it('is proven offline by the root certificate, or by the enrolled key', async () => {
  await attest();
  const proofOf = async () =>
    JSON.stringify(
      await attestationProof(bench.ctx, bench.attestations, unit.uid, bench.attestations.page(unit.uid, { limit: 1 })[0]?.id ?? 0),
    );
  const proof = await proofOf();
  const proven = await verifyAttestationProof(proof, { roots: [unit.root] });
  expect(proven).toMatchObject({ result: 'passed', flaws: [], token: { algorithm: 'ES256', lifeCycle: 'secured' } });
  expect(proven.certificates).toHaveLength(3);
  expect(proven.measurements).toMatchObject([
    { name: 'bootloader', judgement: 'equal', reference: { releaseId: unit.bootloader.releaseId } },
    { name: 'application', judgement: 'equal', reference: { releaseId: unit.firmware.releaseId } },
  ]);
  const changed = proof.replace(/(?<="nonceHex":")./, digit => (digit === '0' ? '1' : '0'));
  await expect(verifyAttestationProof(changed, { roots: [unit.root] })).rejects.toMatchObject({ code: 'ATTESTATION_FAILED' });
  await expect(verifyAttestationProof(proof, { roots: [] })).rejects.toMatchObject({ code: 'CHAIN_REFUSED' });

  const iak = makeKey();
  await enrolAttestationKey(bench.ctx, unit.uid, iak.spki, undefined, 'operator:olga');
  device.token = gives(unit, { instanceId: instanceIdOfKey(iak.spki) }, iak);
  expect(await attest()).toMatchObject({ result: 'passed' });
  const enrolled = await proofOf();
  await expect(verifyAttestationProof(enrolled, { roots: [unit.root] })).rejects.toMatchObject({ code: 'CHAIN_REFUSED' });
  expect(await verifyAttestationProof(enrolled, { roots: [], publicKey: createPublicKey(iak.privateKey) })).toMatchObject({
    result: 'passed',
    certificates: [],
  });
});

it.each<[string, Partial<PsaToken>, string]>([
  [
    'another image',
    { components: [{ type: 'App', value: new Uint8Array(32), signerId: new Uint8Array(32) }] },
    'bootloader: missing, application: value',
  ],
  ['a debugger', { lifeCycle: 'nonPsaRotDebug' }, 'life cycle: the application can be debugged'],
  ['the secure side asking', { clientId: 3 }, 'client id: the secure side of the device has asked for the token'],
])('fails a device with %s', async (_what, changed, reason) => {
  device.token = gives(unit, changed);
  expect(await attest()).toMatchObject({ result: 'failed', reason, token: { algorithm: 'ES256' } });
  expect(await bench.typesOf(unit.uid)).toContain('AttestationFailed');
});

it('suspects a clone whose key is another one than enrolled, on its own connection (T8)', async () => {
  covers('T8');
  device.token = gives(unit, {}, makeKey());
  expect(await attest()).toMatchObject({ result: 'failed' });
  expect(await bench.typesOf(unit.uid)).toEqual(expect.arrayContaining(['CloneSuspected', 'DeviceQuarantined']));
});

it('knows no key of a device whose enrolled one ended with a repair, and suspects no clone (I3, T8)', async () => {
  covers('I3', 'T8');
  const iak = makeKey();
  await enrolAttestationKey(bench.ctx, unit.uid, iak.spki, undefined, 'operator:olga');
  device.token = gives(unit, { instanceId: instanceIdOfKey(iak.spki) }, iak);
  expect(await attest()).toMatchObject({ result: 'passed' });
  const { ctx } = bench;
  const about = { id: ctx.newId(), at: nowIso(ctx), by: 'operator:olga' } as const;
  const { status: _, ...certificate } = (await livingDevice(ctx, unit.uid)).certificates.at(-1)!;
  const next = { ...certificate, objId: '0a'.repeat(16), generation: 2 };
  await ctx.store.append(`device-${unit.uid}`, 'any', [newEvent('DeviceReturnedToService', next, about)]);
  await expect(attest()).rejects.toMatchObject({ code: 'EVIDENCE_UNSUPPORTED', message: expect.stringContaining('generation 1') });
  expect(await bench.typesOf(unit.uid)).not.toContain('CloneSuspected');
  await enrolAttestationKey(bench.ctx, unit.uid, iak.spki, undefined, 'operator:olga');
  expect(await attest()).toMatchObject({ result: 'passed' });
});

it('says of a device without tokens that it is unsupported, and of one without an answer nothing', async () => {
  device.token = async () => 'unsupported';
  expect(await attest()).toMatchObject({ result: 'unsupported', reason: expect.stringContaining('no PSA attestation tokens') });
  device.token = async () => 'busy';
  await expect(attest()).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
  delete device.token;
  await expect(attest()).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
  expect(await bench.typesOf(unit.uid)).not.toContain('AttestationFailed');
});

it('books a token that a gateway has changed, or brings for SPDM, on the gateway (T20)', async () => {
  covers('T20');
  bench.devices.delete(unit.uid);
  const before = await bench.typesOf(unit.uid);
  let bytes: Uint8Array = new Uint8Array();
  const id = 'hall-psa';
  await openGateway(bench, id, unit, ({ nonce }) => ({ bytes, nonce }) as never);
  const honest = bench.gateways.get(id)!;
  bench.gateways.set(id, async (uid, nonce) => {
    bytes = (await gives(unit)(nonce)) as Uint8Array;
    return honest(uid, nonce);
  });
  expect(await attest()).toMatchObject({ result: 'passed', via: 'gateway', token: { algorithm: 'ES256' } });
  bench.gateways.set(id, async (uid, nonce) => {
    bytes = await gives(unit)(nonce);
    bytes[bytes.length - 1]! ^= 1;
    return honest(uid, nonce);
  });
  expect(await attest()).toMatchObject({ result: 'unproven' });
  bench.gateways.set(id, async (uid, nonce) => {
    bytes = await gives(unit)(new Uint8Array(32));
    return honest(uid, nonce);
  });
  expect(await attest()).toMatchObject({ result: 'unproven' });
  const after = await bench.typesOf(unit.uid);
  expect(after.filter(type => !before.includes(type))).not.toContain('AttestationFailed');
  expect(await bench.codesOfAlarms()).toContain('GATEWAY_EVIDENCE');
});

it('accepts P-521 keys with their instance id, and refuses other keys', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-521' });
  const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
  await enrolAttestationKey(bench.ctx, unit.uid, spki, '01'.repeat(33), 'operator:olga');
  device.token = async nonce => {
    const inside = encodeCbor(new Map([[1, -36]]));
    const payload = encodeCbor(encodeClaims({ nonce, ...claimsOf(unit), instanceId: new Uint8Array(33).fill(1) }));
    const signed = encodeCbor(['Signature1', inside, new Uint8Array(), payload]);
    const signature = new Uint8Array(sign('sha512', signed, { key: privateKey, dsaEncoding: 'ieee-p1363' }));
    return encodeCbor({ tag: 18, value: [inside, new Map(), payload, signature] });
  };
  expect(await attest()).toMatchObject({ result: 'passed', token: { algorithm: 'ES512', instanceId: '01'.repeat(33) } });
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'der', type: 'spki' });
  await expect(enrolAttestationKey(bench.ctx, unit.uid, new Uint8Array(rsa), undefined, 'operator:olga')).rejects.toMatchObject({
    code: 'KEY_REFUSED',
  });
});

it('does not take SPDM for a token, nor a token for SPDM', async () => {
  await policy({ evidence: 'spdm' });
  expect(await attest()).toMatchObject({ result: 'passed', negotiated: { version: '1.2' } });
  await policy({ evidence: 'psa-token', implementationId: '07'.repeat(32) });
  expect(await attest()).toMatchObject({ result: 'passed', token: { implementationId: '07'.repeat(32) } });
  await policy({ implementationId: '08'.repeat(32) });
  expect(await attest()).toMatchObject({ result: 'failed', reason: 'implementation id: not that of the line' });
  await policy({ implementationId: '' });
  expect(await attest()).toMatchObject({ result: 'passed' });
});
