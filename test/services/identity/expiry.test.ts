import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { device, deviceStream } from '../../../src/domain/device.ts';
import { NusecError } from '../../../src/errors.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import type { AlarmCaseRow } from '../../../src/projections/alarms.ts';
import { certificateQueries } from '../../../src/projections/certificates.ts';
import { establishIssuingCa } from '../../../src/services/authority/issuingCa.ts';
import { stateOf } from '../../../src/services/base/context.ts';
import { registerGateway } from '../../../src/services/field/gateways.ts';
import { certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { startExpiryScan } from '../../../src/services/identity/expiry.ts';
import { alarmEnds } from '../../../src/services/start/alarmEnds.ts';
import { covers } from '../../support/covers.ts';
import { watchWrites } from '../../support/watchedStore.ts';
import { newParty, type Party } from '../parties.ts';
import { establishOldCa, openProject, type Project, requestOf } from '../project.ts';

const dayMs = 86_400_000;
const by = 'operator:alice';
let project: Project;
let scan: ReturnType<typeof startExpiryScan>;
beforeAll(async () => {
  project = await openProject();
  scan = startExpiryScan(project.ctx, project.alarms);
});
afterAll(async () => {
  await scan.close();
  await project.close();
});

async function newGateway(id: string) {
  await registerGateway(project.ctx, id, id, by);
  return renew(id);
}
const parties = new Map<string, Party>();
/** Of the same key each time. */
async function renew(id: string) {
  const party = parties.get(id) ?? newParty();
  parties.set(id, party);
  return parseCertificate((await certifyGateway(project.ctx, id, requestOf(party, { commonName: id }), by)).certificate);
}
const noticesOf = async (serial: string) =>
  (await project.eventsOf('CertificateExpiryNoticed')).filter(({ data }) => data.serial === serial).map(({ data }) => data.days);
const alarmCodes = async () => (await project.eventsOf('AlarmRaised')).map(({ data }) => `${data.code} ${data.subject}`);

describe('the expiry scan', () => {
  it('tells of the end of a certificate 90, 30 and 7 days before, once each, and records the end', async () => {
    covers('R86', 'RULE-16');
    const { serialHex } = await newGateway('gw-1');
    await scan.check();
    expect(await noticesOf(serialHex)).toEqual([]);
    for (const [advanceDays, expected] of [
      [280, [90]],
      [50, [90]],
      [20, [90, 30]],
      [10, [90, 30, 7]],
    ] as const) {
      project.moveClock(advanceDays * dayMs);
      await scan.check();
      await scan.check();
      expect(await noticesOf(serialHex)).toEqual(expected);
    }
    expect(await alarmCodes()).toEqual(expect.arrayContaining([90, 30, 7].map(days => `CERTIFICATE_ENDS_${days}_DAYS gateway-gateway-1`)));
    project.moveClock(10 * dayMs);
    await scan.check();
    expect((await project.eventsOf('CertificateEnded')).map(({ data }) => data.serial)).toContain(serialHex);
    await project.ctx.reads.waitFor(await project.ctx.store.head());
    expect(await certificateQueries(project.ctx.reads.db).bySerial(serialHex)).toMatchObject({ expired: 1, reason: null });
  });

  it('tells of the others when the notice of one, or its end, cannot be stored, and of that one later (R86)', async () => {
    covers('R86');
    const [stuck, good] = [await newGateway('gw-a-stuck'), await newGateway('gw-b-good')];
    let isDamaged = true;
    const store = watchWrites(project.ctx.store, streams => {
      if (isDamaged && streams.includes(`expiry-${stuck.serialHex}`)) throw new NusecError('STORE_DAMAGED', 'damaged');
    });
    const damaged = startExpiryScan({ ...project.ctx, store }, project.alarms);
    const ended = async () => (await project.eventsOf('CertificateEnded')).map(({ data }) => data.serial);
    project.moveClock(360 * dayMs);
    await damaged.check();
    expect([await noticesOf(stuck.serialHex), await noticesOf(good.serialHex)]).toEqual([[], [7]]);
    project.moveClock(10 * dayMs);
    await damaged.check();
    expect([(await ended()).includes(stuck.serialHex), (await ended()).includes(good.serialHex)]).toEqual([false, true]);
    isDamaged = false;
    await damaged.check();
    expect(await ended()).toContain(stuck.serialHex);
    await damaged.close();
  });

  it('is over when each is replaced or revoked, and not when one has ended without (R86)', async () => {
    covers('R86');
    await Promise.all(['gw-end-1', 'gw-end-2'].map(newGateway));
    project.moveClock(350 * dayMs);
    await scan.check();
    const first_at = project.ctx.clock().toISOString();
    const [code, subject] = ['CERTIFICATE_ENDS_30_DAYS', 'gateway-gateway-1'];
    const whyOver = async (): Promise<string | undefined> => {
      await project.ctx.reads.waitFor(await project.ctx.store.head());
      const open = { first_at, last_at: first_at } as AlarmCaseRow;
      return alarmEnds.find(end => end.code === code)?.because(project.ctx, subject, open);
    };
    expect(await alarmCodes()).toContain(`${code} ${subject}`);
    await renew('gw-end-1');
    expect(await whyOver()).toBeUndefined();
    project.moveClock(20 * dayMs);
    await scan.check();
    expect(await whyOver()).toBeUndefined();
    await renew('gw-end-2');
    expect(await whyOver()).toBe('each is replaced, or counts no more');
  });

  it('tells the nearest threshold only when it looks late', async () => {
    const { serialHex } = await newGateway('gw-late');
    project.moveClock(360 * dayMs);
    await scan.check();
    expect(await noticesOf(serialHex)).toEqual([7]);
  });

  it('says nothing of a certificate that a newer one has replaced', async () => {
    const old = await newGateway('gw-renewed');
    project.moveClock(260 * dayMs);
    const young = await renew('gw-renewed');
    project.moveClock(100 * dayMs);
    await scan.check();
    expect(await noticesOf(old.serialHex)).toEqual([]);
    project.moveClock(10 * dayMs);
    await scan.check();
    expect((await project.eventsOf('CertificateEnded')).map(({ data }) => data.serial)).toContain(old.serialHex);
    expect(await noticesOf(young.serialHex)).toEqual([]);
  });

  it('covers many certificates in one alarm, and issuing CAs; a device expires in its own stream', async () => {
    await establishOldCa(project.ctx, 'vintage');
    const units = await Promise.all(Array.from({ length: 30 }, () => project.newDevice(newParty(), 'vintage')));
    const { notAfter } = units[0]?.parsed ?? { notAfter: '' };
    project.moveClock(Date.parse(notAfter) - project.ctx.clock().getTime() - 29 * dayMs);
    await scan.check();
    expect(await alarmCodes()).toEqual(
      expect.arrayContaining(['CERTIFICATE_ENDS_30_DAYS device-device-vintage-1', 'CERTIFICATE_ENDS_30_DAYS ica-root']),
    );
    const details = (await project.eventsOf('AlarmRaised')).map(({ data }) => String(data.detail));
    expect(details.filter(detail => detail.startsWith('30 device certificates of device-vintage-1 end within 30 days'))).toHaveLength(1);
    project.moveClock(30 * dayMs);
    await scan.check();
    for (const { uid, parsed } of units) {
      const state = await stateOf(project.ctx, device, deviceStream(uid));
      expect(state).toMatchObject({ certificates: [{ serial: parsed.serialHex, status: 'expired' }] });
    }
  });

  it('tells 90, 30 and 7 days before, once each, that an issuing CA stops issuing, and then that it has', async () => {
    const { endsMs, icaId } = { endsMs: project.ctx.clock().getTime() + 3652 * dayMs, icaId: 'gateway-2' };
    await establishIssuingCa(project.ctx, 'gateway');
    for (const daysLeft of [91, 89, 88, 29, 6, -1]) {
      project.moveClock(endsMs - daysLeft * dayMs - project.ctx.clock().getTime());
      await scan.check();
    }
    const codes = (await project.eventsOf('AlarmRaised')).filter(({ data }) => data.subject === icaId).map(({ data }) => data.code);
    expect(codes).toEqual(['ISSUING_STOPS_90_DAYS', 'ISSUING_STOPS_30_DAYS', 'ISSUING_STOPS_7_DAYS', 'ISSUING_STOPPED']);
    await expect(newGateway('gw-none')).rejects.toMatchObject({ code: 'CA_NOT_ACTIVE' });
  });
});
