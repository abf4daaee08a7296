import type { Command } from 'commander';
import { ask, type ServerOptions, withServerOptions } from './client.ts';
import { print, record } from './output.ts';

/** `nusec whoami`: the person behind the token, and what that person may do. */
export function registerWhoami(program: Command): void {
  withServerOptions(
    program
      .command('whoami')
      .description('who you are for the server, with your roles and scope')
      .addHelpText('after', '\nExamples:\n  $ nusec whoami\n  $ nusec whoami --json'),
  ).action(async (options: ServerOptions) => {
    const me = await ask<Record<string, unknown>>(options, 'GET', '/v1/operators/me');
    print(options, me, record(me));
  });
}
