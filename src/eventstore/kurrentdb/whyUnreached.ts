import { readFileSync } from 'node:fs';
import { request } from 'node:https';

/** Why a server over TLS gives no answer at all: the part of the client that reads does not say. Asked once, when the first answer of all did not come. */

export type Reached = {
  readonly host: string;
  readonly port: number;
  /** PEM file of the certificates that the server's is checked against; default: those of the system. */
  readonly caFile?: string | undefined;
  readonly login?: { readonly username: string; readonly password: string } | undefined;
};

const answerMs = 2000;
const unauthorised = 401;

/** @returns for people, without anything secret; undefined when the server answers as it should */
export function whyUnreached({ host, port, caFile, login }: Reached): Promise<string | undefined> {
  return new Promise(resolve => {
    const options = {
      host,
      port,
      path: '/info',
      agent: false,
      timeout: answerMs,
      ...(caFile !== undefined && { ca: readFileSync(caFile) }),
      ...(login !== undefined && { auth: `${login.username}:${login.password}` }),
    };
    const asked = request(options, response => {
      response.resume();
      resolve(response.statusCode === unauthorised ? 'it refuses the user or the password' : undefined);
    });
    asked.on('timeout', () => asked.destroy(Object.assign(new Error(), { code: 'ETIMEDOUT' })));
    asked.on('error', ({ code = '' }: NodeJS.ErrnoException) => resolve(textOf(code)));
    asked.end();
  });
}

/** OpenSSL's words for a chain that does not end in what is trusted. */
const untrusted = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_UNTRUSTED|CERT_SIGNATURE_FAILURE)/;

const ofNetwork: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH']);

function textOf(code: string): string | undefined {
  if (untrusted.test(code)) return `its certificate is not from a CA that is trusted here (${code}): see tlsCaFile`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return 'its certificate has another name than the address';
  if (code === 'CERT_HAS_EXPIRED') return 'its certificate has expired, by the clock of this machine';
  return ofNetwork.has(code) ? code : undefined;
}
