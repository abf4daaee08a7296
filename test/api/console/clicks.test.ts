import { randomBytes } from 'node:crypto';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { actions, pages as everyPage } from '../../../src/api/console/pages.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { connectDevice } from '../../gateway/fieldKit.ts';
import { makeKey } from '../../pki/support.ts';
import { cycloneDx, fileOf, osv } from '../../sbom/samples.ts';
import { agreeKek, lockedProgrammer, newUid } from '../../services/parties.ts';
import { Chip, TestProgrammer } from '../../services/production/factory.ts';
import { covers } from '../../support/covers.ts';
import { startWebhookReceiver } from '../../support/webhookReceiver.ts';
import { httpSite } from '../httpSite.ts';
import { signedIn, violationsOf } from './browser.ts';
import {
  act,
  as,
  at,
  browser,
  bytes,
  clicked,
  endProject,
  fleet,
  newer,
  notice,
  output,
  seen,
  server,
  shown,
  site,
  spare,
  startProject,
  tokens,
  unit,
  unlockable,
  type Value,
} from './clickKit.ts';

/** Every action of the console is clicked: found on the page where people look for it, filled in, sent, and seen to be done. The pages are looked at
 *  with what a project has after a while; screenshots stay in test/output/. */

beforeAll(startProject);
afterAll(endProject);

describe('an officer and one device', () => {
  it('tags, attests, quarantines, suspends and releases it', async () => {
    const path = `/console/fleet/${unit(0).uid}`;
    expect(await shown(await act('olga', path, 'Tags', { Add: 'pilot hall-7' }))).toContain('hall-7, pilot');
    await act('olga', path, 'Attestation key', { 'Public key': toPem('PUBLIC KEY', makeKey().spki) });
    expect(await shown(await act('olga', path, 'Attest now'))).toContain('passed');
    await act('olga', path, 'Quarantine', { Reason: 'odd traffic' });
    await act('olga', path, 'Release', { Reason: 'it was a test' });
    await act('olga', path, 'Suspend', { Reason: 'lost for a day' });
    await act('olga', path, 'Resume');
    expect(await shown(await at('ada', path))).toContain('hash chain unbroken');
  });

  it('repairs, revokes and decommissions others', async () => {
    covers('I16');
    const path = `/console/fleet/${unlockable.uid}`;
    const other = await connectDevice(server, unlockable);
    await other.hello();
    const page = await at('olga', path);
    // The page follows the log.
    await page.getByRole('link', { name: 'Take for repair' }).waitFor();
    await other.close();
    await act('olga', path, 'Take for repair', { Reason: 'the display', 'UID of the programmer': spare.active });
    await act('olga', path, 'Ask for debug unlock', { Reason: 'it does not boot' });
    await act('otto', path, 'Approve debug unlock');
    await act('olga', path, 'Order return');
    await act('olga', `/console/fleet/${unit(2).uid}`, 'Revoke…', { 'Reason (RFC 5280)': 'keyCompromise' });
    await act('otto', `/console/fleet/${unit(3).uid}`, 'Decommission…', { Reason: 'end of life' });
  });
});

describe('gateways', () => {
  it('are registered, get and lose devices, are held and revoked', async () => {
    await act('olga', '/console/gateways', 'Register a gateway', { Id: 'hall-2', Name: 'Hall 2' });
    await act('olga', '/console/gateways', 'Attach a device', { 'UID of the device': unit(4).uid }, 'Gateway hall-1');
    await act('olga', '/console/gateways', 'Detach', {}, unit(4).uid);
    await act('olga', '/console/gateways', 'Suspend', { Reason: 'moved' }, 'Gateway hall-1');
    await act('olga', '/console/gateways', 'Resume', {}, 'Gateway hall-1');
    await act('olga', '/console/gateways', 'Attach a device', { 'UID of the device': unit(5).uid }, 'Gateway hall-1');
    await act('olga', '/console/gateways', 'Revoke…', { Reason: 'sold' }, 'Gateway hall-2');
  });
});

describe('programmers', () => {
  it('are registered, shipped, held, reported stolen, taken back and retired', async () => {
    const page = await act('olga', '/console/programmers', 'Register a programmer', { UID: newUid(), Name: 'NuLink3 no. 9' });
    expect(await notice(page)).toContain('registered');
    await act('olga', `/console/programmers/${spare.ready}`, 'Ship', { Manufacturer: site });
    await act('olga', `/console/programmers/${spare.ready}`, 'Back at the OEM');
    await act('otto', `/console/programmers/${spare.ready}`, 'Retire…');
    await act('otto', `/console/programmers/${spare.active}`, 'Suspend', { Reason: 'audit' });
    await act('otto', `/console/programmers/${spare.active}`, 'Resume');
    await act('otto', `/console/programmers/${spare.active}`, 'Revoke…', { Reason: 'not needed' });
    await act('otto', `/console/programmers/${spare.stolen}`, 'Report stolen…', { 'What happened': 'a break-in' });
  });
});

describe('production', () => {
  it('values for each unit are added; a job is drafted with them and given up', async () => {
    await act('paul', '/console/series', 'New series', { Name: 'meter-serial', Kind: 'serial' });
    await act('paul', '/console/series', 'Add a range', { 'First value': 'SN-0001', Values: '500' }, 'meter-serial');
    await act('paul', '/console/series', 'Add a list', { File: bytes('SN-9001\nSN-9002\n') }, 'meter-serial');
    const page = await act('paul', '/console/jobs', 'New job', { Units: '12', 'Values for each unit': 'serial meter-serial sealed' });
    expect(await shown(page)).toContain('serial from meter-serial (sealed)');
    await act('paul', new URL(page.url()).pathname, 'Cancel job', { Reason: 'a test' });
  });

  it('a job goes from the draft to the signed report, with shares that freeze and go on', async () => {
    covers('I16');
    const path = new URL((await act('paul', '/console/jobs', 'New job', { Units: '5', 'Allowance for scrap': '3', Site: site })).url())
      .pathname;
    seen.job = path;
    const jobId = path.split('/').at(-1) ?? '';
    for (const release of [fleet.bl2, fleet.app]) await act('paul', path, 'Bind firmware', { Release: release.releaseId });
    const chips = Array.from({ length: 5 }, () => new Chip());
    await act('paul', path, 'Attach list of chips', { 'File with UIDs': bytes(chips.map(({ party }) => `${party.uid}\n`).join('')) });
    await act('petra', path, 'Release');
    const builder = await activeProgrammer();
    // A cloned key freezes the share of one programmer where another one works on the job too.
    const other = await activeProgrammer();
    await act('paul', path, 'Give a share', { 'UID of the programmer': other.uid, Units: '1' });
    await act('paul', path, 'Give a share', { 'UID of the programmer': builder.uid, Units: '4', 'Allowance for scrap': '3' });
    seen.programmer = `/console/programmers/${builder.uid}`;
    await downloaded('lou', path, 'Export package');
    await builder.begin(jobId, 4, 3);
    for (const chip of chips.slice(0, 2)) await builder.build(chip);
    await builder.build(chips[2] as Chip, 'bootloader');
    await builder.voidUnit(chips[2] as Chip, false);
    await act('lou', path, 'Suspend', { Reason: 'a wrong label' });
    await act('lou', path, 'Resume');
    await cloneFreezes(builder, chips[0] as Chip, chips[3] as Chip);
    await act('paul', path, 'Thaw', { Reason: 'the fixture was wrong' });
    await cloneFreezes(builder, chips[0] as Chip, chips[4] as Chip);
    await act('paul', path, 'Propose to thaw', { Reason: 'the same fixture' });
    const proposal = (await (await as('paul')).locator('#proposal').textContent()) ?? '';
    await act('petra', path, 'Approve a thaw', { 'Id of the proposal': proposal });
    expect(await shown(await at('paul', path))).toContain('units in the last hour');
    const page = await act('paul', path, 'Close…', { 'Why it closes': 'the programmer stays at the manufacturer' });
    expect(await shown(page)).toContain('Signed report');
  });
});

/** Two chips with one key: the share freezes. */
async function cloneFreezes(builder: TestProgrammer, original: Chip, clone: Chip): Promise<void> {
  const copied = new Chip({ ...original.party, uid: clone.party.uid });
  await builder.reserve(copied);
  await expect(builder.steps(copied).csr?.()).rejects.toThrow('WEAK_OR_CLONED_KEY');
  await builder.voidUnit(copied, false);
}

async function activeProgrammer(): Promise<TestProgrammer> {
  const names: Readonly<Record<string, string>> = { pia: 'paul', rita: 'mia' };
  const nameOf = (who: string): string => names[who] ?? who;
  const prepared = await lockedProgrammer(httpSite(server, tokens, nameOf));
  const keyPem = prepared.key.export({ format: 'pem', type: 'pkcs8' }) as string;
  const plant = httpSite(server, tokens, nameOf, { certificate: prepared.certificate, keyPem });
  const builder = new TestProgrammer(plant, prepared, await agreeKek(plant, prepared));
  await plant.ask('olga', 'POST', `/v1/programmers/${prepared.uid}/ship`, { to: site });
  await plant.ask(prepared.certificate, 'POST', `/v1/programmers/${prepared.uid}/check-in`);
  return builder;
}

async function downloaded(name: string, path: string, label: string): Promise<void> {
  const page = await at(name, path);
  await page.getByRole('link', { name: label, exact: true }).first().click();
  await page.waitForURL(/\/console\/do\//);
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('form.action .buttons button').click()]);
  expect(download.suggestedFilename()).toContain('.njp');
  clicked.add('export-package');
}

describe('firmware', () => {
  it('lines get their rules', async () => {
    expect(await shown(await act('mia', '/console/lines', 'New line', { Name: 'gauge', 'Largest security counter': '60' }))).toContain(
      '60 left',
    );
    await act('mia', '/console/lines/gauge', 'Raise the floor…', { 'Lowest security counter': '2' });
    await act('mia', '/console/lines/gauge', 'Support period', { 'Last day': '2031-12-31' });
    await act('mia', '/console/lines/gauge', 'Encrypt images…', { 'AES key': '256', 'No device of the line gets a plain image': true });
    await act('olga', '/console/lines/gauge', 'Attestation rules', {
      'Oldest version of SPDM': '1.3',
      'Each connected device proves itself every': '24',
    });
    const page = await act('olga', '/console/lines/gauge', 'Attest all');
    expect(await shown(page)).toContain('AES-256, a key of each device, never plain');
    expect(await shown(page)).toContain('SPDM 1.3 or newer');
  });

  it('a release is uploaded with its bill of materials, approved and published; another is withdrawn', async () => {
    covers('I16');
    const upload = {
      Line: 'meter',
      Version: '1.3.0',
      'Security counter': '5',
      File: { name: 'app.bin', bytes: new Uint8Array(randomBytes(3000)) },
    };
    const path = new URL((await act('mia', '/console/releases', 'Upload firmware', upload)).url()).pathname;
    const sbom = { name: 'sbom.json', bytes: fileOf(cycloneDx([{ name: 'openssl', version: '3.0.1' }])) };
    expect((await shown(await act('mia', path, 'Attach a bill of materials', { File: sbom }))).toLowerCase()).toContain('cyclonedx');
    seen.release = path;
    await act('max', path, 'Approve');
    await act('max', path, 'Publish');
    expect(await shown(await act('max', `/console/releases/${fleet.next.releaseId}`, 'Withdraw…', { Reason: 'a fault' }))).toContain(
      'withdrawn',
    );
  });

  it('a rollout is planned with all that a plan has; its approver sees it', async () => {
    covers('I16');
    const plan = {
      Release: newer,
      'Groups, one after the other': 'tag=pilot\n50\n100',
      'It halts above (devices failed)': '2',
      'At most so many offers a minute': '60',
      'The security counter may rise': true,
      'Only at these times': '00:00-23:59 Europe/Berlin',
      'Begins with so many offers': '10',
      'A device that failed is offered it again': '2',
      'A device has failed that is testing': '120',
    };
    const path = new URL((await act('mia', '/console/rollouts', 'Plan a rollout', plan)).url()).pathname;
    const page = await at('max', path);
    await page.getByRole('link', { name: 'Approve', exact: true }).click();
    const look = (await page.locator('.look').textContent()) ?? '';
    for (const said of [
      'tag pilot, then 50 %, then 100 %',
      'or 2 devices failed',
      '60 devices in a minute',
      '10 in a minute, doubled every 10 minutes',
      '2×, first after 10 minutes',
      'testing 120 minutes',
      'every day 00:00–23:59 Europe/Berlin',
      'A jump of the security counter',
    ])
      expect(look).toContain(said);
    await act('max', path, 'Approve');
    seen.rollout = path;
    await act('max', path, 'Start');
    await act('mia', path, 'Pause', { Reason: 'a holiday' });
    await act('mia', path, 'Resume');
    await act('mia', path, 'Abort…', { Reason: 'enough' });
  });

  it('a vulnerability is opened from its note, reported and closed; its component is found', async () => {
    const note = { name: 'note.json', bytes: fileOf(osv('CVE-2023-0286', 'openssl', '3.0.8')) };
    const path = new URL((await act('olga', '/console/vulnerabilities', 'Open a case', { Note: note })).url()).pathname;
    expect(await shown(await at('olga', path))).toContain('meter app');
    seen.vulnerability = path;
    await act('mia', path, 'A report was made', { Which: 'earlyWarning', 'To whom': 'ENISA, no. 7' });
    const page = await at('olga', '/console/vulnerabilities');
    await page.getByLabel('Where is').fill('openssl@3.0.1');
    await page.getByRole('button', { name: 'Show' }).click();
    expect(await shown(page)).toContain('Where openssl@3.0.1 is');
    expect(await page.locator('a[href^="/console/releases/"]').count()).toBeGreaterThan(0);
    await act('mia', path, 'Close…', { Reason: 'the code is not reached' });
  });
});

describe('trust', () => {
  const propose = async (label: string, fields: Readonly<Record<string, Value>> = {}, row?: string) =>
    void (await act('alice', '/console/trust', label, fields, row));
  const approve = async (): Promise<Page> => act('bob', '/console/trust', 'Approve');

  it('authorities and keys are made, activated, retired and given up by two administrators', async () => {
    covers('I16');
    await propose('New issuing CA', { For: 'gateway' });
    await approve();
    await propose('Activate');
    await approve();
    await propose('Retire', {}, 'programmer-1');
    await act('alice', '/console/trust', 'Withdraw');
    await propose('New signing key', { 'It signs': 'report' });
    await approve();
    await propose('Compromised…', { Reason: 'a laptop was lost' }, 'report/1');
    await act('bob', '/console/trust', 'Withdraw');
    await propose('Compromised…', { Reason: 'a test' }, 'for gateway');
    await act('alice', '/console/trust', 'Withdraw');
    await propose('Roll the root…');
    const page = await approve();
    expect(await page.locator('ul.tree > li').count()).toBe(2);
    await propose('Retire…', {}, 'root, P-256');
    await act('bob', '/console/trust', 'Withdraw');
  });

  it('many devices are revoked: several chosen rows are all proposed, and a line', async () => {
    covers('I16');
    const page = await at('olga', '/console/fleet');
    const chosen = [unit(6).uid, unit(7).uid];
    for (const uid of chosen) await page.getByLabel(`Choose ${uid}`).check();
    await page.getByRole('button', { name: 'Propose to revoke…' }).click();
    expect((await page.getByLabel('UIDs').inputValue()).split('\n').toSorted()).toEqual(chosen.toSorted());
    await page.getByLabel('Reason (RFC 5280)').selectOption('cessationOfOperation');
    await page.getByLabel('What happened').fill('a batch');
    await page.locator('form.action .buttons button').click();
    expect(await notice(page)).toContain('proposed');
    clicked.add('propose-revocation');
    await act('otto', '/console/revocations', 'Approve…');
    await act('olga', '/console/revocations', 'Revoke a line or a job…', {
      Line: 'meter',
      'Reason (RFC 5280)': 'superseded',
      'What happened': 'a drill',
    });
    await act('otto', '/console/revocations', 'Cancel');
  });
});

describe('oversight', () => {
  it('alarms are assigned, silenced and acknowledged', async () => {
    await act('olga', '/console/alarms', 'Assign', { Person: 'otto' });
    await act('olga', '/console/alarms', 'Silence', { 'For how long': '8', Reason: 'known' });
    await act('otto', '/console/alarms', 'Acknowledge', { 'What was done': 'looked at' });
  });

  it('a webhook is added, tested, gets another secret, and goes; what one could not deliver is tried again and given up', async () => {
    const receiver = await startWebhookReceiver();
    const fields = {
      Name: 'mes',
      Address: receiver.url,
      'Only these types': 'NothingFits',
      'Authorities of the receiver': receiver.certificate,
    };
    const added = await act('alice', '/console/webhooks', 'Add a webhook', fields);
    receiver.useSecret((await added.locator('#secret').textContent()) ?? '');
    expect(await notice(await act('alice', '/console/webhooks/mes', 'Test'))).toContain('The receiver took the message');
    await act('alice', '/console/webhooks/mes', 'New secret');
    await act('alice', '/console/webhooks/mes', 'Remove…');
    await receiver.close();
    await act('alice', '/console/webhooks/old', 'Try again');
    await act('alice', '/console/webhooks/old', 'Give up…', { Reason: 'it is over' });
  });

  it('the log is looked at; no event is parked for a follower that follows', async () => {
    const page = await at('olga', '/console/do/park-event?follower=read+model+devices&position=1');
    await page.getByLabel('Reason').fill('a drill');
    await page.getByLabel('Type park to confirm').fill('park');
    await page.locator('form.action .buttons button').click();
    expect(await page.getByRole('alert').textContent()).toContain('stands before no event, not before event 1');
    clicked.add('park-event');
    expect(await shown(await at('ada', '/console/log'))).toContain('read model devices');
  });
});

describe('people', () => {
  it('are added, changed and removed by two administrators where they approve', async () => {
    covers('I16');
    await act('alice', '/console/people', 'Add a person', {
      Name: 'rita',
      ' Roles': ['releaseManager'],
      'SHA-256 of the person': 'ab'.repeat(32),
    });
    expect(await shown(await act('bob', '/console/people', 'Approve'))).toContain('rita');
    await act('alice', '/console/people', 'New token', { 'SHA-256 of the person': 'cd'.repeat(32) }, 'rita');
    await act('bob', '/console/people', 'Withdraw');
    await act('alice', '/console/people', 'Roles', { ' Roles': ['auditor'] }, 'ada');
    await act('alice', '/console/people', 'Add a person', { Name: 'nora', ' Roles': ['auditor'] });
    await act('alice', '/console/people', 'Remove…', {}, 'nora');
  });

  it('tokens and sessions: one more of one’s own, by name and for a part; its end by its owner and by an administrator', async () => {
    const wish = { Name: 'build server', ' Roles': ['releaseManager'], 'Only these lines': 'meter', 'Only these sites': site };
    for (const [who, path] of [
      ['mia', '/console/people/me'],
      ['alice', '/console/people/mia'],
    ] as const) {
      await act('mia', '/console/people/me', 'Add a token', wish);
      expect(await shown(await at(who, path))).toContain('releaseManager; lines meter; sites Example CM');
      await act(who, path, 'End…', {}, 'build server');
    }
    await act('paul', '/console/people/me', 'New token for yourself');
    const page = await as('paul');
    await page.goto(`${server.url}/console`);
    expect(await page.getByRole('heading', { level: 1 }).textContent()).toBe('Sign in');
  });

  it('an officer asks for more than one may do alone; another allows it', async () => {
    covers('I16');
    const allowance = { What: 'revoke', 'How many': '40', Why: 'returned batch' };
    await act('olga', '/console/people/me', 'Ask for an allowance', allowance);
    await act('otto', '/console/people', 'Allow');
  });

  it('somebody is erased from the log by two administrators; what the log has of them is downloaded before', async () => {
    covers('I16');
    const page = await at('ada', '/console/subjects');
    // Every one by a name, also those who rolled the root.
    expect(await page.locator('tbody strong').allTextContents()).not.toContainEqual(expect.stringContaining('~'));
    const row = page.locator('tr').filter({ hasText: 'nora' });
    const [download] = await Promise.all([page.waitForEvent('download'), row.getByRole('link', { name: 'What the log has' }).click()]);
    expect(download.suggestedFilename()).toBe('subject.jsonl');
    expect(await shown(await act('alice', '/console/subjects', 'Erase…', { Reason: 'asked for it' }, 'nora'))).toContain('Proposed');
    expect(await shown(await act('bob', '/console/subjects', 'Erase…', { Reason: 'asked for it' }, 'nora'))).toContain('Erased');
    expect(await shown(await at('ada', '/console/subjects'))).not.toContain('nora');
  });
});

/** Where its browser test is. */
const elsewhere = { 'add-authenticator': 'authenticators.test.ts' };

it('every action of the console was clicked', () => {
  expect([...Object.keys(actions)].filter(name => !clicked.has(name))).toEqual(Object.keys(elsewhere));
});

/** What each page shows when it names one thing; files to download are none. */
const named: Readonly<Record<string, () => string>> = {
  '/console/fleet/:uid': () => `/console/fleet/${unit(0).uid}`,
  '/console/jobs/:id': () => seen.job,
  '/console/programmers/:id': () => seen.programmer,
  '/console/lines/:line': () => '/console/lines/gauge',
  '/console/releases/:id': () => seen.release,
  '/console/vulnerabilities/:case': () => seen.vulnerability,
  '/console/rollouts/:id': () => seen.rollout,
  '/console/trust/record/:id': () => '/console/trust/record/root',
  '/console/webhooks/:name': () => '/console/webhooks/old',
  '/console/people/:name': () => '/console/people/mia',
};

it.each([
  ['on a desk, in light', { width: 1280, dark: false }],
  ['on a telephone, in dark', { width: 390, dark: true }],
])('every page has what the project has by now, nothing that axe-core finds, and fits: %s', async (_, look) => {
  const page = await signedIn(browser, server, server.alice, look);
  const errors: string[] = [];
  page.on('console', message => message.type() === 'error' && errors.push(message.text()));
  const paths = Object.keys(everyPage).flatMap(path =>
    path.includes(':') ? (named[path]?.() ?? []) : path.endsWith('/export') ? [] : path,
  );
  expect(paths.length).toBeGreaterThan(28);
  for (const [index, path] of [...paths, '/console/do/plan-rollout', '/console/do/set-attestation/gauge'].entries()) {
    expect((await page.goto(`${server.url}${path}`))?.status(), path).toBe(200);
    expect(await violationsOf(page), path).toEqual([]);
    expect(await page.evaluate('document.documentElement.scrollWidth'), path).toBeLessThanOrEqual(look.width);
    const name =
      path
        .split('/')
        .slice(2)
        .join('-')
        .replaceAll(/[0-9a-f]{32}/g, 'id') || 'home';
    await page.screenshot({ path: `${output}${String(index).padStart(2, '0')}-${name}-${look.width}.png`, fullPage: true });
  }
  expect(errors).toEqual([]);
  await page.context().close();
});
