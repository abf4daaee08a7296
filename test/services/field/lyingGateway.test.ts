import { afterAll, beforeAll, expect, it } from 'vitest';
import { utf8 } from '../../../src/bytes.ts';
import { authority, authorityStream } from '../../../src/domain/authority.ts';
import { gateway, gatewayStream } from '../../../src/domain/gateway.ts';
import { execute } from '../../../src/services/base/context.ts';
import { livingDevice } from '../../../src/services/base/livingDevice.ts';
import { defineLine, setAttestationPolicy } from '../../../src/services/firmware/lines.ts';
import { certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { defaultSpdmPolicy, offerUnder } from '../../../src/spdm/policy.ts';
import { runAttestation } from '../../../src/spdm/requester/run.ts';
import { build, line, measurementsOf, responderOf, type Unit } from '../../gateway/fieldKit.ts';
import { makeCsr, makeKey } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { responderFor, signerOf } from './deviceKinds.ts';
import { type FieldBench, goodManners, openField } from './fieldBench.ts';
import { type Bend, openGateway } from './gatewayBench.ts';
import { flipped, lastOf, lies } from './lies.ts';

/** A gateway that lies about the devices behind it: what it brings is held against it, and the device is asked another way. */

let bench: FieldBench;
let used = 0;
const nextUnit = (): Unit => bench.fleet.units[used++]!;

beforeAll(async () => {
  bench = await openField(50);
});
afterAll(() => bench.close());

const attest = (unit: Unit, via?: 'gateway' | 'mqtt') => bench.field.attestation.attest(unit.uid, { via });
const alarmsOf = async (subject: string): Promise<unknown[]> => {
  const events = await bench.ctx.store.readStream(`alarm-${subject}`);
  return events.map(({ data }) => data.code);
};
const refusedBy = async (id: string) => {
  const events = await bench.ctx.store.readStream(`gateway-${id}`);
  return events.filter(({ type }) => type === 'GatewayEvidenceRefused').map(({ data }) => data);
};

const kinds = Object.entries(lies);

it.each(kinds)('harms no device with %s: it is unchanged, and the gateway is named (T20)', async (what, lie) => {
  covers('T20');
  const [unit, other] = [nextUnit(), bench.fleet.units[0]!];
  const id = `liar-${what.replaceAll(/[^a-z]/gi, '-')}`;
  await openGateway(bench, id, unit, lie(unit, other));
  const before = await bench.typesOf(unit.uid);
  const result = await attest(unit);
  expect(result).toMatchObject({ result: 'unproven', via: 'gateway', reason: expect.stringContaining(id) });
  expect(await bench.typesOf(unit.uid)).toEqual(before);
  expect(await alarmsOf(id)).toEqual(['GATEWAY_EVIDENCE']);
  const [refused, ...more] = await refusedBy(id);
  expect(refused).toMatchObject({ uid: unit.uid, code: expect.any(String), reason: expect.any(String) });
  expect(more).toEqual([]);
  for (const kept of [refused?.evidenceSha256, refused?.verdictSha256]) expect(await bench.ctx.blobs.get(String(kept))).toBeDefined();
});

it('takes no verdict twice nor one that is older than the last one, and begins again with a new key', async () => {
  const unit = nextUnit();
  const sequences = [7, 8, 8, 3, 9];
  await openGateway(bench, 'backwards', unit, ({ sequence }) => ({ verdict: { sequence: sequences[sequence - 1]! } }));
  const results: string[] = [];
  for (const _ of sequences) results.push((await attest(unit)).result);
  expect(results).toEqual(['passed', 'passed', 'unproven', 'unproven', 'passed']);
  await openGateway(bench, 'another', unit);
  bench.gateways.delete('backwards');
  expect(await attest(unit)).toMatchObject({ result: 'passed' });
});

it('holds nothing against a gateway whose next verdict came to another process first', async () => {
  const unit = nextUnit();
  const asked = Promise.withResolvers<Uint8Array>();
  const meanwhile: Bend = async ({ sequence }) => {
    bench.attestations.noteSequence(await asked.promise, sequence + 1);
    return {};
  };
  const { keyId } = await openGateway(bench, 'hurry', unit, meanwhile);
  asked.resolve(keyId);
  expect(await attest(unit, 'gateway')).toMatchObject({ result: 'passed', via: 'gateway' });
  expect(await refusedBy('hurry')).toEqual([]);
  expect(await attest(unit, 'gateway')).toMatchObject({ result: 'unproven' });
});

it.each([
  ['says failed', { verdict: 'failed' }],
  ['says unreachable', { verdict: 'unreachable' }],
  ['names other measurements', { measurementSha256: new Uint8Array(32) }],
  ['names another version', { spdmVersion: 0x11 }],
] as const)('believes good evidence and names the gateway whose verdict %s', async (what, verdict) => {
  const unit = nextUnit();
  const id = `denies-${what.replaceAll(' ', '-')}`;
  await openGateway(bench, id, unit, () => ({ verdict }));
  expect(await attest(unit)).toMatchObject({ result: 'passed', via: 'gateway' });
  expect(await alarmsOf(id)).toEqual(['GATEWAY_VERDICT']);
  expect(await refusedBy(id)).toMatchObject([{ uid: unit.uid, code: 'GATEWAY_VERDICT' }]);
});

it('names a gateway once a day for one device and one fault, and keeps no more of what it brings', async () => {
  const unit = nextUnit();
  await openGateway(bench, 'tireless', unit, ({ evidence }) => ({
    evidence: { ...evidence, exchange: lastOf(evidence.exchange, b => flipped(b, -1)) },
  }));
  for (let time = 0; time < 3; time++) await attest(unit);
  expect(await refusedBy('tireless')).toHaveLength(1);
  bench.moveTime(86_400_000);
  await attest(unit);
  expect(await refusedBy('tireless')).toHaveLength(2);
});

it('asks the device on its own connection after a gateway has lied, and believes that (T20)', async () => {
  covers('T20');
  const unit = nextUnit();
  await openGateway(bench, 'liar-beside', unit, () => ({ key: makeKey() }));
  bench.plugIn(unit);
  expect(await attest(unit, 'gateway')).toMatchObject({ result: 'passed', via: 'mqtt' });
  expect(await alarmsOf('liar-beside')).toEqual(['GATEWAY_EVIDENCE']);
  bench.devices.delete(unit.uid);
});

it('asks a second gateway after the first one has lied (T20)', async () => {
  covers('T20');
  const unit = nextUnit();
  await openGateway(bench, 'first-liar', unit, () => ({ bytes: utf8('nothing') }));
  await openGateway(bench, 'second-honest', unit);
  expect(await attest(unit)).toMatchObject({ result: 'passed', via: 'gateway' });
  expect(await alarmsOf('first-liar')).toEqual(['GATEWAY_EVIDENCE']);
  expect(await alarmsOf('second-honest')).toEqual([]);
});

it('suspects no clone on the word of one gateway, and does on that of two, which leave it in use (T8, T20)', async () => {
  covers('T8', 'T20');
  const unit = nextUnit();
  const says = () => ({ verdict: { verdict: 'failed' } }) as const;
  const clone = makeKey();
  await openGateway(bench, 'witness-1', unit, says, clone);
  const before = await bench.typesOf(unit.uid);
  expect(await attest(unit)).toMatchObject({ result: 'unproven' });
  expect(await bench.typesOf(unit.uid)).toEqual(before);
  await openGateway(bench, 'witness-2', unit, says, clone);
  expect(await attest(unit)).toMatchObject({ result: 'unproven' });
  expect(await bench.typesOf(unit.uid)).toEqual([...before, 'CloneSuspected']);
  expect((await livingDevice(bench.ctx, unit.uid)).status).toBe('STOCK');
  expect(await alarmsOf('witness-2')).toEqual([]);
});

it('takes no false signature that a gateway calls passed for a confirmation', async () => {
  const unit = nextUnit();
  const clone = makeKey();
  await openGateway(bench, 'says-passed-1', unit, undefined, clone);
  await openGateway(bench, 'says-passed-2', unit, undefined, clone);
  expect(await attest(unit)).toMatchObject({ result: 'unproven' });
  expect(await bench.typesOf(unit.uid)).not.toContain('CloneSuspected');
  expect([await alarmsOf('says-passed-1'), await alarmsOf('says-passed-2')]).toEqual([['GATEWAY_EVIDENCE'], ['GATEWAY_EVIDENCE']]);
});

it('holds nothing against a gateway that told the truth about a clone (T8)', async () => {
  covers('T8');
  const unit = nextUnit();
  const clone = makeKey();
  await openGateway(bench, 'truthful', unit, () => ({ verdict: { verdict: 'failed' } }), clone);
  bench.plugIn(unit).manners.signingKey = clone;
  expect(await attest(unit, 'gateway')).toMatchObject({ result: 'failed', via: 'mqtt' });
  expect((await bench.typesOf(unit.uid)).slice(-2)).toEqual(['CloneSuspected', 'DeviceQuarantined']);
  expect(await alarmsOf('truthful')).toEqual([]);
  bench.devices.delete(unit.uid);
});

it('fails a device for measurements that it has signed, whoever brought them', async () => {
  const unit = nextUnit();
  const other = { ...unit, firmware: { ...unit.firmware, imageHash: '77'.repeat(32) } };
  await openGateway(bench, 'carrier', other);
  expect(await attest(unit)).toMatchObject({ result: 'failed', via: 'gateway', reason: 'application: value' });
  expect(await alarmsOf('carrier')).toEqual([]);
});

it('charges no gateway with a certificate whose issuer is compromised: the device has signed with it (T20)', async () => {
  covers('T20');
  await defineLine(bench.ctx, { line: 'stolen' }, 'operator:rita');
  const unit = await build(bench.ctx, bench.fleet.bl2, bench.fleet.app, 'stolen');
  await openGateway(bench, 'unaware', unit);
  await openGateway(bench, 'aware', unit, () => ({ verdict: { verdict: 'failed' } }));
  const compromise = { type: 'CompromiseIssuingCa', icaId: 'device-stolen-1', reason: 'theft', by: 'operator:olga' } as const;
  await execute(bench.ctx, authority, authorityStream(bench.ctx.project), compromise, 'operator:olga');
  const failed = { result: 'failed', via: 'gateway', reason: expect.stringContaining('CHAIN_REFUSED') };
  await expect.poll(() => attest(unit)).toMatchObject(failed);
  bench.gateways.delete('unaware');
  expect(await attest(unit)).toMatchObject(failed);
  expect([await alarmsOf('unaware'), await alarmsOf('aware')]).toEqual([[], []]);
});

it('charges neither the device nor the gateway with a fault of the server', async () => {
  const unit = nextUnit();
  await openGateway(bench, 'innocent', unit);
  const { blobs } = bench.ctx;
  const get = blobs.get;
  const before = await bench.typesOf(unit.uid);
  blobs.get = () => Promise.reject(new Error('disk'));
  await expect(attest(unit)).rejects.toThrow('disk');
  blobs.get = get;
  expect(await bench.typesOf(unit.uid)).toEqual(before);
  expect(await alarmsOf('innocent')).toEqual([]);
});

/** A gateway with a device that is known by the key of its certificate alone. */
async function bringKey(id: string, unit: Unit, ofLine: string): Promise<void> {
  const { key } = unit;
  await setAttestationPolicy(bench.ctx, ofLine, { publicKey: true }, 'operator:olga');
  const manners = goodManners(unit);
  const vendor = { certificates: [], sign: signerOf(key, 'P-256') };
  const spdm = responderFor(unit, 'P-256', '0', 'public key, no certificate', 0x12, vendor, () => measurementsOf(unit, manners));
  await openGateway(bench, id, unit, async ({ nonce }) => {
    const responder = responderOf(unit, { ...manners, spdm });
    const asked = { ...offerUnder(defaultSpdmPolicy), nonce, raw: true, publicKey: key.spki };
    return { evidence: await runAttestation(asked, async wire => (await responder.handle(wire))!) };
  });
}

it('takes no key whose certificate a compromised authority has issued, and charges no gateway with it (T20, R86)', async () => {
  covers('T20', 'R86');
  await defineLine(bench.ctx, { line: 'taken' }, 'operator:rita');
  const unit = await build(bench.ctx, bench.fleet.bl2, bench.fleet.app, 'taken');
  await bringKey('brings-a-taken-key', unit, 'taken');
  expect(await attest(unit)).toMatchObject({ result: 'passed', negotiated: { slot: 15 } });
  const compromise = { type: 'CompromiseIssuingCa', icaId: 'device-taken-1', reason: 'theft', by: 'operator:olga' } as const;
  await execute(bench.ctx, authority, authorityStream(bench.ctx.project), compromise, 'operator:olga');
  await expect.poll(() => attest(unit)).toMatchObject({ result: 'failed', reason: expect.stringContaining('CHAIN_REFUSED') });
  expect(await alarmsOf('brings-a-taken-key')).toEqual([]);
});

it('charges no gateway that is suspended while it answers (T20)', async () => {
  covers('T20');
  const unit = nextUnit();
  await openGateway(bench, 'suspended', unit, async () => {
    await execute(
      bench.ctx,
      gateway,
      gatewayStream('suspended'),
      { type: 'SuspendGateway', reason: 'moved', by: 'operator:olga' },
      'operator:olga',
    );
    return {};
  });
  await expect(attest(unit)).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE' });
  expect(await alarmsOf('suspended')).toEqual([]);
});

it.each([
  ['an honest answer', {}],
  ['an answer that cannot be read', { bytes: utf8('half of it') }],
] as const)('charges no gateway whose key is replaced while the machine before it gives %s (T20)', async (what, bent) => {
  covers('T20');
  const unit = nextUnit();
  const id = `replaced-${what.replaceAll(' ', '-')}`;
  const next = makeCsr(makeKey(), { commonName: id });
  await openGateway(bench, id, unit, async () => {
    await certifyGateway(bench.ctx, id, next, 'operator:olga').catch(() => undefined);
    await certifyGateway(bench.ctx, id, next, 'operator:oscar');
    return bent;
  });
  await expect(attest(unit)).rejects.toMatchObject({ code: 'DEVICE_UNREACHABLE', message: expect.stringContaining('another key') });
  expect(await alarmsOf(id)).toEqual([]);
  expect(await refusedBy(id)).toEqual([]);
});

it('charges no gateway with a key whose certificate has ended (T20)', async () => {
  covers('T20');
  const unit = nextUnit();
  await bringKey('brings-a-key', unit, line);
  expect(await attest(unit)).toMatchObject({ result: 'passed', via: 'gateway', negotiated: { slot: 15 } });
  const { isRevoked } = bench.revocations;
  Object.assign(bench.revocations, { isRevoked: () => true });
  expect(await attest(unit)).toMatchObject({ result: 'failed', reason: expect.stringContaining('CERTIFICATE_REVOKED') });
  Object.assign(bench.revocations, { isRevoked });
  expect(await alarmsOf('brings-a-key')).toEqual([]);
});
