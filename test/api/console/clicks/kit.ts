import { mkdirSync } from 'node:fs';
import type { Browser, Locator, Page } from 'playwright-core';
import { expect } from 'vitest';
import { alarmStream } from '../../../../src/domain/alarm.ts';
import { deviceStream } from '../../../../src/domain/device.ts';
import { programmerStream } from '../../../../src/domain/programmer.ts';
import type { Role, Scope } from '../../../../src/domain/roles.ts';
import { webhook, webhookStream, webhooksStream } from '../../../../src/domain/webhook.ts';
import { newEvent } from '../../../../src/eventstore/recorded.ts';
import { addOperator } from '../../../../src/services/administration/operators.ts';
import { type Context, execute, nowIso } from '../../../../src/services/base/context.ts';
import { registerGateway } from '../../../../src/services/field/gateways.ts';
import { defineLine } from '../../../../src/services/firmware/lines.ts';
import { certifyGateway } from '../../../../src/services/identity/enrolment.ts';
import { registerProgrammer } from '../../../../src/services/production/programmers.ts';
import { build, connectDevice, type FieldDevice, type Fleet, line, publish, seedFleet, type Unit } from '../../../gateway/fieldKit.ts';
import { makeCsr, makeKey } from '../../../pki/support.ts';
import { newUid } from '../../../services/parties.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';
import { openBrowser, signedIn } from '../browser.ts';

/** A project in a real server with a device, machines and people, and how somebody clicks through the console of it. */

export const output = new URL('../../../output/clicks/', import.meta.url).pathname;
const by = 'operator:alice';
export const site = 'Example CM';
const people: Readonly<Record<string, readonly [Role, Scope?]>> = {
  olga: ['securityOfficer'],
  otto: ['securityOfficer'],
  paul: ['productionPlanner'],
  petra: ['productionPlanner'],
  mia: ['releaseManager'],
  max: ['releaseManager'],
  ada: ['auditor'],
  lou: ['lineOperator', { sites: [site] }],
};
export const tokens = new Map<string, string>();
const pages = new Map<string, Page>();
export const clicked = new Set<string>();
export const spare = { ready: newUid(), active: newUid(), stolen: newUid() };
export let server: TestServer;
export let browser: Browser;
export let fleet: Fleet;
let connected: FieldDevice;
export let newer = '';
/** Pages of things that came on the way. */
export const seen = { job: '', programmer: '', release: '', rollout: '', vulnerability: '' };
export let unlockable: Unit;

async function seed(ctx: Context): Promise<void> {
  for (const [name, [role, scope]] of Object.entries(people)) tokens.set(name, await addOperator(ctx, name, [role], by, scope));
  fleet = await seedFleet(ctx, 8);
  newer = (await publish(ctx, 'app', '1.2.0', 4)).releaseId;
  unlockable = await build(ctx, fleet.bl2, fleet.app, line, undefined, undefined, 'debug-unlock/1');
  await registerGateway(ctx, 'hall-1', 'Hall 1', by);
  await certifyGateway(ctx, 'hall-1', makeCsr(makeKey(), { commonName: 'hall-1' }), by);
  await seedWebhook(ctx);
  await seedScale(ctx);
  const events = { ready: ['ProgrammerLocked', 'KekAgreed'], active: ['ProgrammerCheckedIn'], stolen: ['ProgrammerCheckedIn'] } as const;
  for (const [name, types] of Object.entries(events)) {
    const uid = spare[name as keyof typeof spare];
    await registerProgrammer(ctx, uid, 'NuLink3', by);
    for (const type of types) {
      const data = type === 'KekAgreed' ? { epoch: 1, keyId: 'kek' } : {};
      await ctx.store.append(programmerStream(uid), 'any', [newEvent(type, data, { id: ctx.newId(), at: nowIso(ctx), by })]);
    }
  }
}

/** A line with a device, and an alarm. */
async function seedScale(ctx: Context): Promise<void> {
  await defineLine(ctx, { line: 'scale' }, by);
  const about = () => ({ id: ctx.newId(), at: nowIso(ctx), by }) as const;
  const [uid, hex] = [newUid(), '0d'.repeat(16)];
  const minted = { uid, objId: hex, line: 'scale', jobId: hex, programmer: spare.active, grantId: hex, generation: 1 };
  await ctx.store.append(deviceStream(uid), 'any', [newEvent('DeviceMinted', minted, about())]);
  const alarm = { code: 'OTP_FOREIGN', subject: 'gateway-hall-1', detail: 'a drill' };
  await ctx.store.append(alarmStream(alarm.subject), 'any', [newEvent('AlarmRaised', alarm, about())]);
}

/** One that could not deliver an event. */
async function seedWebhook(ctx: Context): Promise<void> {
  const target = { name: 'old', url: 'https://mes.example.com/in', types: ['KeystoreMigrated'] };
  await execute(
    ctx,
    webhook,
    webhooksStream,
    { type: 'AddWebhook', ...target, secretId: 'a1', afterPosition: 0, by, now: nowIso(ctx) },
    by,
  );
  const letter = { position: 1, eventId: ctx.newId(), eventType: 'ProjectCreated', attempts: 5, failure: 'the receiver answered 422' };
  const event = newEvent('WebhookDeadLettered', { name: 'old', ...letter }, { id: ctx.newId(), at: nowIso(ctx), by: 'system:webhooks' });
  await ctx.store.append(webhookStream('old'), 'any', [event]);
}

export async function startProject(): Promise<void> {
  mkdirSync(output, { recursive: true });
  server = await startTestServer(seed, undefined, {
    webhooks: { privateNetworks: ['127.0.0.0/8', '::1/128'], firstPauseMs: 1000, giveUpSeconds: 86_400 },
  });
  for (const name of ['alice', 'bob'] as const) tokens.set(name, server[name]);
  browser = await openBrowser();
  connected = await connectDevice(server, unit(0));
  await connected.hello();
}

export async function endProject(): Promise<void> {
  await connected?.close();
  await browser?.close();
  await server?.close();
}

export const unit = (index: number) => fleet.units[index] as Fleet['units'][number];
export async function as(name: string): Promise<Page> {
  const page = pages.get(name) ?? (await signedIn(browser, server, tokens.get(name) ?? ''));
  pages.set(name, page);
  return page;
}
export const at = async (name: string, path: string): Promise<Page> => {
  const page = await as(name);
  await page.goto(`${server.url}${path}`);
  return page;
};

export type Value = string | boolean | readonly string[] | { readonly name: string; readonly bytes: Uint8Array };

async function fill(form: Locator, label: string, value: Value): Promise<void> {
  const field = form.getByLabel(label, { exact: false }).first();
  if (Array.isArray(value)) for (const one of value as readonly string[]) await form.getByLabel(one, { exact: true }).check();
  else if (typeof value === 'boolean') await field.setChecked(value);
  else if (typeof value === 'string')
    await ((await field.evaluate((node: { tagName: string }) => node.tagName)) === 'SELECT'
      ? field.selectOption(value)
      : field.fill(value));
  else if ('bytes' in value)
    await field.setInputFiles({ name: value.name, mimeType: 'application/octet-stream', buffer: Buffer.from(value.bytes) });
}

/** Clicks what leads to an action, fills its form in, and sends it.
 *  @param row text of the row or card that the link is in @returns the page afterwards, without a refusal */
export async function act(
  name: string,
  path: string,
  label: string,
  fields: Readonly<Record<string, Value>> = {},
  row?: string,
): Promise<Page> {
  const page = await at(name, path);
  const place =
    row === undefined
      ? page.locator('main')
      : page
          .locator('main tr, main li, main section.card, main .head')
          .filter({ hasText: row })
          .filter({ has: page.getByRole('link', { name: label, exact: true }) })
          .last();
  await place.getByRole('link', { name: label, exact: true }).first().click();
  await page.waitForURL(/\/console\/do\//);
  const action = new URL(page.url()).pathname.split('/')[3] ?? '';
  const form = page.locator('form.action');
  const more = form.locator('summary');
  if ((await more.count()) > 0) await more.click();
  for (const [field, value] of Object.entries(fields)) await fill(form, field, value);
  const typed = form.getByLabel(/^Type .* to confirm$/);
  if ((await typed.count()) > 0) {
    const text = (await form.locator('label[for="field-typed"]').textContent()) ?? '';
    await typed.fill(text.replace(/^Type (.*) to confirm$/, '$1'));
  }
  await Promise.all([page.waitForResponse(answer => answer.request().method() === 'POST'), form.locator('.buttons button').click()]);
  await page.waitForLoadState();
  expect(await page.locator('main [role="alert"]').allTextContents(), `${action} as ${name}`).toEqual([]);
  clicked.add(action);
  return page;
}
export const notice = (page: Page) => page.getByRole('status').first().textContent();
export const shown = async (page: Page): Promise<string> => (await page.locator('main').textContent()) ?? '';
export const bytes = (text: string) => ({ name: 'file', bytes: new TextEncoder().encode(text) });
