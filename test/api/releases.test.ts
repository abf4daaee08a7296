import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/digest.ts';
import { openPlant, type Plant } from '../services/production/plant.ts';
import { covers } from '../support/covers.ts';

let plant: Plant;
beforeAll(async () => {
  plant = await openPlant();
  await plant.ask('rita', 'POST', '/v1/lines', { line: 'meter', counterMaximum: 60, rollbackFloor: 2 });
});
afterAll(() => plant.close());

const upload = (query: string, bytes: Uint8Array, who = 'rita') => plant.call(who, 'POST', `/v1/releases?${query}`, bytes);

describe('product lines', () => {
  it('are defined once, with UUIDs of their own and a device CA', async () => {
    const meter = await plant.ask('rita', 'POST', '/v1/lines', { line: 'meter', counterMaximum: 60, rollbackFloor: 2 });
    const pump = await plant.ask('rita', 'POST', '/v1/lines', { line: 'pump' });
    expect(meter).toMatchObject({ line: 'meter', rollbackFloor: 2, counterMaximum: 60, oem: 'Example OEM' });
    expect(pump.vendorUuid).toBe(meter.vendorUuid);
    expect(pump.classUuid).not.toBe(meter.classUuid);
    expect((await plant.ask('aldo', 'GET', '/v1/lines')).lines.map((line: { line: string }) => line.line)).toEqual(['meter', 'pump']);
    expect(await plant.code('rita', 'POST', '/v1/lines', { line: 'meter', counterMaximum: 61 })).toBe('CONFLICT');
    expect(await plant.code('aldo', 'GET', '/v1/lines/boiler')).toBe('NOT_FOUND');
  });
});

describe('releases', () => {
  it('are uploaded by one, approved by another, published (R59, R90, I16)', async () => {
    covers('R59', 'R90', 'I16');
    const { body, status } = await upload('line=meter&image=app&version=1.2.3&counter=5', randomBytes(3000));
    expect(status).toBe(201);
    expect(body).toMatchObject({
      line: 'meter',
      image: 'app',
      version: '1.2.3',
      securityCounter: 5,
      status: 'UPLOADED',
      uploadedBy: 'operator:rita',
    });
    const path = `/v1/releases/${body.releaseId}`;
    expect(await plant.code('rita', 'POST', `${path}/publish`)).toBe('RELEASE_STATE');
    expect(await plant.code('rita', 'POST', `${path}/approve`)).toBe('FOUR_EYES_REQUIRED');
    await plant.ask('rolf', 'POST', `${path}/approve`);
    expect(await plant.ask('rita', 'POST', `${path}/publish`)).toMatchObject({ status: 'PUBLISHED', approvedBy: 'operator:rolf' });
    const { releases } = await plant.ask('aldo', 'GET', '/v1/releases?line=meter');
    expect(releases).toContainEqual(expect.objectContaining({ releaseId: body.releaseId, status: 'PUBLISHED' }));
    expect(await plant.ask('rita', 'POST', `${path}/withdraw`, { reason: 'bug' })).toMatchObject({ status: 'WITHDRAWN' });
    expect(await plant.code('rita', 'POST', `${path}/publish`)).toBe('RELEASE_STATE');
  });

  it('are the same when uploaded again, and the stored body has the image hash', async () => {
    const bytes = randomBytes(2000);
    const first = await upload('line=meter&image=app&version=1.0.0&counter=3', bytes);
    expect((await upload('line=meter&image=app&version=1.0.0&counter=3', bytes)).body).toEqual(first.body);
    const stored = await plant.ctx.blobs.get(first.body.bodySha256);
    expect(sha256Hex(stored)).toBe(first.body.imageHash);
  });

  it('keep within the counters of the line (RULE-11, I9)', async () => {
    covers('RULE-11', 'I9');
    const code = async (counter: number) =>
      (await upload(`line=meter&image=app&version=1.0.1&counter=${counter}`, randomBytes(100))).body.code;
    expect(await code(1)).toBe('ROLLBACK');
    expect(await code(61)).toBe('COUNTER_EXHAUSTED');
  });

  it('refuse what is incomplete, of no line, or by the wrong person', async () => {
    expect((await upload('line=meter&image=app', randomBytes(100))).body.code).toBe('IMAGE_REFUSED');
    expect((await upload('line=boiler&image=app&version=1.0.0&counter=3', randomBytes(100))).body.code).toBe('NOT_FOUND');
    expect((await upload('line=meter&image=app&version=1.0.0&counter=3', randomBytes(100), 'pia')).body.code).toBe('FORBIDDEN');
    expect((await upload('line=meter&image=bl3&version=1.0.0', randomBytes(100))).body.code).toBe('BAD_REQUEST');
  });
});
