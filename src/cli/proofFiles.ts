import { NusecError } from '../errors.ts';
import { attestationProofFormat } from '../evidence/attestationProof.ts';
import { evidenceFormat } from '../evidence/format.ts';
import { exportFormat } from '../evidence/logExport.ts';

/** Three kinds of files can be verified without a server, by two commands. Somebody with a file of the one kind and the command of the other is told
 *  which command it is. */

const begin = /^\s*\{\s*"format"\s*:\s*"([^"]{1,64})"/;
const commands = {
  'nusec verify': { formats: [evidenceFormat, exportFormat], what: 'the evidence of a device or an exported log' },
  'nusec evidence verify': { formats: [attestationProofFormat], what: 'one attestation' },
} as const;
type VerifyCommand = keyof typeof commands;

/** @param text of the file, or its beginning @throws NusecError BAD_REQUEST when it is for the other command */
export function requireKindOf(asked: VerifyCommand, file: string, text: string): void {
  const format = begin.exec(text)?.[1];
  for (const [command, { formats, what }] of Object.entries(commands)) {
    const isOfIt = formats.some(known => known === format);
    if (isOfIt && command !== asked) throw new NusecError('BAD_REQUEST', `${file} is ${what}: ${command} ${file} --trust root.pem`);
  }
}
