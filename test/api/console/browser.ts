import { readFileSync } from 'node:fs';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { browserMs } from '../../support/limits.ts';
import type { TestServer } from '../../support/server.ts';

/** Debian's chromium, and what every test of the console does with it. */

export const openBrowser = (): Promise<Browser> =>
  chromium.launch({
    executablePath: '/usr/bin/chromium',
    timeout: browserMs,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      // Pages of others, such as those of a test's OpenID provider, may name fonts and scripts elsewhere: nothing is looked up.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
    ],
  });

/** A page that shares nothing with another one. */
export async function newPage(browser: Browser, options?: BrowserContextOptions): Promise<Page> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  context.setDefaultTimeout(browserMs);
  return context.newPage();
}

type Look = { readonly width?: number; readonly dark?: boolean };

/** A page of somebody who is signed in. */
export async function signedIn(
  browser: Browser,
  server: Pick<TestServer, 'url'>,
  token: string,
  { width = 1280, dark = false }: Look = {},
): Promise<Page> {
  const page = await newPage(browser, { viewport: { width, height: 800 }, colorScheme: dark ? 'dark' : 'light' });
  await page.goto(`${server.url}/console/sign-in`);
  await page.getByLabel('Your token').fill(token);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('heading', { name: 'Home', level: 1 }).waitFor();
  return page;
}

const axe = readFileSync(new URL('../../../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

/** Chromium drops its requests when an interface comes or goes on the machine, as tests with network namespaces have them come and go. */
const networkChanged = 'net::ERR_NETWORK_CHANGED';

/** What a page writes to the console of the browser as errors, each with the page it is on and what it is of. */
export function consoleErrorsOf(page: Page): readonly string[] {
  const errors: string[] = [];
  page.on('console', message => {
    if (message.type() === 'error' && !message.text().includes(networkChanged))
      errors.push(`on ${page.url()}: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', error => errors.push(`on ${page.url()}: ${error.message}`));
  return errors;
}

/** The page follows the log no more and has taken in what it had asked for: while it is looked at it is one page, not two. */
async function standStill(page: Page): Promise<void> {
  await page.evaluate(`document.body.classList.add('paused')`);
  await page.locator('main.htmx-request, main.htmx-swapping, main.htmx-settling').waitFor({ state: 'detached' });
}

/** What axe-core finds wrong on a page, as sentences. */
export async function violationsOf(page: Page): Promise<readonly string[]> {
  await standStill(page);
  const found = await page.evaluate(`${axe};axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))`);
  return (found as [string, string][]).map(([id, html]) => `${id}: ${html.slice(0, 200)}`);
}
