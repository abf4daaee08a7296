import { sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Hex } from '../../../src/digest.ts';
import { publicKey, publicKeyStream } from '../../../src/domain/publicKey.ts';
import { assembleCsr, buildCertificationRequestInfo } from '../../../src/pki/csr.ts';
import type { NameFields } from '../../../src/pki/names.ts';
import { stateOf } from '../../../src/services/base/context.ts';
import { registerGateway } from '../../../src/services/field/gateways.ts';
import { certifyDevice, certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { reenrol } from '../../../src/services/identity/est.ts';
import { covers } from '../../support/covers.ts';
import { newParty, newUid, type Party } from '../parties.ts';
import { mint, openProject, type Project, putInStock, requestOf } from '../project.ts';

/** A request whose signature does not hold names a key that is somebody else's, or nobody's. The signature is verified where the certificate is signed,
 *  after all that is decided before: nothing of that may stay, and nobody is told anything. */

const by = 'operator:alice';
let project: Project;
beforeAll(async () => {
  project = await openProject();
});
afterAll(() => project.close());

/** A request for the key of `owner`, signed by somebody else. */
function forged(owner: Party, subject: NameFields): Uint8Array {
  const cri = buildCertificationRequestInfo({ subject, publicKeyPoint: owner.spki.slice(-65) });
  return assembleCsr(cri, new Uint8Array(sign('sha256', cri, newParty().key)));
}
const newGateway = async () => {
  const id = `gw-${newUid().slice(0, 8)}`;
  await registerGateway(project.ctx, id, id, by);
  return id;
};
/** Asks, and what the log has more of then. */
async function refusedWithoutTrace(ask: () => Promise<unknown>): Promise<void> {
  const before = await project.ctx.store.head();
  await expect(ask()).rejects.toMatchObject({ code: 'CSR_SIGNATURE' });
  expect((await project.ctx.store.readAll(before, 100)).map(({ type }) => type)).toEqual([]);
}
const holderOf = async ({ spki }: Party) => stateOf(project.ctx, publicKey, publicKeyStream(sha256Hex(spki)));

describe('a request that is not signed by its key (T26, T32, RULE-10)', () => {
  it('gets nothing and leaves nothing: the key stays free for who has it', async () => {
    covers('T26', 'RULE-10', 'I4');
    const { ctx } = project;
    const [owner, id, objId] = [newParty(), await newGateway(), newUid()];
    await refusedWithoutTrace(() => certifyGateway(ctx, id, forged(owner, { commonName: id }), by));
    await mint(ctx, owner.uid, objId);
    await refusedWithoutTrace(() => certifyDevice(ctx, owner.uid, forged(owner, { commonName: objId, serialNumber: owner.uid }), by));
    const unit = await project.newDevice();
    await putInStock(ctx, unit.uid);
    const machine = await project.trust.identify(unit.certificate);
    await refusedWithoutTrace(() => reenrol(ctx, 'ldevid', forged(owner, {}), machine));
    expect(await holderOf(owner)).toMatchObject({ status: 'NONE' });
    // Also many together, and with genuine ones among them.
    const genuine = newParty();
    const outcomes = await Promise.allSettled([
      ...Array.from({ length: 5 }, () => certifyGateway(ctx, id, forged(owner, { commonName: id }), by)),
      certifyGateway(ctx, id, requestOf(genuine, { commonName: id }), by),
      ...Array.from({ length: 5 }, () => certifyGateway(ctx, id, forged(genuine, { commonName: id }), by)),
    ]);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(outcomes[5]).toMatchObject({ status: 'fulfilled' });
    expect(await holderOf(owner)).toMatchObject({ status: 'NONE' });
    expect(await holderOf(genuine)).toMatchObject({ holder: { kind: 'gateway', uid: id } });
  });

  it('does not get the certificate that the key has, nor learn whose it is', async () => {
    covers('T26');
    const { ctx } = project;
    const [owner, id, other] = [newParty(), await newGateway(), await newGateway()];
    await certifyGateway(ctx, id, requestOf(owner, { commonName: id }), by);
    await refusedWithoutTrace(() => certifyGateway(ctx, id, forged(owner, { commonName: id }), by));
    // With the key itself it is WEAK_OR_CLONED_KEY.
    await refusedWithoutTrace(() => certifyGateway(ctx, other, forged(owner, { commonName: other }), by));
    await expect(certifyGateway(ctx, other, requestOf(owner, { commonName: other }), by)).rejects.toMatchObject({
      code: 'WEAK_OR_CLONED_KEY',
    });
  });

  it('proposes no key for a live gateway, and agrees to none (T20, I16)', async () => {
    covers('T20', 'I16');
    const { ctx } = project;
    const [id, next] = [await newGateway(), newParty()];
    const csr = requestOf(next, { commonName: id });
    await certifyGateway(ctx, id, requestOf(newParty(), { commonName: id }), by);
    await refusedWithoutTrace(() => certifyGateway(ctx, id, forged(next, { commonName: id }), by));
    await expect(certifyGateway(ctx, id, csr, by)).rejects.toMatchObject({ code: 'FOUR_EYES_REQUIRED' });
    await refusedWithoutTrace(() => certifyGateway(ctx, id, forged(next, { commonName: id }), 'operator:bob'));
    expect((await certifyGateway(ctx, id, csr, 'operator:bob')).certificate.length).toBeGreaterThan(0);
  });
});
