import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Actor } from '../../src/domain/actor.ts';
import { gateway, gatewayStream } from '../../src/domain/gateway.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { execute, stateOf } from '../../src/services/base/context.ts';
import { registerGateway } from '../../src/services/field/gateways.ts';
import { certifyGateway } from '../../src/services/identity/enrolment.ts';
import { newParty, type Party } from '../services/parties.ts';
import { openProject, type Project, requestOf } from '../services/project.ts';
import { covers } from '../support/covers.ts';

/** One security officer who wants to be a gateway that is there already. */

let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project?.close());

const settled = async () => project.revocations.caughtUp(await project.ctx.store.head());
/** A gateway that is registered; certifies a key for it. */
async function registered(id: string) {
  await registerGateway(project.ctx, id, id, 'operator:alice');
  return (party: Party, by: Actor) => certifyGateway(project.ctx, id, requestOf(party, { commonName: id }), by);
}
const alarmCodes = async () => (await project.eventsOf('AlarmRaised')).map(({ data }) => data.code);

describe('one officer alone', () => {
  it('does not get the name of a live gateway for another key; two do, with an alarm, and the old certificate ends (T20, I16)', async () => {
    covers('T20', 'I16');
    const { ctx } = project;
    const certify = await registered('hall-1');
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

  it('does not come back by a key that two people once agreed on, when the gateway has another one by now (T20, I16)', async () => {
    covers('T20', 'I16');
    const { ctx } = project;
    const certify = await registered('hall-4');
    await certify(newParty(), 'operator:alice');
    const [once, now] = [newParty(), newParty()];
    await expect(certify(once, 'operator:alice')).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
    await certify(once, 'operator:bob');
    const { serialHex } = parseCertificate((await certify(now, 'gateway:hall-4')).certificate);
    const end = { type: 'EndOlderGatewayCertificates', serial: serialHex, by: 'system:renewal' } as const;
    await execute(ctx, gateway, gatewayStream('hall-4'), end, 'system:renewal');
    await expect(certify(once, 'operator:bob')).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
  });

  it('and the gateway: it does not keep its name from two people by asking for as many certificates as it may have (T20, T24)', async () => {
    covers('T20', 'T24');
    const certify = await registered('hall-3');
    await certify(newParty(), 'operator:alice');
    for (let asked = 1; asked < 6; asked += 1) await certify(newParty(), 'gateway:hall-3');
    await expect(certify(newParty(), 'gateway:hall-3')).rejects.toMatchObject({ code: 'RATE_LIMITED' });
    const hers = newParty();
    await expect(certify(hers, 'operator:alice')).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
    const { certificate } = await certify(hers, 'operator:bob');
    expect(parseCertificate(certificate).spki).toEqual(hers.spki);
    await expect(certify(newParty(), 'gateway:hall-3')).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  });

  it('does not get the name of a gateway that another officer enrols at the same moment (T20, I16)', async () => {
    covers('T20', 'I16');
    const { ctx } = project;
    const certify = await registered('hall-2');
    const outcomes = await Promise.allSettled([certify(newParty(), 'operator:alice'), certify(newParty(), 'operator:bob')]);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(outcomes.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'FOUR_EYES_REQUIRED' } });
    expect(await stateOf(ctx, gateway, gatewayStream('hall-2'))).toMatchObject({ certificates: [{}] });
  });
});
