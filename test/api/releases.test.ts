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

  it('raise their floor, say how long they are supported, and show the counters used and left (RULE-11)', async () => {
    covers('RULE-11');
    await plant.ask('rita', 'POST', '/v1/lines', { line: 'valve', counterMaximum: 20 });
    expect(await plant.ask('rita', 'POST', '/v1/lines/valve/floor', { floor: 3 })).toMatchObject({ rollbackFloor: 3 });
    expect(await plant.code('rita', 'POST', '/v1/lines/valve/floor', { floor: 2 })).toBe('ROLLBACK');
    expect(await plant.code('pia', 'POST', '/v1/lines/valve/floor', { floor: 4 })).toBe('FORBIDDEN');
    expect(await plant.ask('rita', 'POST', '/v1/lines/valve/support', { until: '2031-12-31' })).toMatchObject({
      supportUntil: '2031-12-31',
    });
    await upload('line=valve&image=app&version=1.0.0&counter=7', randomBytes(100));
    expect(await plant.ask('aldo', 'GET', '/v1/lines/valve/counters')).toEqual({
      line: 'valve',
      counterMaximum: 20,
      rollbackFloor: 3,
      used: 7,
      left: 13,
      devices: [],
    });
  });
});

describe('releases', () => {
  it('say what is in their image, from the bytes that devices get', async () => {
    const program = new Uint8Array(400);
    new DataView(program.buffer).setUint32(0, 0x2000_8000, true);
    new DataView(program.buffer).setUint32(4, 0x0800_0401, true);
    const { body } = await upload('line=meter&image=app&version=1.1.0&counter=4', program);
    const analysis = await plant.ask('aldo', 'GET', `/v1/releases/${body.releaseId}/analysis`);
    expect(analysis).toMatchObject({ payloadBytes: 400, loadAddress: 0, dependencies: [] });
    expect(analysis.vectors).toEqual({ stackPointer: 0x2000_8000, resetHandler: 0x0800_0401 });
    expect(analysis.protectedTlvs).toContainEqual({ type: 'securityCounter', value: '04000000' });
    // A stack that is in no memory of the chip, whatever else it is.
    const other = await upload('line=meter&image=app&version=1.1.1&counter=4', new Uint8Array(400).fill(0x71));
    expect(await plant.ask('aldo', 'GET', `/v1/releases/${other.body.releaseId}/analysis`)).not.toHaveProperty('vectors');
    expect(await plant.code('aldo', 'GET', `/v1/releases/${'00'.repeat(16)}/analysis`)).toBe('NOT_FOUND');
  });

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

  it('have one content for one version, and say what became of the upload', async () => {
    const query = 'line=meter&image=app&version=1.9.0&counter=5';
    expect((await upload(query, randomBytes(100))).body).toMatchObject({
      upload: { kept: false, added: ['0x50', '0x74', '0x75'], dropped: [], replaced: [] },
    });
    expect((await upload(query, randomBytes(100))).body.code).toBe('CONFLICT');
  });

  it('have one content for one version when two come in the same moment', async () => {
    for (const minor of [0, 1, 2]) {
      const query = `line=meter&image=app&version=1.8.${minor}&counter=5`;
      const answers = await Promise.all([1, 2, 3, 4].map(() => upload(query, randomBytes(100))));
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409]);
    }
  });

  it('are refused when no device of the line could install them', async () => {
    const big = await upload('line=meter&image=app&version=3.0.0&counter=5', randomBytes(2 * 1024 * 1024));
    expect(big.body).toMatchObject({ code: 'IMAGE_REFUSED', detail: expect.stringContaining('too-large') });
    await plant.ask('rita', 'POST', '/v1/lines', { line: 'small', layout: { appSlotBytes: 16_384 } });
    expect((await upload('line=small&image=app&version=1.0.0&counter=1', randomBytes(12_000))).body.code).toBe('IMAGE_REFUSED');
    expect((await upload('line=small&image=app&version=1.0.0&counter=1', randomBytes(8_000))).status).toBe(201);
  });

  it('take a large step of the counter only on the uploader’s and the approver’s word', async () => {
    const query = 'line=meter&image=app&version=4.0.0&counter=40';
    const bytes = randomBytes(100);
    expect((await upload(query, bytes)).body.code).toBe('COUNTER_JUMP');
    const { body } = await upload(`${query}&counterJump=true`, bytes);
    expect(body).toMatchObject({ securityCounter: 40, counterJump: true });
    expect(await plant.code('rita', 'POST', `/v1/releases/${body.releaseId}/approve`)).toBe('FOUR_EYES_REQUIRED');
  });

  it('take no large step of the counter through uploads that nobody has approved', async () => {
    await plant.ask('rita', 'POST', '/v1/lines', { line: 'pump' });
    const wish = (version: string, counter: number) => `line=pump&image=app&version=${version}&counter=${counter}`;
    const { body } = await upload(wish('1.0.0', 16), randomBytes(100));
    expect(body.counterJump).toBeUndefined();
    expect((await upload(wish('1.1.0', 32), randomBytes(100))).body.code).toBe('COUNTER_JUMP');
    await plant.ask('rolf', 'POST', `/v1/releases/${body.releaseId}/approve`);
    await plant.ask('rita', 'POST', `/v1/releases/${body.releaseId}/publish`);
    expect((await upload(wish('1.1.0', 32), randomBytes(100))).status).toBe(201);
  });

  it('refuse what is incomplete, of no line, or by the wrong person', async () => {
    expect((await upload('line=meter&image=app', randomBytes(100))).body.code).toBe('IMAGE_REFUSED');
    expect((await upload('line=boiler&image=app&version=1.0.0&counter=3', randomBytes(100))).body.code).toBe('NOT_FOUND');
    expect((await upload('line=meter&image=app&version=1.0.0&counter=3', randomBytes(100), 'pia')).body.code).toBe('FORBIDDEN');
    expect((await upload('line=meter&image=bl3&version=1.0.0', randomBytes(100))).body.code).toBe('BAD_REQUEST');
  });
});
