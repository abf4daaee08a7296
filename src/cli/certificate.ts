import type { Command } from 'commander';
import { certificateKinds } from '../domain/storeEvents.ts';
import { listAll, type ServerOptions, subcommandsOf } from './client.ts';
import { oneOf } from './options.ts';
import { print, table } from './output.ts';

/** `nusec certificate`: what was ever certified, and whether it still counts. */

type Certificate = { readonly [Name in 'serial' | 'kind' | 'subject' | 'icaId' | 'status' | 'issuedAt' | 'notAfter']: string } & {
  readonly reason: string | null;
};
type List = ServerOptions & { kind?: string; status?: string; subject?: string; endsBefore?: string };

const statuses = ['issued', 'expired', 'revoked'];

export function registerCertificate(program: Command): void {
  const command = subcommandsOf(program.command('certificate').description('the inventory of certificates'));
  command(
    'list',
    'certificates by serial number',
    'list --kind gateway --status revoked',
    'list --status issued --ends-before 2027-01-31 --json',
  )
    .option('--kind <kind>', `of which holders: ${certificateKinds.join(', ')}`, oneOf(certificateKinds))
    .option('--status <status>', `only those that are ${statuses.join(', ')}`, oneOf(statuses))
    .option('--subject <id>', 'only of this device, programmer, gateway or authority')
    .option('--ends-before <day>', 'only those that end before this day')
    .action(async ({ kind, status, subject, endsBefore, ...options }: List) => {
      const rows = await listAll<Certificate>(options, '/v1/certificates', 'certificates', { kind, status, subject, endsBefore });
      const cells = rows.map(one => [one.serial, one.kind, one.subject, one.icaId, one.status, one.reason, one.issuedAt, one.notAfter]);
      print(options, rows, table(['SERIAL', 'KIND', 'SUBJECT', 'ISSUED BY', 'STATUS', 'REASON', 'ISSUED', 'ENDS'], cells));
    });
}
