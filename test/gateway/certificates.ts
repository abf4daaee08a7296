import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { NusecError } from '../../src/errors.ts';
import type { CheckClient, Identity } from '../../src/gateway/broker/identity.ts';
import { oids } from '../../src/pki/oids.ts';

/** PEM of a leaf with its issuing CA, and where they lie for tools that want files. */
export type Credentials = {
  readonly key: string;
  readonly cert: string;
  readonly keyPath: string;
  readonly certPath: string;
  readonly serialHex: string;
};

type LeafOptions = {
  readonly subject: string;
  readonly eku?: string;
  readonly san?: string;
  readonly issuer?: string;
  readonly end?: string;
};

/** A small PKI made by the openssl command line in a folder of its own: root → ICA → leaves, and a foreign CA. */
export function createTestPki() {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-gateway-'));
  const path = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  let leaves = 0;

  const request = (name: string, subject: string, ...more: string[]): void => {
    const key = ['-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-keyout', `${name}.key`];
    openssl('req', ...key, '-subj', subject, ...more);
  };
  const root = (name: string): void => {
    const constraints = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
    request(name, `/CN=${name}`, '-x509', '-out', `${name}.pem`, '-days', '3650', ...constraints);
  };
  const sign = (name: string, issuer: string, subject: string, extensions: string, end = '20400101000000Z'): void => {
    request(name, subject, '-out', `${name}.csr`);
    writeFileSync(path(`${name}.ext`), extensions);
    writeFileSync(path('ca.cnf'), caConfig);
    writeFileSync(path('index.txt'), '');
    const validity = ['-startdate', '20200101000000Z', '-enddate', end];
    const authority = ['-config', 'ca.cnf', '-cert', `${issuer}.pem`, '-keyfile', `${issuer}.key`];
    const files = ['-in', `${name}.csr`, '-out', `${name}.pem`, '-extfile', `${name}.ext`];
    openssl('ca', '-batch', '-notext', ...authority, ...files, ...validity);
  };
  const leaf = ({ subject, eku = 'clientAuth', san, issuer = 'ica', end }: LeafOptions): Credentials => {
    leaves += 1;
    const name = `leaf${leaves}`;
    sign(
      name,
      issuer,
      subject,
      `basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=${eku}\n${san ? `subjectAltName=${san}\n` : ''}`,
      end,
    );
    const cert = readFileSync(path(`${name}.pem`), 'utf8') + (issuer === 'ica' ? readFileSync(path('ica.pem'), 'utf8') : '');
    writeFileSync(path(`${name}.chain.pem`), cert);
    const serialHex = new X509Certificate(cert).serialNumber.toLowerCase();
    return {
      key: readFileSync(path(`${name}.key`), 'utf8'),
      cert,
      keyPath: path(`${name}.key`),
      certPath: path(`${name}.chain.pem`),
      serialHex,
    };
  };

  root('root');
  root('foreign');
  const issuesServers = `certificatePolicies=${oids.issuesServers}\n`;
  sign('ica', 'root', '/CN=ica', `basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n${issuesServers}`);
  const rootPem = readFileSync(path('root.pem'), 'utf8');
  return {
    folder,
    rootPem,
    foreignPem: readFileSync(path('foreign.pem'), 'utf8'),
    rootPath: path('root.pem'),
    leaf,
    server: leaf({ subject: '/CN=gateway', eku: 'serverAuth', san: `DNS:${serverName}` }),
    device: (uid: string): Credentials => leaf({ subject: `/CN=device/serialNumber=${uid}` }),
    gateway: (id: string): Credentials => leaf({ subject: `/CN=gateway/serialNumber=${id}` }),
    checkClient: checkAgainst(new X509Certificate(rootPem), new X509Certificate(readFileSync(path('ica.pem')))),
    remove: (): void => rmSync(folder, { recursive: true }),
  };
}

export type TestPki = ReturnType<typeof createTestPki>;

/** A PKI with one device for the tests of a file. */
export function pkiWithDevice(uid: string): { readonly pki: TestPki; readonly device: Credentials } {
  const pki = createTestPki();
  afterAll(() => pki.remove());
  return { pki, device: pki.device(uid) };
}
export const serverName = 'mqtt.nusec.test';

/** A small stand-in for the chain check of src/pki. */
function checkAgainst(root: X509Certificate, ica: X509Certificate): CheckClient {
  return (der): Identity => {
    const certificate = new X509Certificate(der);
    if (!ica.verify(root.publicKey) || !certificate.verify(ica.publicKey)) throw new NusecError('CHAIN_REFUSED', 'not from this ICA');
    const id = /^serialNumber=(.+)$/m.exec(certificate.subject)?.[1] ?? '';
    const common = { serialHex: certificate.serialNumber.toLowerCase(), certificateSha256: '' };
    if (/^CN=gateway$/m.test(certificate.subject)) return { kind: 'gateway', gatewayId: id, ...common };
    return { kind: 'device', uid: id, ...common };
  };
}

const caConfig = `[ca]
default_ca=own
[own]
new_certs_dir=.
database=index.txt
default_md=sha256
policy=any
unique_subject=no
rand_serial=yes
[any]
commonName=optional
serialNumber=optional
`;
