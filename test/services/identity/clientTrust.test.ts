import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64url } from '../../../src/bytes.ts';
import type { EventStore } from '../../../src/eventstore/port.ts';
import { signer } from '../../../src/keystore/signer.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { authorityOf } from '../../../src/services/authority/authority.ts';
import { certifyDevice } from '../../../src/services/identity/enrolment.ts';
import { issuedTo } from '../../../src/services/identity/issuedCertificates.ts';
import { makeLeaf } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { csrOf, newParty, newUid } from '../parties.ts';
import { establishOldCa, mint, openProject, type Project } from '../project.ts';

let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project.close());

const by = 'operator:alice';

async function deviceOf(line: string): Promise<Uint8Array> {
  const [party, objId] = [newParty(), newUid()];
  await mint(project.ctx, party.uid, objId, line);
  return (await certifyDevice(project.ctx, party.uid, fromBase64url(csrOf(party, objId)), by)).certificate;
}

describe('the certificate of a machine', () => {
  it('from an issuing CA that states no use counts for the use that the log records', async () => {
    const old = await establishOldCa(project.ctx, 'vintage');
    const device = await deviceOf('vintage');
    await expect
      .poll(() => project.trust.identify(device).catch(error => error.code))
      .toMatchObject({ kind: 'device', icaId: 'device-vintage-1' });
    for (const kind of ['programmer', 'gateway'] as const)
      await expect(project.trust.identify(await makeLeaf(kind, old))).rejects.toMatchObject({
        code: 'CHAIN_REFUSED',
        message: expect.stringMatching(/not for a/),
      });
  });

  it('that the log has not issued is refused, however good its signature, and an alarm (T17)', async () => {
    covers('T17');
    const { ctx, trust } = project;
    const { keyId, certificate } = (await authorityOf(ctx)).issuingCas.find(({ icaId }) => icaId === 'device-meter-1')!;
    const der = fromBase64url(certificate);
    const stolen = { der, certificate: parseCertificate(der), key: { signer: await signer(ctx.keystore, keyId) } };
    const known = await project.newDevice();
    for (const name of [newUid(), known.uid])
      await expect(trust.identify(await makeLeaf('device', stolen, { name }))).rejects.toMatchObject({
        message: expect.stringMatching(/not issued by this project/),
      });
    expect(trust.judge(await makeLeaf('device', stolen)).kind).toBe('device');
    expect((await trust.identify(known.certificate)).id).toBe(known.uid);
    const alarms = (await project.eventsOf('AlarmRaised')).map(({ data }) => [data.code, data.subject]);
    expect(alarms.filter(alarm => String(alarm) === 'CA_MISUSED,device-meter-1')).toHaveLength(1);
  });

  it('whose signature TLS has verified is not verified again, and only the one that the log has counts', async () => {
    covers('T17');
    const known = await project.newDevice();
    const tampered = new Uint8Array(known.certificate);
    tampered[tampered.length - 1]! ^= 1;
    expect((await project.trust.identify(known.certificate, { isVerified: true })).id).toBe(known.uid);
    const alarms = async () => (await project.eventsOf('AlarmRaised')).length;
    const before = await alarms();
    await expect(project.trust.identify(tampered, { isVerified: true })).rejects.toMatchObject({
      message: expect.stringMatching(/a signature that its issuer did not make/),
    });
    expect(await alarms()).toBe(before);
  });

  it('is no device of another line', async () => {
    const device = await deviceOf('meter');
    expect(project.trust.judge(device, 'meter').kind).toBe('device');
    expect(() => project.trust.judge(device, 'vintage')).toThrow(/not of line vintage/);
  });

  it('that another process has issued a moment ago is found, and one that is known is not looked for again (T17)', async () => {
    covers('T17');
    const { ctx } = project;
    const { certificate, uid } = await project.newDevice();
    let looks = 0;
    const storeThatKnows = (known: boolean): EventStore => ({
      ...ctx.store,
      async readStream(stream, from, asKnown) {
        if (!asKnown) looks += 1;
        return asKnown && !known ? [] : ctx.store.readStream(stream, from, asKnown);
      },
    });
    const machine = project.trust.judge(certificate);
    expect(machine.id).toBe(uid);
    expect(await issuedTo({ ...ctx, store: storeThatKnows(true) }, machine)).toEqual({ line: 'meter' });
    expect(looks).toBe(0);
    expect(await issuedTo({ ...ctx, store: storeThatKnows(false) }, machine)).toEqual({ line: 'meter' });
    expect(looks).toBe(1);
    expect(await issuedTo({ ...ctx, store: storeThatKnows(true) }, { ...machine, serialHex: '01' })).toBeUndefined();
  });
});
