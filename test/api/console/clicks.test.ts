import { afterAll, beforeAll, expect, it } from 'vitest';
import { actions, pages as everyPage } from '../../../src/api/console/pages.ts';
import { consoleErrorsOf, signedIn, violationsOf } from './browser.ts';
import { clickDevices } from './clicks/devices.ts';
import { clickFirmware } from './clicks/firmware.ts';
import { browser, clicked, endProject, output, seen, server, startProject, unit } from './clicks/kit.ts';
import { clickOversight } from './clicks/oversight.ts';
import { clickPeople } from './clicks/people.ts';
import { clickProduction } from './clicks/production.ts';
import { clickTrust } from './clicks/trust.ts';

/** Every action of the console is clicked: found on the page where people look for it, filled in, sent, and seen to be done. The pages are looked at
 *  with what a project has after a while; screenshots stay in test/output/. */

beforeAll(startProject);
afterAll(endProject);

clickDevices();
clickProduction();
clickFirmware();
clickTrust();
clickOversight();
clickPeople();

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
  const errors = consoleErrorsOf(page);
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
