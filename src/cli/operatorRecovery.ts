import type { Command } from 'commander';
import type { KnownChange } from '../domain/operatorsState.ts';
import { recoveryDelayHours } from '../domain/recoveryCodes.ts';
import { NusecError } from '../errors.ts';
import type { Parts } from '../services/base/alarms.ts';
import { readText } from './client.ts';
import { print, record, styled } from './output.ts';

type Options = { data: string; json?: boolean };
type Use = Options & { codes: string; tokenSha256: string; second?: string; secondTokenSha256?: string };

/** `nusec operator recover`: on the server's own machine, when too few administrators are left to approve anything. It waits, and every
 *  administrator who is left sees it as an alarm and can withdraw it. */
export function registerRecovery(operator: Command): void {
  const recover = operator.command('recover').description('on the server’s machine: an administrator when too few are left, after a delay');
  const local = (usage: string, description: string, example: string, note = waits): Command =>
    recover
      .command(usage)
      .description(description)
      .requiredOption('--data <dir>', 'data folder; the server may be running')
      .option('--json', 'print JSON instead of text')
      .addHelpText(
        'after',
        `
${note}

Examples:
  $ nusec operator recover ${example}`,
      );
  local(
    'begin <name>',
    'propose a new administrator, or a new token for a person who is known',
    'begin carol --data /var/lib/nusec --token-sha256 …',
  )
    .requiredOption('--token-sha256 <sha256>', 'of the token that the person has made (nusec operator new-token)')
    .action(async (name: string, { tokenSha256, ...options }: Options & { tokenSha256: string }) => {
      const begun = await withParts(options, async parts =>
        (await import('../services/administration/operatorChanges.ts')).beginRecovery(parts, name, tokenSha256),
      );
      const next = `from ${begun.notBefore} on: ${styled('bold', `nusec operator recover finish ${begun.id} --data ${options.data}`)}`;
      print(options, begun, `${show(begun)}\n\n${next}`);
    });
  local('finish <id>', 'carry it out, after the delay', 'finish 5f0c9e3a7d1b4e6f8a2c4d6e8f0a1b3c --data /var/lib/nusec').action(
    async (id: string, options: Options) => {
      const done = await withParts(options, async parts =>
        (await import('../services/administration/operatorChanges.ts')).finishRecovery(parts, id),
      );
      print(options, done, show(done));
    },
  );
  local(
    'use <name>',
    'another token for one or two administrators, by two recovery codes; nothing waits',
    'use alice --data /var/lib/nusec --codes ./codes --token-sha256 … --second bob --second-token-sha256 …',
    'For the time when fewer than two administrators have a token that counts. The set of codes is used up.',
  )
    .requiredOption('--codes <file>', 'two recovery codes of different people, one a line')
    .requiredOption('--token-sha256 <sha256>', 'of the token that the person has made (nusec operator new-token)')
    .option('--second <name>', 'another administrator who gets a token too: what needs two people can be done then')
    .option('--second-token-sha256 <sha256>', 'of the token that this person has made')
    .action(async (name: string, { codes, tokenSha256, second, secondTokenSha256, ...options }: Use) => {
      if ((second === undefined) !== (secondTokenSha256 === undefined))
        throw new NusecError('BAD_REQUEST', '--second and --second-token-sha256 belong together');
      const other = second !== undefined && secondTokenSha256 !== undefined ? { name: second, tokenSha256: secondTokenSha256 } : undefined;
      const given = readText(codes, 'file with recovery codes')
        .split(/\s+/)
        .filter(line => line !== '');
      await withParts(options, async parts =>
        (await import('../services/administration/recoveryCodes.ts')).recoverByCodes(parts, given, { name, tokenSha256 }, other),
      );
      const recovered = other === undefined ? name : `${name}, ${other.name}`;
      print(options, { name, ...(other && { second: other.name }) }, record({ recovered, next: 'nusec operator recover new-codes' }));
    });
  local(
    'new-codes',
    'three new recovery codes; those before them end',
    'new-codes --data /var/lib/nusec',
    `They count ${recoveryDelayHours} hours later: every administrator sees the alarm before.`,
  ).action(async (options: Options) => {
    const made = await withParts(options, async parts =>
      (await import('../services/administration/recoveryCodes.ts')).makeRecoveryCodes(parts, true),
    );
    print(
      options,
      { recoveryCodes: made },
      ['recovery codes, shown this once; give each to another person:', ...made.map(code => `  ${code}`)].join('\n'),
    );
  });
}

const waits = `It takes effect ${recoveryDelayHours} hours after \`begin\`, unless an administrator withdraws it (nusec operator change withdraw).`;

const show = ({ change, ...known }: KnownChange): string => record({ ...known, change: `${change.type} ${change.name}` });

async function withParts<T>({ data }: Options, work: (parts: Parts) => Promise<T>): Promise<T> {
  const { readSettings } = await import('../config.ts');
  const { createAlarms } = await import('../services/base/alarms.ts');
  const { openContext } = await import('../services/dataFolder/open.ts');
  const settings = readSettings(data);
  const opened = await openContext(settings, { https: settings.httpsPort, crl: settings.crlPort });
  try {
    return await work({ ctx: opened.ctx, alarms: createAlarms(opened.ctx) });
  } finally {
    await opened.close();
  }
}
