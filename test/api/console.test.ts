import { mkdirSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { device, deviceStream } from '../../src/domain/device.ts';
import { type Context, execute } from '../../src/services/base/context.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** The console in Debian's chromium, as an operator sees it. Screenshots stay in test/output/. */

const uids = ['00112233445566778899aabbccddee01', '00112233445566778899aabbccddee02'];
const output = new URL('../output/', import.meta.url).pathname;
let server: TestServer;
let browser: Browser;

async function mintDevices(ctx: Context): Promise<void> {
  for (const uid of uids) {
    const unit = {
      uid,
      objId: 'a'.repeat(32),
      line: 'thermostat',
      jobId: 'b'.repeat(32),
      programmer: 'c'.repeat(32),
      grantId: 'd'.repeat(32),
    };
    await execute(ctx, device, deviceStream(uid), { type: 'MintDevice', ...unit }, 'programmer:cc');
  }
  const [first = ''] = uids;
  await execute(
    ctx,
    device,
    deviceStream(first),
    { type: 'FailUnit', reason: '<script>alert(1)</script>', otpTouched: true, by: 'system:test' },
    'system:test',
  );
}

beforeAll(async () => {
  mkdirSync(output, { recursive: true });
  server = await startTestServer(mintDevices);
  browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
});

it('lets an administrator sign in, shows the fleet and the timeline of one device (R83)', async () => {
  covers('R83');
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('console', message => message.type() === 'error' && problems.push(message.text()));
  await page.goto(`${server.url}/console`);
  expect(page.url()).toBe(`${server.url}/console/sign-in`);
  await page.fill('#token', server.alice);
  await page.click('.sign-in button');
  await page.waitForSelector('#fleet tbody tr');
  expect(await page.locator('#fleet tbody tr').count()).toBe(2);
  await page.screenshot({ path: `${output}console-fleet.png` });
  await page.click(`a[href="/console/devices/${uids[0]}"]`);
  await page.waitForSelector('.timeline li');
  expect(await page.locator('.timeline h3').allTextContents()).toEqual(['Device minted', 'Device scrapped']);
  expect(await page.locator('.facts').textContent()).toContain('hash chain unbroken');
  expect(await page.locator('main').innerHTML()).not.toContain('<script>');
  await page.screenshot({ path: `${output}console-device.png`, fullPage: true });
  expect(problems).toEqual([]);
  await context.close();
});

it('refreshes the fleet by itself and asks for nothing outside the server', async () => {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const foreign: string[] = [];
  page.on('request', request => request.url().startsWith(server.url) || foreign.push(request.url()));
  await page.goto(`${server.url}/console/sign-in`);
  await page.fill('#token', server.bob);
  await page.click('.sign-in button');
  const refresh = page.waitForResponse(response => response.url() === `${server.url}/console/fleet`);
  expect((await refresh).status()).toBe(200);
  await page.waitForSelector('#fleet tbody tr');
  expect(foreign).toEqual([]);
  await context.close();
});

it('answers refusals with a page, and sends a refresh without a session to the sign-in as a whole', async () => {
  const { ca, headers } = { ca: server.rootPem, headers: { 'HX-Request': 'true' } };
  const refresh = await exchange(`${server.url}/console/fleet`, { ca, headers });
  expect([refresh.status, refresh.headers['hx-redirect'], refresh.text]).toEqual([401, '/console/sign-in', '']);
  const nothing = await exchange(`${server.url}/console/nothing`, { ca });
  expect([nothing.status, nothing.contentType]).toEqual([404, expect.stringContaining('text/html')]);
  expect(nothing.text).toContain('There is no such thing');
});

it('keeps the keyboard focus over a refresh, and fits a phone (R83)', async () => {
  covers('R83');
  const page = await browser.newPage({ ignoreHTTPSErrors: true, viewport: { width: 390, height: 800 } });
  await page.goto(`${server.url}/console`);
  await page.getByLabel('Your token').fill(server.alice);
  await page.getByRole('button', { name: 'Sign in' }).click();
  const [first = ''] = uids;
  const link = page.getByRole('link', { name: first });
  await link.focus();
  await page.waitForResponse(response => response.url().endsWith('/console/fleet'));
  await page.waitForTimeout(200);
  expect(await page.evaluate('document.activeElement.id')).toBe(`device-${first}`);
  const width = () => page.evaluate('document.documentElement.scrollWidth');
  expect(await width()).toBeLessThanOrEqual(390);
  await link.click();
  await page.getByRole('heading', { name: 'Timeline' }).waitFor();
  expect(await width()).toBeLessThanOrEqual(390);
  await page.close();
});

it('shows nothing without a session and refuses a wrong token', async () => {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await page.goto(`${server.url}/console/devices/${uids[0]}`);
  expect(page.url()).toBe(`${server.url}/console/sign-in`);
  await page.fill('#token', 'wrong');
  await page.click('.sign-in button');
  expect(await page.locator('[role=alert]').textContent()).toContain('not known');
  expect(await context.cookies()).toEqual([]);
  await context.close();
});
