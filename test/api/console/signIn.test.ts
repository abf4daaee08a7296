import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { device, deviceStream } from '../../../src/domain/device.ts';
import { type Context, execute } from '../../../src/services/base/context.ts';
import { covers } from '../../support/covers.ts';
import { exchange } from '../../support/http.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { newPage, openBrowser, signedIn } from './browser.ts';

/** Who gets into the console, what it shows of the fleet, and that it stays usable while it follows the log. */

const uids = ['00112233445566778899aabbccddee01', '00112233445566778899aabbccddee02'];
const [first = '', second = ''] = uids;
let server: TestServer;
let browser: Browser;

async function mintDevices(ctx: Context): Promise<void> {
  for (const uid of uids) {
    const ids = { objId: 'a'.repeat(32), jobId: 'b'.repeat(32), programmer: 'c'.repeat(32), grantId: 'd'.repeat(32) };
    await execute(ctx, device, deviceStream(uid), { type: 'MintDevice', uid, line: 'thermostat', ...ids }, 'programmer:cc');
  }
  await fail(ctx, first, '<script>alert(1)</script>');
}

const fail = (ctx: Context, uid: string, reason: string) =>
  execute(ctx, device, deviceStream(uid), { type: 'FailUnit', reason, otpTouched: true, by: 'system:test' }, 'system:test');

beforeAll(async () => {
  server = await startTestServer(mintDevices);
  browser = await openBrowser();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

it('shows the fleet and the life of one device, with nothing from outside the server (R83)', async () => {
  covers('R83');
  const page = await signedIn(browser, server, server.alice);
  const [problems, foreign]: [string[], string[]] = [[], []];
  page.on('console', message => message.type() === 'error' && problems.push(message.text()));
  page.on('request', request => request.url().startsWith(server.url) || foreign.push(request.url()));
  await page.getByRole('link', { name: 'Fleet' }).first().click();
  await page.getByRole('heading', { name: 'Fleet', level: 1 }).waitFor();
  expect(await page.locator('tbody tr').count()).toBe(2);
  await page.getByRole('link', { name: first }).click();
  await page.getByRole('heading', { name: 'Timeline' }).waitFor();
  await page.getByText('Manufacture').click();
  expect(await page.locator('.timeline h3').allTextContents()).toEqual(['Device minted', 'Device scrapped']);
  expect(await page.locator('main').textContent()).toContain('hash chain unbroken');
  expect(await page.locator('main').innerHTML()).not.toContain('<script>');
  expect([problems, foreign]).toEqual([[], []]);
  await page.close();
});

it('searches, filters and sorts the fleet', async () => {
  const page = await signedIn(browser, server, server.alice);
  await page.goto(`${server.url}/console/fleet`);
  await page.keyboard.press('/');
  await page.keyboard.type(first);
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'Clear' }).waitFor();
  expect(await page.locator('tbody tr').count()).toBe(1);
  await page.goto(`${server.url}/console/fleet?status=MINTED&sort=changed`);
  expect(await page.locator('tbody .uid').allTextContents()).toEqual([second]);
  await page.goto(`${server.url}/console/fleet?status=REVOKED`);
  expect(await page.locator('.empty').textContent()).toBe('No device fits this filter.');
  await page.goto(`${server.url}/console/fleet?status=BOGUS`);
  expect(await page.getByRole('alert').textContent()).toContain('status');
  await page.close();
});

it('follows the log without taking the keyboard focus, and fits a phone (R83)', async () => {
  covers('R83');
  const page = await signedIn(browser, server, server.alice, { width: 390 });
  await page.goto(`${server.url}/console/gateways`);
  const link = page.getByRole('link', { name: 'Register a gateway' });
  await link.focus();
  const registered = await exchange(`${server.url}/v1/gateways`, {
    ca: server.rootPem,
    method: 'POST',
    headers: { Authorization: `Bearer ${server.bob}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ id: 'hall-7' }),
  });
  expect(registered.status, registered.text).toBe(201);
  await page.getByRole('heading', { name: 'Gateway hall-7' }).waitFor();
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Register a gateway');
  await page.goto(`${server.url}/console/fleet/${second}`);
  await page.getByRole('heading', { name: 'Timeline' }).waitFor();
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
  // A refusal that names something long, such as a UID.
  await page.goto(`${server.url}/console/devices/${'00112233445566778899aabbccddeeff'.repeat(2)}`);
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(390);
  await page.close();
});

it('answers refusals with a page, and sends a refresh without a session to the sign-in as a whole', async () => {
  const { ca, headers } = { ca: server.rootPem, headers: { 'HX-Request': 'true' } };
  for (const path of ['/console/fleet', '/console/live']) {
    const refresh = await exchange(`${server.url}${path}`, { ca, headers });
    expect([refresh.status, refresh.headers['hx-redirect'], refresh.text]).toEqual([401, '/console/sign-in', '']);
  }
  const nothing = await exchange(`${server.url}/console/nothing`, { ca });
  expect([nothing.status, nothing.contentType]).toEqual([404, expect.stringContaining('text/html')]);
  expect(nothing.text).toContain('There is no such thing');
  for (const path of ['/', '/console/']) expect((await exchange(`${server.url}${path}`, { ca })).status).toBe(302);
});

it('shows nothing without a session and refuses a wrong token', async () => {
  const page = await newPage(browser);
  await page.goto(`${server.url}/console/fleet/${first}`);
  expect(page.url()).toBe(`${server.url}/console/sign-in`);
  await page.fill('#token', 'wrong');
  await page.click('.sign-in button');
  expect(await page.locator('[role=alert]').textContent()).toContain('not known');
  expect(await page.context().cookies()).toEqual([]);
  await page.context().close();
});

it('signing out ends the session: a copy of its cookie leads to the sign-in', async () => {
  const page = await signedIn(browser, server, server.alice);
  const [cookie] = await page.context().cookies();
  const asks = { ca: server.rootPem, headers: { Cookie: `${cookie?.name}=${cookie?.value}` } };
  expect((await exchange(`${server.url}/console`, asks)).status).toBe(200);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in', level: 1 }).waitFor();
  const after = await exchange(`${server.url}/console`, asks);
  expect([after.status, after.headers.location]).toEqual([302, '/console/sign-in']);
  await page.context().close();
});
