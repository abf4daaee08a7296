import type { Command } from 'commander';
import { withServerOptions } from './client.ts';
import type { LoginOptions } from './loginBrowser.ts';

/** `nusec login`: a browser is opened at the console, its person allows this command, and the browser brings a code to this machine's loopback (RFC 8252),
 *  which is changed for a session of 12 hours. */

export function registerLogin(program: Command): void {
  withServerOptions(
    program
      .command('login')
      .description('sign in with the browser, for 12 hours; the session is kept in a file of mode 600')
      .option('--no-browser', 'print the address instead of opening it')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nusec login --server https://nusec.example.com:8443 --ca ./root.pem\n  $ nusec login --no-browser',
      ),
  ).action(async (options: LoginOptions) => (await import('./loginBrowser.ts')).login(options));
}
