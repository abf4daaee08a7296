import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectProgrammer } from '../../../gateway-device/programmer/client.ts';
import { toHex } from '../../../src/bytes.ts';
import type { UnitDataField } from '../../../src/domain/jobEvents.ts';
import { configImage } from '../../../src/production/configWords.ts';
import { decodeUnitObject, reportedText } from '../../../src/production/unitData.ts';
import { failing } from '../../support/faults.ts';
import { endLine, startLine } from './line.ts';
import type { OemServer } from './oemServer.ts';
import {
  importCode,
  newTargetStorage,
  onlyJob,
  preparedProgrammer,
  produce,
  startProgrammer,
  startTarget,
  type TestProgrammer,
  type TestTarget,
} from './programmerFixture.ts';

/** Serial numbers, MAC addresses, calibration data and labels, from the series of the OEM into the chip, and never twice. */

let server: OemServer;
let programmer: TestProgrammer;

const fields: readonly UnitDataField[] = [
  { name: 'serial', series: 'meter-serial', destination: 'sealed' },
  { name: 'mac', series: 'hall-mac', destination: 'plain' },
  { name: 'trim', series: 'meter-trim', destination: 'sealed' },
  { name: 'sticker', series: 'meter-sticker', destination: 'report' },
];
const trims = Array.from({ length: 400 }, (_, index) => (0x1000 + index).toString(16).repeat(4));

beforeAll(async () => {
  ({ server, programmer } = await startLine());
  const pia = (method: string, path: string, body: unknown) => server.plant.ask('pia', method, `/v1/series${path}`, body);
  for (const [name, kind] of [
    ['meter-serial', 'serial'],
    ['hall-mac', 'mac'],
    ['meter-trim', 'calibration'],
    ['meter-sticker', 'label'],
  ] as const)
    await pia('POST', '', { name, kind });
  await pia('POST', '/meter-serial/range', { from: 'SN-000095', count: 300 });
  await pia('POST', '/meter-serial/range', { from: 'T-0001', count: 300 });
  await pia('POST', '/hall-mac/range', { from: '02:00:5e:10:00:f0', count: 600 });
  await pia('PUT', '/meter-trim/list', trims.join('\n'));
  await pia('POST', '/meter-sticker/range', { from: 'Box A 001', count: 600 });
});
afterAll(() => endLine({ server, programmer }));

/** A chip that says yes and keeps one object not. */
async function startForgetful(forgotten: string): Promise<TestTarget> {
  const storage = newTargetStorage();
  const { chip, stop } = await startTarget(undefined, storage);
  await stop();
  const { data } = chip;
  const put: typeof data.put = (name, content) => (name === forgotten ? undefined : data.put(name, content));
  return startTarget(chip.uid, storage, { changes: { data: { ...data, put } } });
}

/** A chip whose configuration words are others, or not there, as soon as nobody can read them over the debug port. */
async function startLiar(words: readonly number[] | undefined): Promise<TestTarget> {
  const storage = newTargetStorage();
  const { chip, stop } = await startTarget(undefined, storage);
  await stop();
  const { data } = chip;
  const get: typeof data.get = name => {
    if (name !== 'configWords' || target.chip.debugState() === 'open') return data.get(name);
    return words && configImage(words);
  };
  const target = await startTarget(chip.uid, storage, { changes: { data: { ...data, get } } });
  return target;
}

type Unit = { readonly uid: string; readonly status: string; readonly values: Readonly<Record<string, string>> };
const unitsOf = async (jobId: string): Promise<readonly Unit[]> =>
  (await server.plant.ask('pia', 'GET', `/v1/jobs/${jobId}/units?limit=500`)).units;
/** What the chip keeps, by name. */
const kept = ({ chip }: TestTarget): Readonly<Record<string, string>> =>
  Object.fromEntries(
    decodeUnitObject(chip.data.get('unitData') ?? new Uint8Array()).map(({ name, kind, value }) => [name, reportedText(kind, value)]),
  );
const written = ({ serial, mac, trim }: Unit['values']) => ({ serial, mac, trim });

describe('a unit', () => {
  it('gets its values sealed, proves them in its receipt, and is reported with them', async () => {
    const { jobId } = await onlyJob(server, programmer, { count: 2, scrapAllowance: 1, unitData: fields });
    const target = await startTarget();
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    const [unit] = (await unitsOf(jobId)) as [Unit];
    expect(unit).toMatchObject({ uid: toHex(target.uid), status: 'COMMITTED' });
    expect(unit.values).toMatchObject({ serial: 'SN-000095', mac: '02:00:5e:10:00:f0', sticker: 'Box A 001' });
    expect(kept(target)).toEqual(written(unit.values));
    const csv = String((await server.plant.call('pia', 'GET', `/v1/jobs/${jobId}/status.csv`)).body).split('\r\n');
    expect(csv[0]).toMatch(/,reason,values.serial,values.mac,values.trim,values.sticker$/);
    expect(csv[1]).toMatch(new RegExp(`,SN-000095,02:00:5e:10:00:f0,${unit.values.trim},Box A 001$`));
    await target.stop();
  });

  it('that does not sign to keep them is not built', async () => {
    await onlyJob(server, programmer, { count: 2, unitData: fields });
    const forgetful = await startForgetful('unitData');
    expect((await produce(programmer.core, forgetful.addresses)).code).toBe('RECEIPT_REFUSED');
    await forgetful.stop();
  });

  it('is not begun with a number that had its values already, whatever the server says', async () => {
    const { jobId } = await onlyJob(server, programmer, { count: 2, unitData: fields });
    const { nvm } = programmer.core;
    nvm.update(state => ({
      ...state,
      jobs: { ...state.jobs, [jobId]: { ...(state.jobs[jobId] as never as object), newestNumber: 7 } as never },
    }));
    const target = await startTarget();
    expect((await produce(programmer.core, target.addresses)).code).toBe('GRANT_REFUSED');
    await target.stop();
  });
});

describe('no value is given twice', () => {
  it('over cuts, lost answers, given-up units, scrap, many targets, further packages, other jobs and programmers', async () => {
    const other = await preparedProgrammer(server);
    const first = await onlyJob(server, programmer, { count: 30, planned: 40, scrapAllowance: 20, unitData: fields });
    const second = await onlyJob(server, other, { count: 6, unitData: fields });
    const built: TestTarget[] = [];
    const build = async (at: TestProgrammer, target?: TestTarget): Promise<void> => {
      const own = target ?? (await startTarget());
      expect((await produce(at.core, own.addresses)).code).toBe('OK');
      built.push(own);
    };
    for (const step of [2, 6, 14, 15, 16]) {
      const target = await startTarget();
      const cut = (k: number, state: string): void => {
        if (k === step && state === 'begin') throw new Error('cut');
      };
      await expect(produce(programmer.core, target.addresses, cut)).rejects.toThrow('cut');
      await programmer.stop();
      programmer = await startProgrammer(programmer.folder);
      await build(programmer, target);
    }
    for (const [call, fault] of [
      ['units', 'lost'],
      ['units', 'unanswered'],
      ['commit', 'lost'],
    ] as const) {
      const target = await startTarget();
      server.proxy.fail(failing(call, fault));
      expect((await produce(programmer.core, target.addresses)).code).toBe('SERVER_UNREACHABLE');
      server.proxy.heal();
      await build(programmer, target);
    }
    for (const call of ['csr', 'application']) {
      const target = await startTarget();
      server.proxy.fail(failing(call, { status: 403, code: 'RECEIPT_REFUSED' }));
      expect((await produce(programmer.core, target.addresses)).code).toBe('RECEIPT_REFUSED');
      server.proxy.heal();
      if (call === 'csr') await build(programmer, target);
      await target.stop();
    }
    await Promise.all(Array.from({ length: 4 }, () => build(programmer)));
    await server.allot(first.jobId, programmer.uid, 32, 20);
    expect(await importCode(programmer.core, await server.exportPackage(first.jobId, programmer.uid))).toBe('OK');
    expect(await importCode(programmer.core, await server.exportPackage(first.jobId, programmer.uid, true))).toBe('OK');
    await server.allot(first.jobId, other.uid, 3, 0);
    await Promise.all([...Array.from({ length: 3 }, () => build(programmer)), build(other), build(other)]);

    const units = [...(await unitsOf(first.jobId)), ...(await unitsOf(second.jobId))];
    for (const name of ['serial', 'mac', 'trim', 'sticker']) {
      const values = units.map(unit => unit.values[name]);
      expect(values.every(value => value !== undefined)).toBe(true);
      expect(new Set(values).size).toBe(units.length);
    }
    for (const target of built) {
      const unit = units.find(({ uid, status }) => uid === toHex(target.uid) && status === 'COMMITTED');
      expect(kept(target)).toEqual(written(unit?.values ?? {}));
    }
    expect(units.filter(({ status }) => status === 'COMMITTED')).toHaveLength(built.length);
    expect(units.some(({ status }) => status === 'SCRAPPED')).toBe(true);
    await Promise.all(built.map(target => target.stop()));
    await other.stop();
  });
});

describe('a series that is used up', () => {
  it('stops before anything is done to a chip, and goes on with a new package when it has more values', async () => {
    const pia = (method: string, path: string, body: unknown) => server.plant.ask('pia', method, `/v1/series${path}`, body);
    await pia('POST', '', { name: 'rare', kind: 'serial' });
    await pia('PUT', '/rare/list', 'R-1\nR-2\nR-3\n');
    const unitData: readonly UnitDataField[] = [{ name: 'serial', series: 'rare', destination: 'sealed' }];
    const { jobId } = await onlyJob(server, programmer, { count: 3, scrapAllowance: 5, unitData });
    const target = await startTarget();
    server.proxy.fail(failing('csr', { status: 403, code: 'UID_CONFLICT' }));
    expect((await produce(programmer.core, target.addresses)).code).toBe('UID_CONFLICT');
    server.proxy.heal();
    for (let built = 0; built < 2; built += 1) {
      const good = await startTarget();
      expect((await produce(programmer.core, good.addresses)).code).toBe('OK');
      await good.stop();
    }
    const last = await startTarget();
    expect((await produce(programmer.core, last.addresses)).code).toBe('VALUES_EXHAUSTED');
    expect(last.chip.data.get('deviceCertificate')).toBeUndefined();
    expect(await server.plant.code('pia', 'POST', `/v1/jobs/${jobId}/allotments/${programmer.uid}/export`, {})).toBe('VALUES_EXHAUSTED');
    expect(await server.plant.code('pia', 'PUT', '/v1/series/rare/list', 'R-4\nR-2\n')).toBe('CONFLICT');
    await pia('POST', '/rare/range', { from: 'R-4', count: 5 });
    expect(await importCode(programmer.core, await server.exportPackage(jobId, programmer.uid))).toBe('OK');
    expect((await produce(programmer.core, last.addresses)).code).toBe('OK');
    expect((await unitsOf(jobId)).map(({ values }) => values.serial)).toEqual(['R-1', 'R-2', 'R-3', 'R-4']);
    await Promise.all([target.stop(), last.stop()]);
  });
});

describe('configuration words of a job', () => {
  const words = [0xffff_ff7f, 0xffff_ffff, 0xffff_fffe, 0x5a5a_ffff];

  it('are written before the lock, read back, and shown by the programmer that has the package', async () => {
    const { jobId, file } = await onlyJob(server, programmer, { count: 2, configWords: words });
    const target = await startTarget();
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    expect(toHex(target.chip.data.get('configWords') ?? new Uint8Array())).toBe('7ffffffffffffffffeffffffffff5a5a');
    const client = await connectProgrammer(programmer.addresses.serial);
    const inside = await client.request('inspect', { packageId: file.slice(4, 20) });
    expect(inside).toMatchObject({ count: 2, configWords: words, images: [{ id: 1 }, { id: 2 }] });
    expect(toHex(inside.jobId)).toBe(jobId);
    await expect(client.request('inspect', { packageId: new Uint8Array(16) })).rejects.toMatchObject({ reason: 'bad-state' });
    await client.close();
    await target.stop();
  });

  it('are in the receipt of the lock, signed by the chip: another one, or none, is refused', async () => {
    await onlyJob(server, programmer, { count: 4, configWords: words });
    const [liar, silent] = [await startLiar(words.toReversed()), await startLiar(undefined)];
    for (const target of [liar, silent]) {
      const { code, steps } = await produce(programmer.core, target.addresses);
      expect(code).toBe('RECEIPT_REFUSED');
      expect(steps).toContain('12 failed RECEIPT_REFUSED: the receipt does not prove the configuration words of the job');
      await target.stop();
    }
  });

  it('that do not read back end the unit', async () => {
    await onlyJob(server, programmer, { count: 2, configWords: words });
    const deaf = await startForgetful('configWords');
    expect((await produce(programmer.core, deaf.addresses)).code).toBe('IMAGE_REFUSED');
    await deaf.stop();
  });
});
