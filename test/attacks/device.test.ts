import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCertificate } from '../../src/pki/parse.ts';
import { createCertificateUse } from '../../src/services/identity/certificateUse.ts';
import { reenrol } from '../../src/services/identity/est.ts';
import { newParty, type Party } from '../services/parties.ts';
import { openProject, type Project, putInStock, requestOf, type TestDevice } from '../services/project.ts';
import { covers } from '../support/covers.ts';

/** A device, or whoever has its key, that asks for certificates without end. */

let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project?.close());

const settled = async () => project.revocations.caughtUp(await project.ctx.store.head());

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
    const before = await project.ctx.store.head();
    await expect(ldevidOf(unit)).rejects.toMatchObject({ code: 'RATE_LIMITED' });
    // Whoever asks on without end, with a fresh key each time, writes nothing.
    expect(await project.ctx.store.head()).toBe(before);
    await settled();
    const good = () => issued.filter(der => !project.revocations.isRevoked(parseCertificate(der).serialHex));
    expect(good()).toEqual([issued[0], issued[4], issued[5]]);
    createCertificateUse(project.ctx).used(await project.trust.identify(issued[5] as Uint8Array));
    await expect.poll(good).toEqual([issued[5]]);
    expect((await project.trust.identify(unit.certificate)).id).toBe(unit.uid);
    project.moveClock(61 * 60_000);
    expect(parseCertificate(await ldevidOf(unit)).uid).toBe(unit.uid);
  });

  it('gets no second certificate for the key of its IDevID (T26, I4)', async () => {
    covers('T26', 'I4');
    const unit = await project.newDevice();
    await putInStock(project.ctx, unit.uid);
    await expect(ldevidOf(unit, unit)).rejects.toMatchObject({ code: 'KEY_REFUSED' });
  });
});
