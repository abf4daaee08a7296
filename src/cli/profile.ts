import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { httpsUrl, oneOf } from './options.ts';
import { type Output, outputs, print, table } from './output.ts';
import { type Profile, profilesFile, readProfiles, requireProfile, writeProfiles } from './profiles.ts';

/** `nusec profile`: so that nobody types server, root certificate and token file again and again. */

type Set = { readonly server: string; readonly ca?: string; readonly tokenFile?: string };

export function registerProfile(program: Command): void {
  const profile = program.command('profile').description('servers and tokens that you work with, by name');
  const command = (usage: string, about: string, ...examples: readonly string[]): Command =>
    profile
      .command(usage)
      .description(about)
      .addHelpText('after', `\nExamples:\n${examples.map(text => `  $ nusec profile ${text}`).join('\n')}`);
  command(
    'set <name>',
    'write a profile and use it',
    'set factory --server https://nusec.example.com:8443 --ca ./root.pem --token-file ./alice.token',
  )
    .requiredOption('--server <url>', 'the API', httpsUrl)
    .option('--ca <file>', 'root certificate, PEM')
    .option('--token-file <file>', 'your bearer token')
    .action(set);
  command('use <name>', 'use a profile from now on', 'use factory').action(use);
  command('list', 'all of them', 'list --json', 'list -o csv')
    .option('--json', 'print JSON instead of text, as -o json')
    .addOption(new Option('-o, --output <format>', `one of ${outputs.join(', ')}`).argParser(oneOf(outputs)))
    .action(list);
  command('remove <name>', 'forget a profile', 'remove factory').action(remove);
}

function set(name: string, { server, ca, tokenFile }: Set): void {
  const { profiles } = readProfiles();
  const profile: Profile = { server, ...(ca && { ca: resolve(ca) }), ...(tokenFile && { tokenFile: resolve(tokenFile) }) };
  writeProfiles({ current: name, profiles: { ...profiles, [name]: profile } });
  process.stderr.write(`${profilesFile()}: ${name} is used from now on\n`);
}

function use(name: string): void {
  requireProfile(name);
  const { profiles } = readProfiles();
  writeProfiles({ current: name, profiles });
}

function list(options: { readonly json?: boolean; readonly output?: Output }): void {
  const { current, profiles } = readProfiles();
  const rows = Object.entries(profiles).map(([name, one]) => ({ name, ...one, current: name === current }));
  const cells = rows.map(one => [one.current ? '*' : '', one.name, one.server, one.ca, one.tokenFile]);
  print(options, rows, table(['', 'PROFILE', 'SERVER', 'ROOT CERTIFICATE', 'TOKEN FILE'], cells));
}

function remove(name: string): void {
  requireProfile(name);
  const { current, profiles } = readProfiles();
  const { [name]: _, ...rest } = profiles;
  writeProfiles({ profiles: rest, ...(current !== undefined && current !== name && { current }) });
}
