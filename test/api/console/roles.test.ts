import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pages } from '../../../src/api/console/pages.ts';
import { device, deviceStream } from '../../../src/domain/device.ts';
import { gateway, gatewayStream } from '../../../src/domain/gateway.ts';
import { operators, operatorsStream } from '../../../src/domain/operators.ts';
import type { Role, Scope } from '../../../src/domain/roles.ts';
import { parseVersion } from '../../../src/domain/version.ts';
import { webhook, webhookStream, webhooksStream } from '../../../src/domain/webhook.ts';
import { newEvent } from '../../../src/eventstore/recorded.ts';
import { addNamedToken } from '../../../src/services/administration/operatorCredentials.ts';
import { addOperator } from '../../../src/services/administration/operators.ts';
import { createAlarms } from '../../../src/services/base/alarms.ts';
import { type Context, execute } from '../../../src/services/base/context.ts';
import { registerGateway } from '../../../src/services/field/gateways.ts';
import { defineLine } from '../../../src/services/firmware/lines.ts';
import { approveRelease, publishRelease, uploadRelease } from '../../../src/services/firmware/releases.ts';
import { planRollout } from '../../../src/services/firmware/rolloutPlan.ts';
import { openVulnerability } from '../../../src/services/firmware/vulnerabilities.ts';
import { createJob } from '../../../src/services/production/jobs.ts';
import { registerProgrammer } from '../../../src/services/production/programmers.ts';
import { fileOf, osv } from '../../sbom/samples.ts';
import { newUid } from '../../services/parties.ts';
import { covers } from '../../support/covers.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { consoleErrorsOf, openBrowser, signedIn, violationsOf } from './browser.ts';

/** Each role does its main task in the console, in Debian's chromium; and every page is usable by everybody. Screenshots stay in test/output/. */

const output = new URL('../../output/', import.meta.url).pathname;
const by = 'operator:alice';
const site = 'Example CM';
const ids = { device: newUid(), other: newUid(), programmer: newUid(), job: '', release: '', rollout: '', token: '' };
/** Nobody is sent there: what it is for is that the pages offer it. */
const openId = { issuer: 'https://login.example', clientId: 'nusec', scope: 'openid', groupsClaim: 'groups', groups: {} };
const people: Readonly<Record<string, readonly [Role, Scope?]>> = {
  olga: ['securityOfficer'],
  otto: ['securityOfficer'],
  paul: ['productionPlanner'],
  mia: ['releaseManager'],
  max: ['releaseManager'],
  ada: ['auditor'],
  lou: ['lineOperator', { sites: [site] }],
};
const tokens = new Map<string, string>();
let server: TestServer;
let browser: Browser;

async function seed(ctx: Context): Promise<void> {
  for (const [name, [role, scope]] of Object.entries(people)) tokens.set(name, await addOperator(ctx, name, [role], by, scope));
  await defineLine(ctx, { line: 'meter' }, by);
  ids.job = (await createJob(ctx, { line: 'meter', plannedCount: 5, site }, by)).jobId;
  const image = { line: 'meter', image: 'app', version: parseVersion('2.0.0'), counter: 5 } as const;
  ids.release = (await uploadRelease(ctx, image, new Uint8Array(randomBytes(3000)), by)).releaseId;
  await approveRelease(ctx, ids.release, 'operator:bob', {});
  await publishRelease(ctx, ids.release, by);
  await registerProgrammer(ctx, ids.programmer, 'NuLink3', by);
  await registerGateway(ctx, 'hall-1', 'Hall 1', by);
  for (const uid of [ids.device, ids.other]) {
    const unit = { uid, objId: newUid(), line: 'meter', jobId: ids.job, programmer: ids.programmer, grantId: newUid() };
    await execute(ctx, device, deviceStream(uid), { type: 'MintDevice', ...unit }, `programmer:${ids.programmer}`);
  }
  await execute(ctx, gateway, gatewayStream('hall-1'), { type: 'AttachDevice', uid: ids.device, by }, by);
  ids.rollout = await planRollout(ctx, { releaseId: ids.release, devices: [ids.device] }, by);
  await seedCredentials(ctx);
  await seedWebhook(ctx);
  await openVulnerability(ctx, fileOf(osv('CVE-2023-0286', 'openssl', '3.0.8')), by);
  await createAlarms(ctx).raise({ code: 'CLONE_SUSPECTED', subject: ids.device, detail: 'the same key at two places' });
}

/** With a dead letter; nothing fits its filter. */
async function seedWebhook(ctx: Context): Promise<void> {
  const target = { name: 'lou', url: `https://mes.example.com/${'in'.repeat(60)}`, types: ['KeystoreMigrated'] };
  const now = new Date().toISOString();
  await execute(ctx, webhook, webhooksStream, { type: 'AddWebhook', ...target, secretId: 'a1', afterPosition: 0, by, now }, by);
  const letter = { position: 1, eventId: ctx.newId(), eventType: 'ProjectCreated', attempts: 5, failure: 'the receiver answered 422' };
  const event = newEvent('WebhookDeadLettered', { name: 'lou', ...letter }, { id: ctx.newId(), at: now, by: 'system:webhooks' });
  await ctx.store.append(webhookStream('lou'), 'any', [event]);
}

/** Names as long as they may be, without a blank to break at. */
async function seedCredentials(ctx: Context): Promise<void> {
  const parts = { ctx, alarms: createAlarms(ctx) };
  const wish = { label: 'b'.repeat(60), days: 90 };
  await addNamedToken(parts, 'alice', { ...wish, roles: ['administrator'] }, by);
  ids.token = (await addNamedToken(parts, 'lou', { ...wish, scope: { sites: [site] } }, 'operator:lou')).id;
  const identity = { id: randomBytes(16).toString('hex'), issuer: openId.issuer, subject: 's'.repeat(200) };
  await execute(ctx, operators, operatorsStream, { type: 'BindOperatorIdentity', name: 'lou', ...identity }, 'operator:lou');
}

beforeAll(async () => {
  mkdirSync(output, { recursive: true });
  server = await startTestServer(seed, undefined, { openId });
  browser = await openBrowser();
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

const as = (name: string): Promise<Page> => signedIn(browser, server, tokens.get(name) ?? (name === 'alice' ? server.alice : server.bob));
const at = (page: Page, path: string) => page.goto(`${server.url}${path}`);
const notice = (page: Page) => page.getByRole('status').textContent();
const button = (page: Page, name: string) => page.locator('form.action').getByRole('button', { name });

describe('each role does its main task', () => {
  it('an administrator adds a person and hands over the token', async () => {
    const page = await as('alice');
    await at(page, '/console/people');
    await page.getByRole('link', { name: 'Add a person' }).click();
    await page.getByLabel('Name').fill('nora');
    await page.getByLabel('auditor').check();
    await button(page, 'Add a person').click();
    const token = await page.locator('#token').textContent();
    const nora = await signedIn(browser, server, token ?? '');
    expect(await nora.locator('.about').first().textContent()).toContain('nora: auditor');
    await Promise.all([page.close(), nora.close()]);
  });

  it('a security officer acknowledges an alarm, and revokes devices with another officer (I16)', async () => {
    covers('I16');
    const [olga, otto] = await Promise.all([as('olga'), as('otto')]);
    await at(olga, '/console/alarms');
    await olga.locator('tr', { hasText: 'CLONE_SUSPECTED' }).getByRole('link', { name: 'Acknowledge' }).click();
    await olga.getByLabel('What was done about it').fill('both are ours');
    await button(olga, 'Acknowledge').click();
    expect(await notice(olga)).toContain('acknowledged');
    expect(await olga.locator('main').textContent()).not.toContain('CLONE_SUSPECTED');
    // What every administrator has to see is not offered to be closed before its time.
    const people = olga.locator('tr', { hasText: 'PEOPLE_CHANGED' }).first();
    expect(await people.textContent()).toContain('for everybody to see until');
    expect(await people.getByRole('link', { name: /Acknowledge|Silence|Assign/ }).allTextContents()).toEqual(['Assign']);

    await at(olga, '/console/fleet');
    await olga.getByLabel(`Choose ${ids.other}`).check();
    await olga.getByRole('button', { name: 'Propose to revoke…' }).click();
    expect(await olga.getByLabel('UIDs').inputValue()).toBe(ids.other);
    await olga.getByLabel('Reason (RFC 5280)').selectOption('keyCompromise');
    await olga.getByLabel('What happened').fill('the key was read out');
    await button(olga, 'Revoke devices…').click();
    expect(await notice(olga)).toContain('Another officer approves');
    await olga.getByRole('link', { name: 'Approve…' }).click();
    await olga.getByLabel('Type revoke to confirm').fill('revoke');
    await button(olga, 'Approve…').click();
    expect(await olga.getByRole('alert').textContent()).toContain('Another person has to do this');

    await at(otto, '/console/revocations');
    await otto.getByRole('link', { name: 'Approve…' }).click();
    await button(otto, 'Approve…').click();
    await otto.getByLabel('Type revoke to confirm').fill('revoke');
    await button(otto, 'Approve…').click();
    await otto.locator('.badge', { hasText: 'done' }).waitFor();
    expect(await otto.locator('tbody').first().textContent()).toContain('operator:otto');
    await Promise.all([olga.close(), otto.close()]);
  });

  it('a planner drafts a job, and is told in words what it still lacks', async () => {
    const page = await as('paul');
    await at(page, '/console/jobs');
    await page.getByRole('link', { name: 'New job' }).click();
    await page.getByLabel('Units').fill('12');
    await button(page, 'New job').click();
    expect(await notice(page)).toContain('drafted');
    expect(await page.locator('.facts').first().textContent()).toContain('12 units');
    await page.getByRole('link', { name: 'Bind firmware' }).click();
    await button(page, 'Bind firmware').click();
    expect(await page.locator('.facts').first().textContent()).toContain('2.0.0 security counter 5');
    // Not offered yet; who opens its page all the same is told why.
    expect(await page.getByRole('link', { name: 'Give a share' }).count()).toBe(0);
    await at(page, new URL(page.url()).pathname.replace('/jobs/', '/do/allot/'));
    await page.getByLabel('UID of the programmer').fill(ids.programmer);
    await page.getByLabel('Units').fill('12');
    await button(page, 'Give a share').click();
    expect(await page.getByRole('alert').textContent()).toContain('it needs RELEASED or RUNNING');
    expect(await page.getByLabel('Units').inputValue()).toBe('12');
    await page.close();
  });

  it('a release manager uploads firmware, another approves it, and a rollout of it is planned (I16)', async () => {
    covers('I16');
    const [mia, max] = await Promise.all([as('mia'), as('max')]);
    await at(mia, '/console/do/upload-release');
    await mia.getByLabel('Version').fill('2.1.0');
    await mia.getByLabel('Security counter').fill('6');
    await mia.getByLabel('File').setInputFiles({ name: 'app.bin', mimeType: 'application/octet-stream', buffer: randomBytes(3000) });
    await button(mia, 'Upload firmware').click();
    expect(await notice(mia)).toContain('uploaded');
    const release = new URL(mia.url()).pathname;
    await at(max, release);
    expect(await max.getByRole('main').textContent()).toMatch(/Analysis of the image.*3,000 bytes.*securityCounter/s);
    for (const step of ['Approve', 'Publish']) {
      await max.getByRole('link', { name: step }).click();
      await button(max, step).click();
    }
    expect(await notice(max)).toContain('published');
    await max.getByRole('link', { name: 'Plan a rollout' }).click();
    await max.getByLabel('The security counter may rise').check();
    await button(max, 'Plan a rollout').click();
    expect(await notice(max)).toContain('planned');
    expect(await max.getByRole('main').textContent()).toMatch(/A jump of the security counter\s*permitted/);
    expect(await max.locator('.steps li').count()).toBe(3);
    await Promise.all([mia.close(), max.close()]);
  });

  it('an auditor looks for who did what, exports it, and is offered nothing to change', async () => {
    const page = await as('ada');
    await at(page, '/console/audit?type=AlarmRaised');
    expect(await page.locator('tbody').textContent()).toContain('Alarm raised');
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'CSV' }).click()]);
    const chunks: Buffer[] = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk as Buffer);
    const [head, ...events] = Buffer.concat(chunks).toString().trimEnd().split('\r\n');
    expect(head).toBe('position,at,by,type,stream,data');
    expect(events.length).toBeGreaterThan(0);
    expect(events.filter(line => !line.includes(',AlarmRaised,'))).toEqual([]);
    for (const path of ['/console/fleet', '/console/people', '/console/trust', `/console/jobs/${ids.job}`]) {
      await at(page, path);
      expect(await page.locator('a[href^="/console/do/"]').count(), path).toBe(0);
    }
    await page.close();
  });

  it('a line operator sees the jobs of the site, and a refusal elsewhere', async () => {
    const page = await as('lou');
    expect(await page.locator('.figure').allTextContents()).toEqual([expect.stringContaining('jobs running')]);
    await at(page, '/console/jobs');
    expect(await page.locator('tbody tr').count()).toBe(1);
    await at(page, '/console/fleet');
    expect(await page.getByRole('alert').textContent()).toContain('needs the role');
    await page.close();
  });
});

const isPage = (path: string): boolean =>
  !/\/(units|report|evidence|export|sbom|data|:sha256)$/.test(path) && path !== '/console/revocations/:id';
const concrete = (path: string): string => {
  const own: Readonly<Record<string, string>> = {
    jobs: ids.job,
    programmers: ids.programmer,
    releases: ids.release,
    rollouts: ids.rollout,
    trust: 'root',
  };
  return path
    .replace(':uid', ids.device)
    .replace(':name', 'lou')
    .replace(':line', 'meter')
    .replace(':case', 'CVE-2023-0286')
    .replace(':id', own[path.split('/')[2] ?? ''] ?? '');
};
const forms = () => [
  ...['plan-rollout', 'add-person', 'add-token', 'set-roles/lou', `end-token/lou/${ids.token}`, `revoke-device/${ids.device}`].map(
    name => `/console/do/${name}`,
  ),
  '/console/sign-in',
  `/console/sign-in/command?port=4711&challenge=${'c'.repeat(43)}&state=${'s'.repeat(16)}`,
];
describe('what belongs together is seen together', () => {
  it('the map of gateways has the devices behind each, a device its gateway, and a rollout how far each group is', async () => {
    const page = await as('olga');
    await at(page, '/console/gateways');
    const line = page.locator('.tree li', { hasText: ids.device });
    expect(await line.textContent()).toContain('minted');
    await page.getByRole('link', { name: '1 device in the fleet' }).click();
    expect(await page.locator('tbody .uid').allTextContents()).toEqual([ids.device]);
    expect(await page.getByLabel('Gateway').inputValue()).toBe('hall-1');
    // What has no field of its own is said, kept by the next look, and cleared.
    await at(page, `/console/fleet?job=${ids.job}`);
    await page.getByLabel('UID begins with').fill(ids.device.slice(0, 4));
    await page.getByRole('button', { name: 'Show' }).click();
    expect(await page.locator('main').textContent()).toContain('Only devices of job');
    expect(page.url()).toContain(`job=${ids.job}`);
    await page.getByRole('link', { name: 'Clear' }).click();
    expect(await page.locator('main').textContent()).not.toContain('Only devices of job');
    await page.getByRole('link', { name: ids.device }).click();
    expect(await page.locator('.facts').first().textContent()).toMatch(/Gateway\s*hall-1/);
    await at(page, `/console/rollouts/${ids.rollout}`);
    expect(await page.locator('.steps li').textContent()).toMatch(/Group 1.*1\s*planned/s);
    await at(page, `/console/jobs/${ids.job}`);
    await page.close();
  });
});

describe('every page', () => {
  it.each([
    ['on a desk, in light', { width: 1280, dark: false }],
    ['on a phone, in dark', { width: 390, dark: true }],
  ])('has nothing that axe-core finds, and fits: %s', async (_, look) => {
    const page = await signedIn(browser, server, server.alice, look);
    const errors = consoleErrorsOf(page);
    for (const path of [...Object.keys(pages).filter(isPage).map(concrete), ...forms()]) {
      const answer = await at(page, path);
      expect(answer?.status(), `${path}: ${answer?.ok() ? '' : await page.locator('body').textContent()}`).toBe(200);
      expect(await violationsOf(page), path).toEqual([]);
      expect(await page.evaluate('document.documentElement.scrollWidth'), path).toBeLessThanOrEqual(look.width);
      const name = path
        .replaceAll(/[0-9a-f]{32}/g, 'id')
        .replace(/\?.*/, '')
        .replaceAll('/', '-')
        .slice(1);
      await page.screenshot({ path: `${output}${name}-${look.width}.png`, fullPage: true });
    }
    expect(errors).toEqual([]);
    await page.close();
  });

  it('works by keyboard alone: the first key leads to the content, and a form is filled and sent', async () => {
    const page = await as('olga');
    await at(page, `/console/do/propose-revocation`);
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the content');
    await page.keyboard.press('Enter');
    for (const text of [ids.device, 'key', 'by keyboard']) {
      await page.keyboard.press('Tab');
      if (text !== '') await page.keyboard.type(text);
    }
    await page.keyboard.press('Enter');
    await page.getByRole('status').waitFor();
    expect(await page.locator('tbody').first().textContent()).toContain('by keyboard');
    await page.close();
  });
});
