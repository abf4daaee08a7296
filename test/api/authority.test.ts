import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64url } from '../../src/bytes.ts';
import { addOperator } from '../../src/services/administration/operators.ts';
import { establishIssuingCa } from '../../src/services/authority/issuingCa.ts';
import { certifyDevice } from '../../src/services/identity/enrolment.ts';
import { csrOf, newParty, newUid } from '../services/parties.ts';
import { mint } from '../services/project.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** Ceremonies and bulk revocation over HTTPS: who may, with which code they are refused. */

let server: TestServer;
let auditor: string;
const uids: string[] = [];
beforeAll(async () => {
  server = await startTestServer(async ctx => {
    auditor = await addOperator(ctx, 'aldo', ['auditor'], 'operator:alice');
    await establishIssuingCa(ctx, 'device', 'meter');
    for (let i = 0; i < 3; i += 1) {
      const [party, objId] = [newParty(), newUid()];
      await mint(ctx, party.uid, objId);
      await certifyDevice(ctx, party.uid, fromBase64url(csrOf(party, objId)), 'operator:alice');
      uids.push(party.uid);
    }
  });
});
afterAll(() => server?.close());

const ask = (token: string, path: string, body?: unknown) =>
  exchange(`${server.url}${path}`, {
    ca: server.rootPem,
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
const code = async (token: string, path: string, body?: unknown) => (await ask(token, path, body)).json.code;

describe('ceremonies over HTTPS', () => {
  const path = '/v1/authority/ceremonies';
  it('are for administrators, two of them (I16)', async () => {
    covers('I16');
    const { id } = (await ask(server.alice, path, { type: 'rollRoot' })).json;
    expect(await code(auditor, path, { type: 'rollRoot' })).toBe('FORBIDDEN');
    expect(await code(auditor, `${path}/${id}/approve`, {})).toBe('FORBIDDEN');
    expect(await code(server.alice, `${path}/${id}/approve`, {})).toBe('FOUR_EYES_REQUIRED');
    expect((await ask(server.bob, `${path}/${id}/approve`, {})).json).toMatchObject({ status: 'DONE', action: { rootId: 'root-2' } });
    expect((await ask(auditor, `${path}/${id}/record`)).text).toContain('KEY CEREMONY RECORD');
    expect((await ask(auditor, '/v1/authority')).json).toMatchObject({ roots: [{ rootId: 'root' }, { rootId: 'root-2' }] });
    expect((await ask(auditor, path)).json).toMatchObject({ ceremonies: [{ id, status: 'DONE' }] });
  });

  it.each([
    ['an unknown type', { type: 'deleteRoot' }],
    ['a use that is not there', { type: 'establishIssuingCa', use: 'root' }],
    ['no reason', { type: 'compromiseIssuingCa', icaId: 'gateway-1' }],
    ['a path as id', { type: 'activateIssuingCa', icaId: '../root' }],
    ['a curve that is not ours', { type: 'rollRoot', curve: 'P-521' }],
    ['a field too many', { type: 'rollRoot', by: 'bob' }],
  ])('refuse %s with BAD_REQUEST', async (_what, body) => {
    expect(await code(server.alice, path, body)).toBe('BAD_REQUEST');
  });

  it('give every root its trust bundle', async () => {
    const [byOld, byNew] = [await ask(auditor, '/v1/trust-bundle?root=root'), await ask(auditor, '/v1/trust-bundle?root=root-2')];
    expect([byOld.status, byNew.status]).toEqual([200, 200]);
    expect(byOld.text).not.toBe(byNew.text);
    expect((await ask(auditor, '/v1/trust-bundle')).text.length).toBe(byOld.text.length);
    expect(await code(auditor, '/v1/trust-bundle?root=root-9')).toBe('NOT_FOUND');
    const { roots } = (await ask(auditor, '/v1/authority')).json as { roots: readonly { sha256: string }[] };
    expect((await ask(auditor, `/v1/trust-bundle?root=${roots[1]?.sha256}`)).text).toBe(byNew.text);
  });
});

describe('revocation in bulk over HTTPS', () => {
  const path = '/v1/bulk-revocations';
  it('needs two people and tells how far it is (I16, R86)', async () => {
    covers('I16', 'R86');
    const wish = { selection: { line: 'meter' }, reason: 'keyCompromise', note: 'weak generator' };
    expect(await code(auditor, path, wish)).toBe('FORBIDDEN');
    const { id, count } = (await ask(server.alice, path, wish)).json;
    expect(count).toBe(uids.length);
    expect(await code(server.alice, `${path}/${id}/approve`, {})).toBe('FOUR_EYES_REQUIRED');
    expect((await ask(server.bob, `${path}/${id}/approve`, {})).status).toBe(200);
    await expect
      .poll(async () => (await ask(auditor, `${path}/${id}`)).json)
      .toMatchObject({ status: 'DONE', done: 3, revoked: 3, failed: 0 });
    const list = (await ask(auditor, '/v1/certificates?status=revoked')).json.certificates as readonly { subject: string }[];
    expect(list.map(({ subject }) => subject).sort()).toEqual(uids.toSorted());
  });

  it.each([
    ['no devices', { selection: { uids: [] }, reason: 'superseded', note: 'x' }],
    ['two selections', { selection: { line: 'meter', jobId: '0'.repeat(32) }, reason: 'superseded', note: 'x' }],
    ['a reason for lists only', { selection: { line: 'meter' }, reason: 'removeFromCRL', note: 'x' }],
    ['a UID in capitals', { selection: { uids: ['A'.repeat(32)] }, reason: 'superseded', note: 'x' }],
  ])('refuses %s with BAD_REQUEST', async (_what, body) => {
    expect(await code(server.alice, path, body)).toBe('BAD_REQUEST');
  });
});
