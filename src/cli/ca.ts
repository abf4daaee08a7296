import { type Command, Option } from 'commander';
import type { CaUse } from '../domain/authorityEvents.ts';
import { type SigningUse, signingUses } from '../domain/signingUse.ts';
import type { Curve } from '../ecKey.ts';
import { NusecError } from '../errors.ts';
import { ask, type Look, listOnce, lookOf, type ServerOptions, subcommandsOf, withLook, withServer } from './client.ts';
import { print, record, styled, table } from './output.ts';

type Ca = {
  readonly icaId: string;
  readonly use: string;
  readonly line: string | null;
  readonly status: string;
  readonly rootId: string;
  readonly curve: string;
  readonly notAfter: string;
  readonly crl: { readonly number: number; readonly nextUpdate: string } | null;
};
type Root = {
  readonly rootId: string;
  readonly sha256: string;
  readonly curve: string;
  readonly icaCurve: string;
  readonly notAfter: string;
  readonly retired: boolean;
};
type Authority = {
  readonly roots: readonly Root[];
  readonly issuingCas: readonly Ca[];
  readonly packageKeys: readonly { readonly keyId: string; readonly uses: readonly SigningUse[]; readonly compromised: boolean }[];
  readonly trustBundle: { readonly version: number; readonly sha256: string; readonly devicesBehind: number };
};
type Ceremony = {
  readonly id: string;
  readonly status: string;
  readonly action: Readonly<Record<string, string>>;
  readonly proposedBy: string;
  readonly proposedAt: string;
  readonly approvedBy?: string;
  readonly outcome?: Readonly<Record<string, string>>;
};
type Reason = ServerOptions & { reason: string };
type WithCurve = ServerOptions & { curve?: Curve; icaCurve?: Curve };
type Roll = WithCurve & { line?: string; offline?: boolean; data?: string; secondTokenFile?: string };

const path = '/v1/authority/ceremonies';
const example = '5f0c9e3a7d1b4e6f8a2c4d6e8f0a1b3c';

/** `nusec ca`: the authorities and the ceremonies that change them. Each is proposed by one administrator and approved by another. */
export function registerCa(program: Command): void {
  const ca = program.command('ca').description('authorities: generations, roots, signing keys; every change is a ceremony of two people');
  const command = subcommandsOf(ca);
  command('list', 'roots, issuing CAs, signing keys, trust bundle', 'list', 'list --json').action(list);
  command(
    'roll <use>',
    'propose the next generation of an issuing CA',
    'roll gateway',
    'roll device --line meter',
    'roll server --curve P-384',
    'roll server --offline --data /var/lib/nusec --token-file alice.token --second-token-file bob.token',
  )
    .option('--line <line>', 'product line, for device CAs')
    .addOption(curveOption('--curve', 'of its key; default: as the newest root says'))
    .option('--offline', 'on the server’s own machine: make and activate it in one step, with the tokens of two administrators')
    .option('--data <dir>', 'with --offline: data folder of the server, which may run')
    .option('--second-token-file <file>', 'with --offline: token of the other administrator')
    .action(roll);
  command(
    'activate <id>',
    'propose that this issuing CA issues from now on; the one before it is retired',
    'activate device-meter-2',
  ).action((icaId: string, options: ServerOptions) => propose(options, { type: 'activateIssuingCa', icaId }));
  command(
    'retire <id>',
    'propose that an issuing CA issues nothing more, or end the trust in a root',
    'retire gateway-1',
    'retire root',
  ).action((id: string, options: ServerOptions) =>
    propose(options, /^root(-\d+)?$/.test(id) ? { type: 'retireRoot', rootId: id } : { type: 'retireIssuingCa', icaId: id }),
  );
  command(
    'compromise <id>',
    'propose that nothing under an issuing CA, or signed by a signing key, is believed any more',
    'compromise device-meter-1 --reason "backup lost"',
    'compromise package/1 --reason "signed by a stranger"',
  )
    .requiredOption('--reason <text>', 'why')
    .action((id: string, { reason, ...options }: Reason) =>
      propose(
        options,
        id.includes('/') ? { type: 'compromisePackageKey', keyId: id, reason } : { type: 'compromiseIssuingCa', icaId: id, reason },
      ),
    );
  command('roll-root', 'propose the next root; old and new certify each other', 'roll-root', 'roll-root --curve P-384 --ica-curve P-256')
    .addOption(curveOption('--curve', 'of its key; default: that of the newest root'))
    .addOption(curveOption('--ica-curve', 'of the issuing CAs under it; default: its own'))
    .action(({ curve, icaCurve, ...options }: WithCurve) =>
      propose(options, { type: 'rollRoot', ...(curve !== undefined && { curve }), ...(icaCurve !== undefined && { icaCurve }) }),
    );
  command(
    'roll-package-key',
    'propose the next keys that sign packages, grants, orders, OTA jobs and reports: one for each use',
    'roll-package-key',
    'roll-package-key --use grant',
  )
    .addOption(new Option('--use <use>', 'only the key of this use').choices(signingUses))
    .action(({ use, ...options }: ServerOptions & { use?: SigningUse }) =>
      propose(options, { type: 'establishPackageKey', ...(use !== undefined && { use }) }),
    );
  registerCeremony(ca);
}

async function roll(use: string, { line, curve, offline, data, secondTokenFile, ...options }: Roll): Promise<void> {
  const wish = { ...(line !== undefined && { line }), ...(curve !== undefined && { curve }) };
  if (!offline) return propose(options, { type: 'establishIssuingCa', use, ...wish });
  const { tokenFile } = options;
  if (data === undefined || tokenFile === undefined || secondTokenFile === undefined)
    throw new NusecError('BAD_REQUEST', '--offline needs --data, --token-file and --second-token-file');
  const { rollOffline } = await import('./caOffline.ts');
  const held = await rollOffline({ data, use: use as CaUse, ...wish, tokenFile, secondTokenFile });
  print(options, held, held.map(done => show({ ...done, action: done.action as Ceremony['action'] })).join('\n\n'));
}

const curveOption = (name: string, what: string) => new Option(`${name} <curve>`, what).choices(['P-256', 'P-384']);

function registerCeremony(ca: Command): void {
  const ceremony = ca.command('ceremony').description('ceremonies that wait, and the records of those that were held');
  const command = subcommandsOf(ceremony, 'ca ceremony');
  command('list', 'all ceremonies, newest first', 'list', 'list --json').action(async (options: ServerOptions) => {
    const ceremonies = await listOnce<Ceremony>(options, path, 'ceremonies');
    const rows = ceremonies.map(one => [one.id, one.status, describe(one.action), one.proposedBy, one.approvedBy]);
    print(options, ceremonies, table(['CEREMONY', 'STATUS', 'ACTION', 'PROPOSED BY', 'APPROVED BY'], rows));
  });
  withLook(command('approve <ceremony>', 'approve what another has proposed, and carry it out', `approve ${example}`)).action(
    async (id: string, options: ServerOptions & Look) => {
      const done = await ask<Ceremony>(options, 'POST', `${path}/${id}/approve`, lookOf(options));
      print(options, done, `${show(done)}\n\n${styled('dim', `for the file: nusec ca ceremony record ${id}`)}`);
    },
  );
  command('withdraw <ceremony>', 'take a proposal back', `withdraw ${example}`).action(async (id: string, options: ServerOptions) => {
    const withdrawn = await ask<Ceremony>(options, 'POST', `${path}/${id}/withdraw`, {});
    print(options, withdrawn, show(withdrawn));
  });
  command(
    'record <ceremony>',
    'the record to print and sign; `root` for that of the first root',
    `record ${example} > ceremony.txt`,
    'record root',
  ).action(async (id: string, options: ServerOptions) => {
    const text = new TextDecoder().decode(await withServer(options, server => server.bytes('GET', `${path}/${id}/record`)));
    print(options, { record: text }, text);
  });
}

async function list(options: ServerOptions): Promise<void> {
  const authority = await ask<Authority>(options, 'GET', '/v1/authority');
  const { roots, issuingCas, packageKeys, trustBundle } = authority;
  const text = [
    table(
      ['ROOT', 'CURVE', 'ICA CURVE', 'STATUS', 'ENDS', 'SHA-256'],
      roots.map(({ rootId, curve, icaCurve, retired, notAfter, sha256 }) => [
        rootId,
        curve,
        icaCurve,
        retired ? 'RETIRED' : 'TRUSTED',
        notAfter.slice(0, 10),
        sha256,
      ]),
    ),
    '',
    table(
      ['ISSUING CA', 'USE', 'LINE', 'CURVE', 'STATUS', 'ROOT', 'ENDS', 'CRL', 'CRL UNTIL'],
      issuingCas.map(({ icaId, use, line, curve, status, rootId, notAfter, crl }) => [
        icaId,
        use,
        line,
        curve,
        status,
        rootId,
        notAfter.slice(0, 10),
        crl?.number,
        crl?.nextUpdate.slice(0, 10),
      ]),
    ),
    '',
    table(
      ['SIGNING KEY', 'SIGNS', 'STATUS'],
      packageKeys.map(({ keyId, uses, compromised }) => [keyId, uses.join(', '), compromised ? 'COMPROMISED' : 'GOOD']),
    ),
    '',
    record({
      'trust bundle': `version ${trustBundle.version}`,
      'SHA-256': trustBundle.sha256,
      'devices behind': trustBundle.devicesBehind,
    }),
  ].join('\n');
  print(options, authority, text);
}

async function propose(options: ServerOptions, wish: object): Promise<void> {
  const proposed = await ask<Ceremony>(options, 'POST', path, wish);
  print(options, proposed, `${show(proposed)}\n\n${styled('dim', `another administrator: nusec ca ceremony approve ${proposed.id}`)}`);
}

const describe = ({ type, ...rest }: Readonly<Record<string, string>>): string => [type, ...Object.values(rest)].join(' ');

const show = ({ action, outcome = {}, ...facts }: Ceremony): string => record({ ...facts, action: describe(action), ...outcome });
