import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { toBase64url } from '../../src/bytes.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { establishIssuingCa } from '../../src/services/authority/issuingCa.ts';
import { makeKey } from '../pki/support.ts';
import { newUid } from '../services/parties.ts';
import { mint } from '../services/project.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startServerProcesses, startTestServer, type TestServer } from '../support/server.ts';

/** One security officer who takes the fleet out of service, one call at a time. */

let server: TestServer;
let [olga, otto] = ['', ''];
const uids = Array.from({ length: 12 }, newUid);
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    await establishIssuingCa(ctx, 'device', 'meter');
    for (const uid of uids) await mint(ctx, uid, newUid());
    olga = await addOperator(ctx, 'olga', ['securityOfficer'], 'operator:alice');
    otto = await addOperator(ctx, 'otto', ['securityOfficer'], 'operator:alice');
  });
});
afterAll(() => server?.close());

type Asked = Pick<TestServer, 'url' | 'rootPem'>;
const post = async (token: string, path: string, body: unknown, { url, rootPem: ca }: Asked = server) => {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
  const { status, json } = await exchange(`${url}${path}`, { ca, headers, body: JSON.stringify(body) });
  return status < 300 ? json : String(json.code);
};
const act = (uid: string, step: string, more = {}) => post(olga, `/v1/devices/${uid}/${step}`, { reason: 'x', ...more });

it.each(['quarantine', 'release'])(
  'does %s to ten devices a day; the eleventh needs a second person, who says how many more (I16, T17)',
  async step => {
    covers('I16', 'T17');
    const answers = [];
    for (const uid of uids.slice(0, 11)) answers.push(await act(uid, step));
    expect(answers.slice(0, 10).map(answer => typeof answer)).toEqual(Array(10).fill('object'));
    expect(answers[10]).toBe('FOUR_EYES_REQUIRED');
    const { id } = (await post(olga, '/v1/operators/me/allowances', { effect: step, count: 1, note: 'the last of batch 7' })) as {
      id: string;
    };
    const approve = (token: string) => post(token, `/v1/operators/olga/allowances/${id}/approve`, {});
    expect(await approve(olga)).toBe('FOUR_EYES_REQUIRED');
    expect(await approve(otto)).toMatchObject({ approvedBy: 'operator:otto' });
    const [eleventh = '', twelfth = ''] = uids.slice(10);
    expect(await act(eleventh, step)).toMatchObject({ uid: eleventh });
    expect(await act(twelfth, step)).toBe('FOUR_EYES_REQUIRED');
  },
);

it('does not take devices for repair, nor gateways from the net, beyond the same limit (T17, I16)', async () => {
  covers('T17', 'I16');
  const left = uids.map(uid => `/v1/devices/${uid}/repair`);
  const gone = [];
  // Quarantines of the same day count with them.
  for (const path of left) gone.push(await post(olga, path, { reason: 'x', programmer: newUid() }));
  expect(gone.at(-1)).toBe('FOUR_EYES_REQUIRED');
  await post(olga, '/v1/gateways', { id: 'g1' });
  expect(await post(olga, '/v1/gateways/g2/suspend', { reason: 'mistyped' })).toBe('NOT_FOUND');
  expect(await post(olga, '/v1/gateways/g1/suspend', { reason: 'x' })).toBe('FOUR_EYES_REQUIRED');
});

it('does not leave devices without their gateway beyond the same limit (T17, T20, I16)', async () => {
  covers('T17', 'T20', 'I16');
  await post(server.alice, '/v1/gateways', { id: 'g3' });
  for (const uid of uids) await post(server.alice, '/v1/gateways/g3/devices', { uid });
  const headers = { Authorization: `Bearer ${server.alice}` };
  const detach = async (uid: string) => {
    const { status, json } = await exchange(`${server.url}/v1/gateways/g3/devices/${uid}`, {
      ca: server.rootPem,
      headers,
      method: 'DELETE',
    });
    return status < 300 ? 'done' : json.code;
  };
  const answers = [];
  for (const uid of [uids[0] as string, ...uids]) answers.push(await detach(uid));
  expect(answers).toEqual([...Array(11).fill('done'), 'FOUR_EYES_REQUIRED', 'FOUR_EYES_REQUIRED']);
});

it('does not take the programmers of the factories out of use beyond that limit either, in whatever way (I16, T15)', async () => {
  covers('I16', 'T15');
  const [uid = ''] = uids;
  await post(olga, '/v1/programmers', { uid, name: 'NuLink3' });
  const step = (name: string, body: unknown) => post(olga, `/v1/programmers/${uid}/${name}`, body);
  for (const name of ['suspend', 'revoke']) expect(await step(name, { reason: 'x' }), name).toBe('FOUR_EYES_REQUIRED');
  for (const name of ['stolen', 'return', 'retire', 'resume']) expect(await step(name, {}), name).toBe('FOUR_EYES_REQUIRED');
  expect(await post(olga, `/v1/programmers/${newUid()}/stolen`, {})).toBe('NOT_FOUND');
  expect(await post(otto, `/v1/programmers/${uid}/revoke`, { reason: 'x' })).toMatchObject({ uid, status: 'REVOKED' });
});

it('gives no more devices than that another key in the place of the one they prove themselves with: they would fail, and be quarantined (I16, T17)', async () => {
  covers('I16', 'T17');
  const devices = Array.from({ length: 12 }, newUid);
  let token = '';
  const fresh = await startTestServer(async ctx => {
    await establishIssuingCa(ctx, 'device', 'meter');
    for (const uid of devices) await mint(ctx, uid, newUid());
    token = await addOperator(ctx, 'olga', ['securityOfficer'], 'operator:alice');
  });
  onTestFinished(() => fresh.close());
  const enrol = async (uid: string) => {
    const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
    const body = JSON.stringify({ publicKey: toBase64url(makeKey().spki) });
    const { status, json } = await exchange(`${fresh.url}/v1/devices/${uid}/attestation-key`, {
      ca: fresh.rootPem,
      method: 'PUT',
      headers,
      body,
    });
    return status < 300 ? status : String(json.code);
  };
  // The first key of a device takes nothing away.
  for (const uid of devices) expect(await enrol(uid)).toBe(200);
  const again = [];
  for (const uid of devices) again.push(await enrol(uid));
  expect(again).toEqual([...Array(10).fill(200), 'FOUR_EYES_REQUIRED', 'FOUR_EYES_REQUIRED']);
});

it('never wipes without a receipt alone, nor what was revoked before or never certified (T17, I16)', async () => {
  covers('T17', 'I16');
  const [uid = ''] = uids;
  expect(await act(uid, 'decommission', { withoutReceipt: true })).toBe('FOUR_EYES_REQUIRED');
  expect(await act(uid, 'decommission')).toBe('FOUR_EYES_REQUIRED');
  const { json } = await exchange(`${server.url}/v1/alarms`, { ca: server.rootPem, headers: { Authorization: `Bearer ${olga}` } });
  expect(json.alarms).toContainEqual(expect.objectContaining({ code: 'EFFECT_LIMIT', subject: 'operator-olga' }));
});

it('counts what came of it, over all processes: ten are done, and twelve refusals before them cost nothing (T17, I16)', async () => {
  covers('T17', 'I16');
  const mine = Array.from({ length: 12 }, newUid);
  let token = '';
  const servers = await startServerProcesses(2, async ctx => {
    await establishIssuingCa(ctx, 'device', 'meter');
    for (const uid of mine) await mint(ctx, uid, newUid());
    token = await addOperator(ctx, 'olga', ['securityOfficer'], 'operator:alice');
  });
  try {
    const step = (uid: string, i: number, name: string) =>
      post(token, `/v1/devices/${uid}/${name}`, { reason: 'x' }, servers.first[i % 2] as Asked);
    for (const [i, uid] of mine.entries()) expect(await step(uid, i, 'release')).toBe('DEVICE_STATE');
    const answers = await Promise.all(mine.map((uid, i) => step(uid, i, 'quarantine')));
    const refused = mine.filter((_, i) => answers[i] === 'FOUR_EYES_REQUIRED');
    expect(refused).toHaveLength(2);
    for (const [i, uid] of mine.entries()) if (!refused.includes(uid)) expect(await step(uid, i, 'release')).toMatchObject({ uid });
  } finally {
    await servers.close();
  }
});
