import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { authorityOf, rootDer } from '../../../src/services/authority/authority.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { openPlant, type Plant } from '../production/plant.ts';

let plant: Plant;
beforeAll(async () => {
  plant = await openPlant();
});
afterAll(() => plant.close());

describe('the trust bundle (R2)', () => {
  it('names the issuing CA of each of several lines that are defined at once', async () => {
    const lines = ['meter', 'valve', 'pump'];
    const answers = await Promise.all(lines.map(line => plant.call('rita', 'POST', '/v1/lines', { line })));
    expect(answers.map(({ status, body }) => [status, body.code])).toEqual(lines.map(() => [201, undefined]));
    const authorities = await authorityOf(plant.ctx);
    const bundle = await verifyTrustBundle(await currentTrustBundle(plant.ctx, authorities), parseCertificate(rootDer(authorities)).spki);
    expect(bundle.issuers.map(({ icaId }) => icaId)).toEqual(expect.arrayContaining(lines.map(line => `device-${line}-1`)));
  });
});
