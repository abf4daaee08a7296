import { createHash, type KeyObject, randomUUID, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makePair, type Pair } from './authority.ts';
import { isInstalled, makeKeys, openssl, type Rival, startRival } from './rival.ts';

/** step-ca, where it is installed: signs over HTTPS for one-time tokens of a JWK provisioner and records tokens and certificates in badger. */

export const stepCaMissing = 'step-ca is not installed';
export type StepCa = Rival & {
  /** A request's body: the CSR with a token that counts once. */
  bodyOf(csrPem: string, name: string): string;
};

const provisioner = 'bench';
const tokenSeconds = 3600;
const durations = { minTLSCertDuration: '5m', maxTLSCertDuration: '8760h', defaultTLSCertDuration: '8760h' };

/** @param folder that it may fill @returns undefined when there is none */
export async function startStepCa(folder: string, port: number): Promise<StepCa | undefined> {
  if (!isInstalled('step-ca', 'version')) return undefined;
  makeKeys(folder, 'root', ['-addext', 'basicConstraints=critical,CA:TRUE']);
  makeIssuer(folder);
  const pair = makePair();
  const kid = thumbprint(pair.publicKey);
  const key = { ...pair.publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid };
  const files = { root: 'root.pem', crt: 'issuer.pem', key: 'issuer.key' };
  const authority = { provisioners: [{ type: 'JWK', name: provisioner, key, claims: durations }] };
  const config = {
    ...files,
    address: `127.0.0.1:${port}`,
    dnsNames: ['localhost'],
    db: { type: 'badgerv2', dataSource: join(folder, 'db') },
  };
  writeFileSync(join(folder, 'ca.json'), JSON.stringify({ ...config, logger: { format: 'text' }, authority }));
  const rival = await startRival('step-ca', ['ca.json'], { folder, port, rootPem: 'root.pem' });
  return { ...rival, bodyOf: (csr, name) => JSON.stringify({ csr, ott: tokenOf(pair, kid, name) }) };
}

function makeIssuer(folder: string): void {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', 'issuer.key'];
  openssl(folder, 'req', ...key, '-out', 'issuer.csr', '-subj', '/CN=issuer');
  writeFileSync(join(folder, 'issuer.ext'), 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n');
  const signer = ['-CA', 'root.pem', '-CAkey', 'root.key', '-CAcreateserial', '-days', '30', '-extfile', 'issuer.ext'];
  openssl(folder, 'x509', '-req', '-in', 'issuer.csr', ...signer, '-out', 'issuer.pem');
}

/** RFC 7638. */
function thumbprint(publicKey: KeyObject): string {
  const { crv, kty, x, y } = publicKey.export({ format: 'jwk' });
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
}

/** JWT by ES256 (RFC 7519, RFC 7518 §3.4). */
function tokenOf({ privateKey }: Pair, kid: string, name: string): string {
  const now = Math.floor(Date.now() / 1000);
  const times = { iat: now, nbf: now - 60, exp: now + tokenSeconds };
  const claims = { ...times, iss: provisioner, aud: 'https://localhost/1.0/sign', sub: name, sans: [name], jti: randomUUID() };
  const text = [{ alg: 'ES256', kid, typ: 'JWT' }, claims].map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${text}.${sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}
