import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gateway, gatewayStream } from '../../src/domain/gateway.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { stateOf } from '../../src/services/base/context.ts';
import { registerGateway } from '../../src/services/field/gateways.ts';
import { createCertificateUse } from '../../src/services/identity/certificateUse.ts';
import { certifyGateway } from '../../src/services/identity/enrolment.ts';
import { reenrol } from '../../src/services/identity/est.ts';
import { newParty, type Party } from '../services/parties.ts';
import { openProject, type Project, putInStock, requestOf, type TestDevice } from '../services/project.ts';
import { covers } from '../support/covers.ts';

/** A device that asks for certificates without end, and an officer who wants to be a gateway. */

let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project?.close());

const settled = () => project.revocations.caughtUp(project.ctx.store.head());
const alarmCodes = async () => (await project.eventsOf('AlarmRaised')).map(({ data }) => data.code);

async function ldevidOf(unit: TestDevice, party: Party = newParty(unit.uid)): Promise<Uint8Array> {
  const machine = await project.trust.identify(unit.certificate);
  return reenrol(project.ctx, 'ldevid', requestOf(party, {}), machine);
}

describe('a device', () => {
  it('gets a few certificates an hour, of which a few are good at once; older ones end when a newer one is used (T24)', async () => {
    covers('T24');
    const unit = await project.newDevice();
    await putInStock(project.ctx, unit.uid);
    const issued: Uint8Array[] = [];
    for (let count = 0; count < 6; count += 1) issued.push(await ldevidOf(unit));
    await expect(ldevidOf(unit)).rejects.toMatchObject({ code: 'RATE_LIMITED' });
    await settled();
    const good = () => issued.filter(der => !project.revocations.isRevoked(parseCertificate(der).serialHex));
    expect(good()).toEqual([issued[0], issued[4], issued[5]]);
    createCertificateUse(project.ctx).used(await project.trust.identify(issued[5] as Uint8Array));
    await expect.poll(good).toEqual([issued[5]]);
    expect((await project.trust.identify(unit.certificate)).id).toBe(unit.uid);
    project.moveClock(61 * 60_000);
    expect(parseCertificate(await ldevidOf(unit)).uid).toBe(unit.uid);
  });

  it('gets no second certificate for the key of its IDevID (I4)', async () => {
    covers('I4');
    const unit = await project.newDevice();
    await putInStock(project.ctx, unit.uid);
    await expect(ldevidOf(unit, unit)).rejects.toMatchObject({ code: 'KEY_REFUSED' });
  });
});

describe('one officer alone', () => {
  it('does not get the name of a live gateway for another key; two do, with an alarm, and the old certificate ends (T20, I16)', async () => {
    covers('T20', 'I16');
    const { ctx } = project;
    await registerGateway(ctx, 'hall-1', 'hall-1', 'operator:alice');
    const certify = (party: Party, by: `operator:${string}`) =>
      certifyGateway(ctx, 'hall-1', requestOf(party, { commonName: 'hall-1' }), by);
    const genuine = parseCertificate((await certify(newParty(), 'operator:alice')).certificate);
    const hers = newParty();
    for (let attempt = 0; attempt < 2; attempt += 1)
      await expect(certify(hers, 'operator:alice')).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
    await expect(certify(newParty(), 'operator:bob')).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
    await settled();
    expect(project.revocations.isRevoked(genuine.serialHex)).toBe(false);
    await expect(certify(hers, 'operator:alice')).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
    const { certificate } = await certify(hers, 'operator:bob');
    expect(parseCertificate(certificate).spki).toEqual(hers.spki);
    await settled();
    expect(project.revocations.isRevoked(genuine.serialHex)).toBe(true);
    expect(await alarmCodes()).toEqual(expect.arrayContaining(['GATEWAY_KEY_PROPOSED', 'GATEWAY_REPLACED']));
    expect((await stateOf(ctx, gateway, gatewayStream('hall-1'))).status).toBe('ACTIVE');
  });
});
