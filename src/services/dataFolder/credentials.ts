import { NusecError } from '../../errors.ts';
import { readSecretFile } from '../../keystore/secretFile.ts';

const maxCredentialsBytes = 1024;

/** One line `NAME:SECRET` in a file of mode 600. @param what they are for @throws NusecError BAD_REQUEST, KEYSTORE_PERMISSIONS */
export function credentialsIn(file: string, what: string): string {
  const text = Buffer.from(readSecretFile(file, maxCredentialsBytes) ?? [])
    .toString()
    .trim();
  if (!/^[^:\s]+:\S+$/.test(text)) throw new NusecError('BAD_REQUEST', `${file} is not one line NAME:SECRET for ${what}`);
  return text;
}
