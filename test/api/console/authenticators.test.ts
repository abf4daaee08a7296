import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Browser, CDPSession, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toBase64url } from '../../../src/bytes.ts';
import { sha256Hex } from '../../../src/digest.ts';
import { newParty, type Party } from '../../services/parties.ts';
import { requestOf } from '../../services/project.ts';
import { covers } from '../../support/covers.ts';
import { exchange } from '../../support/http.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { openBrowser, signedIn, violationsOf } from './browser.ts';

/** Approvals that are confirmed with an authenticator: that of Debian's chromium, which is a whole one without hardware. */

const root = new URL('../../../', import.meta.url).pathname;
let server: TestServer;
let browser: Browser;
let page: Page;
let device: CDPSession;

const ask = (token: string, method: string, path: string, body?: object, headers: Record<string, string> = {}) =>
  exchange(`${server.url}${path}`, {
    ca: server.rootPem,
    method,
    headers: { Authorization: `Bearer ${token}`, ...(body && { 'Content-Type': 'application/json' }), ...headers },
    ...(body && { body: JSON.stringify(body) }),
  });
type Change = { readonly id: string; readonly status: string; readonly contentSha256: string };
const propose = async (name: string, token = server.bob): Promise<Change> =>
  (await ask(token, 'POST', '/v1/operators', { name, roles: ['securityOfficer'], tokenSha256: sha256Hex(name) })).json.proposal as Change;
const changes = async (): Promise<readonly Change[]> => (await ask(server.bob, 'GET', '/v1/operator-changes')).json.changes as Change[];
const statusOf = async (id: string) => (await changes()).find(one => one.id === id)?.status;
const credentials = async () =>
  (await ask(server.alice, 'GET', '/v1/operators/me/credentials')).json.credentials as readonly {
    readonly id: string;
    readonly kind: string;
  }[];
const used = async () =>
  ((await ask(server.alice, 'GET', '/v1/events?limit=500')).json.events as readonly { type: string; data: { signCount: number } }[]).filter(
    ({ type }) => type === 'OperatorAuthenticatorUsed',
  );

/** What the browser of alice signs for one request: the header Confirmation. */
async function confirmation(path: string, body: object): Promise<string> {
  const wish = { path, bodySha256: sha256Hex(JSON.stringify(body)) };
  const { challenge, options } = (await ask(server.alice, 'POST', '/v1/operators/me/confirmations', wish)).json;
  const signed = (await page.evaluate(`(async () => {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(${JSON.stringify(options)});
    return (await navigator.credentials.get({ publicKey })).toJSON();
  })()`)) as object;
  return Buffer.from(JSON.stringify({ challenge, response: signed })).toString('base64url');
}

beforeAll(async () => {
  [server, browser] = await Promise.all([startTestServer(), openBrowser()]);
  page = await signedIn(browser, server, server.alice);
  device = await page.context().newCDPSession(page);
  await device.send('WebAuthn.enable');
  await device.send('WebAuthn.addVirtualAuthenticator', {
    options: { protocol: 'ctap2', transport: 'usb', hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

describe('somebody who has registered an authenticator', () => {
  it('has done so in the console', async () => {
    await page.goto(`${server.url}/console/people/me`);
    await page.getByRole('link', { name: 'Add an authenticator' }).click();
    await page.getByLabel('Name').fill('blue key');
    await page.locator('form.action').getByRole('button').click();
    await page.getByRole('status').waitFor();
    expect(await page.locator('main').textContent()).toContain('blue key at localhost');
    expect((await credentials()).map(({ kind }) => kind)).toEqual(['token', 'authenticator']);
  });

  it('approves nothing by the token alone, neither over the API nor by a command (I16)', async () => {
    covers('I16');
    const { id, contentSha256 } = await propose('carol');
    const refused = await ask(server.alice, 'POST', `/v1/operator-changes/${id}/approve`, { contentSha256 });
    expect(refused.json).toMatchObject({ code: 'CONFIRMATION_REQUIRED', detail: expect.stringContaining('console') });
    const [ca, token] = [join(server.dataDir, 'ca-for-test.pem'), join(server.dataDir, 'alice-for-test.token')];
    writeFileSync(ca, server.rootPem);
    writeFileSync(token, server.alice, { mode: 0o600 });
    const options = ['--server', server.url, '--ca', ca, '--token-file', token];
    const command = promisify(execFile)(join(root, 'nusec'), ['operator', 'change', 'approve', id, ...options]);
    await expect(command).rejects.toMatchObject({ stderr: expect.stringMatching(/CONFIRMATION_REQUIRED.*in the console/) });
    expect(await statusOf(id)).toBe('PROPOSED');
  });

  it('approves in the console, where the authenticator signs the approval', async () => {
    const { id = '' } = (await changes())[0] ?? {};
    await page.goto(`${server.url}/console/do/approve-change/${id}`);
    await page.locator('form.action').getByRole('button', { name: 'Approve' }).click();
    await page.getByRole('button', { name: 'Confirm' }).waitFor();
    expect(await page.locator('.look').textContent()).toContain('carol');
    expect(await violationsOf(page)).toEqual([]);
    await page.screenshot({ path: `${root}test/output/console-confirm-1280.png` });
    await page.getByRole('button', { name: 'Confirm' }).click();
    await page.getByRole('status').waitFor();
    expect(await statusOf(id)).toBe('DONE');
    expect(await used()).toHaveLength(1);
  });

  it('signs one request: for another one, with another body or a second time it is refused', async () => {
    const [one, other] = [await propose('dora'), await propose('emil')];
    const path = `/v1/operator-changes/${one.id}/approve`;
    const body = { contentSha256: one.contentSha256 };
    const Confirmation = await confirmation(path, body);
    const send = (to: string, what: object) => ask(server.alice, 'POST', to, what, { Confirmation });
    expect((await send(`/v1/operator-changes/${other.id}/approve`, body)).json.code).toBe('CONFIRMATION_REFUSED');
    expect((await send(path, { contentSha256: other.contentSha256 })).json.code).toBe('CONFIRMATION_REFUSED');
    expect((await ask(server.bob, 'POST', path, body, { Confirmation })).json.code).toBe('FOUR_EYES_REQUIRED');
    expect((await send(path, body)).json).toMatchObject({ status: 'DONE' });
    expect((await send(path, body)).json.code).toBe('CONFIRMATION_REFUSED');
    expect((await ask(server.alice, 'POST', path, {}, { Confirmation })).json.code).toBe('BAD_REQUEST');
    expect((await ask(server.alice, 'POST', path, body, { Confirmation: 'e30' })).json.code).toBe('CONFIRMATION_REFUSED');
    const counts = (await used()).map(({ data }) => data.signCount);
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    expect(new Set(counts).size).toBe(2);
  });

  it('agrees to no other key of a live gateway by the token alone, neither over the API nor over EST; with the authenticator once (T20, I16)', async () => {
    covers('T20', 'I16');
    const path = '/v1/gateways/hall-1/csr';
    const csrOf = (party: Party) => ({ csr: toBase64url(requestOf(party, { commonName: 'hall-1' })) });
    await ask(server.bob, 'POST', '/v1/gateways', { id: 'hall-1' });
    expect((await ask(server.alice, 'POST', path, csrOf(newParty()))).status).toBe(200);
    const wanted = csrOf(newParty());
    expect((await ask(server.bob, 'POST', path, wanted)).json.code).toBe('FOUR_EYES_REQUIRED');
    expect((await ask(server.alice, 'POST', path, wanted)).json.code).toBe('CONFIRMATION_REQUIRED');
    const est = await exchange(`${server.url}/.well-known/est/gateway/simpleenroll`, {
      ca: server.rootPem,
      method: 'POST',
      headers: { Authorization: `Bearer ${server.alice}`, 'Content-Type': 'application/pkcs10' },
      body: Buffer.from(wanted.csr, 'base64url').toString('base64'),
    });
    expect(est.json.code).toBe('CONFIRMATION_REQUIRED');
    const before = (await used()).length;
    expect((await ask(server.alice, 'POST', path, wanted, { Confirmation: await confirmation(path, wanted) })).status).toBe(200);
    expect(await used()).toHaveLength(before + 1);
  });

  it('loses it by two administrators only, and then approves without', async () => {
    const [, own] = await credentials();
    const answer = await ask(server.alice, 'DELETE', `/v1/operators/me/credentials/${own?.id}`);
    expect(answer.status).toBe(202);
    const { id, contentSha256 } = answer.json.proposal as Change;
    expect(await credentials()).toHaveLength(2);
    expect((await ask(server.bob, 'POST', `/v1/operator-changes/${id}/approve`, { contentSha256 })).json).toMatchObject({ status: 'DONE' });
    expect(await credentials()).toHaveLength(1);
    const { id: next, contentSha256: seen } = await propose('fritz');
    expect((await ask(server.alice, 'POST', `/v1/operator-changes/${next}/approve`, { contentSha256: seen })).status).toBe(200);
  });
});

it('where everybody has to, nobody approves without an authenticator', async () => {
  const strict = await startTestServer(undefined, undefined, { confirmApprovals: 'always' });
  const before = server;
  server = strict;
  try {
    const { id, contentSha256 } = await propose('carol');
    const refused = await ask(strict.alice, 'POST', `/v1/operator-changes/${id}/approve`, { contentSha256 });
    expect(refused.json).toMatchObject({ code: 'CONFIRMATION_REQUIRED', detail: expect.stringContaining('register an authenticator') });
  } finally {
    server = before;
    await strict.close();
  }
});
