import { NusecError } from '../errors.ts';

/** @returns the address @throws NusecError BAD_REQUEST when it has a password in it */
export function requirePasswordless(address: string): string {
  if (!/:\/\/[^/?]*:[^/?]*@/.test(address)) return address;
  throw new NusecError(
    'BAD_REQUEST',
    'everybody on this machine sees a password in a command: put USER:PASSWORD into KURRENTDB_CREDENTIALS_FILE',
  );
}
