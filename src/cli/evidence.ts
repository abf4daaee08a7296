import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { Evidence } from '../evidence/format.ts';
import { ask, type ServerOptions, subcommandsOf } from './client.ts';
import { print, record } from './output.ts';

const example = '00112233445566778899aabbccddeeff';

/** `nusec evidence`: the history of a device as a file that others can check. */
export function registerEvidence(program: Command): void {
  const evidence = program.command('evidence').description('evidence: the history of a device in a file that others can check');
  subcommandsOf(evidence)(
    'export <uid>',
    'write the evidence file of a device; `nusec verify FILE --trust root.pem` checks it anywhere',
    `export ${example}`,
    `export ${example} --out device.evidence.json --json`,
  )
    .option('--out <file>', 'where to; UID.evidence.json when not given')
    .action(async (uid: string, { out, ...options }: ServerOptions & { out?: string }) => {
      const file = out ?? `${uid}.evidence.json`;
      const exported = await ask<Evidence>(options, 'GET', `/v1/devices/${uid}/evidence`);
      writeFileSync(file, `${JSON.stringify(exported)}\n`);
      const counts = {
        events: exported.history.events.length,
        related: exported.related.length,
        contents: Object.keys(exported.blobs).length,
      };
      print(options, { file, ...counts }, record({ file, events: `${counts.events}`, contents: `${counts.contents}` }));
    });
}
