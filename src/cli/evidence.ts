import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { NusecError } from '../errors.ts';
import type { AttestationProof } from '../evidence/attestationProof.ts';
import type { Evidence } from '../evidence/format.ts';
import { ask, type ServerOptions, subcommandsOf } from './client.ts';
import type { VerifyEvidence } from './evidenceVerify.ts';
import { wholeNumber } from './options.ts';
import { print, record } from './output.ts';

const example = '00112233445566778899aabbccddeeff';

/** `nusec evidence`: the history of a device as a file that others can check. */
export function registerEvidence(program: Command): void {
  const evidence = program.command('evidence').description('evidence: the history of a device in a file that others can check');
  const command = subcommandsOf(evidence);
  command(
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
  command(
    'attestation <uid>',
    'write one attestation of a device to a file, the newest when no id is given',
    `attestation ${example}`,
    `attestation ${example} --id 17 --out device.attestation.json --json`,
  )
    .option('--id <n>', 'as `nusec device attestations UID` shows it', wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .option('--out <file>', 'where to; UID.attestation.json when not given')
    .action(async (uid: string, { id, out, ...options }: ServerOptions & { id?: number; out?: string }) => {
      const file = out ?? `${uid}.attestation.json`;
      const proof = await ask<AttestationProof>(options, 'GET', `/v1/devices/${uid}/attestations/${id ?? (await newestOf(options, uid))}`);
      writeFileSync(file, `${JSON.stringify(proof)}\n`);
      print(options, { file, at: proof.at, result: proof.result }, record({ file, at: proof.at, result: proof.result }));
    });
  evidence
    .command('verify')
    .description('verify one attestation without a server: signatures, nonce, certificates, measurements')
    .argument('<file>', 'written by `nusec evidence attestation`')
    .requiredOption('--trust <root.pem>', 'the root certificate that you trust')
    .option('--at <time>', 'when the certificates have to be valid; the time of the attestation when not given')
    .option('--reference <release>', 'what the measurements have to be: a release that the file names (id or version), or a CoRIM file')
    .option('--public-key <file>', 'the key of a device that has no certificate, PEM')
    .option('--corim <file>', 'write the reference values as CoRIM')
    .option('--eat <file>', 'write the result as EAT claims (RFC 9711), unsigned')
    .option('--json', 'print JSON instead of text')
    .addHelpText(
      'after',
      `
Exit status 0 when the device proved what it had to run, 1 when it did not, or when nothing is proven.

Examples:
  $ nusec evidence verify ${example}.attestation.json --trust root.pem
  $ nusec evidence verify device.attestation.json --trust root.pem --reference 1.1.0 --eat result.cbor --json`,
    )
    .action(async (file: string, options: VerifyEvidence) => (await import('./evidenceVerify.ts')).verifyAttestation(file, options));
}

/** @throws NusecError NOT_FOUND when the device was never attested */
async function newestOf(options: ServerOptions, uid: string): Promise<number> {
  const { attestations } = await ask<{ attestations: readonly { readonly id: number; readonly evidenceSha256?: string }[] }>(
    options,
    'GET',
    `/v1/devices/${uid}/attestations`,
  );
  const newest = attestations.find(({ evidenceSha256 }) => evidenceSha256 !== undefined);
  if (newest === undefined) throw new NusecError('NOT_FOUND', `${uid} has signed no attestation yet: nusec device attest ${uid}`);
  return newest.id;
}
