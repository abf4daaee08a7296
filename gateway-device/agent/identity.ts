import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes, fromBase64url, toBase64url } from '../../src/bytes.ts';
import { keyIdOf } from '../../src/cose/publicKey.ts';
import { rawSigner } from '../../src/cose/sign1.ts';
import { NusecError } from '../../src/errors.ts';
import { makeFolder } from '../../src/folder.ts';
import { assembleCsr, buildCertificationRequestInfo } from '../../src/pki/csr.ts';
import { fromPem, toPem } from '../../src/pki/pem.ts';
import type { Signer } from '../../src/production/signed.ts';
import type { CertSlot } from '../../src/spdm/certSlot.ts';
import type { HttpClient } from '../link/httpClient.ts';

/** Who a gateway is: a key made on this machine, which stays in its data folder (mode 600), and the certificate for it. */

export type AgentIdentity = {
  readonly gatewayId: string;
  /** PEM: key, certificate with its issuer, and the one trusted root. */
  readonly tls: { readonly key: string; readonly cert: string; readonly ca: string };
  /** Signs verdicts. */
  readonly signer: Signer;
  /** Signs in SPDM. */
  readonly sign: CertSlot['sign'];
  /** The trusted root, DER. */
  readonly root: Uint8Array;
};

const files = { key: 'gateway.key', chain: 'gateway.pem', root: 'root.pem' } as const;

export const isEnrolled = (dataDir: string): boolean => existsSync(join(dataDir, files.chain));

/** Makes the key if there is none, has it certified and keeps the certificate. Again: the same key, the same certificate.
 *  @param http with the token of a person who may certify gateways @param rootPem  the root that this machine was set up to trust
 *  @throws NusecError FOLDER_REFUSED; CHAIN_REFUSED when the server answers with another root; and the server's refusals */
export async function enrol(dataDir: string, gatewayId: string, rootPem: string, http: HttpClient): Promise<void> {
  makeFolder(dataDir);
  const csr = toBase64url(requestOf(ownKey(dataDir), gatewayId));
  const answer = await http.json<{ certificate: string; ica: string; root: string }>('POST', `/v1/gateways/${gatewayId}/csr`, { csr });
  const [certificate, ica, root] = [answer.certificate, answer.ica, answer.root].map(fromBase64url) as [Uint8Array, Uint8Array, Uint8Array];
  if (!equalBytes(root, rootIn(rootPem))) throw new NusecError('CHAIN_REFUSED', 'the server has another root');
  writeWhole(join(dataDir, files.root), rootPem);
  writeWhole(join(dataDir, files.chain), toPem('CERTIFICATE', certificate) + toPem('CERTIFICATE', ica));
}

/** PKCS#10 for this gateway, DER. */
export function requestOf(key: KeyObject, gatewayId: string): Uint8Array {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const cri = buildCertificationRequestInfo({ subject: { commonName: gatewayId }, publicKeyPoint: new Uint8Array(spki.subarray(-65)) });
  return assembleCsr(cri, new Uint8Array(sign('sha256', cri, key)));
}

function ownKey(dataDir: string): KeyObject {
  const file = join(dataDir, files.key);
  if (existsSync(file)) return createPrivateKey(readFileSync(file));
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeWhole(file, privateKey.export({ format: 'pem', type: 'pkcs8' }) as string);
  return privateKey;
}

/** The name appears when all of it is there. */
function writeWhole(file: string, text: string): void {
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** @throws NusecError NOT_FOUND before enrolment */
export function openIdentity(dataDir: string, gatewayId: string): AgentIdentity {
  if (!isEnrolled(dataDir)) throw new NusecError('NOT_FOUND', `no certificate in ${dataDir}: run \`nusec gateway register\` with --data`);
  const [key, cert, ca] = [files.key, files.chain, files.root].map(name => readFileSync(join(dataDir, name), 'utf8')) as [
    string,
    string,
    string,
  ];
  return identityOf(gatewayId, { key, cert, ca });
}

/** Keeps a renewed certificate, and the root in which its chain ends. The root comes first: after a crash in between the older certificate still serves. */
export function keepIdentity(dataDir: string, { tls }: AgentIdentity): void {
  writeWhole(join(dataDir, files.root), tls.ca);
  writeWhole(join(dataDir, files.chain), tls.cert);
}

export function identityOf(gatewayId: string, tls: AgentIdentity['tls']): AgentIdentity {
  const privateKey = createPrivateKey(tls.key);
  const spki = new Uint8Array(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }));
  const signOver: CertSlot['sign'] = (input, hash) => rawSigner(async message => new Uint8Array(sign(hash, message, privateKey)))(input);
  const signer = { kid: keyIdOf(spki), sign: (message: Uint8Array) => signOver(message, 'sha256') };
  return { gatewayId, tls, signer, sign: signOver, root: rootIn(tls.ca) };
}

/** @throws NusecError DER_MALFORMED */
function rootIn(pem: string): Uint8Array {
  const [root] = fromPem('CERTIFICATE', pem);
  if (root === undefined) throw new NusecError('DER_MALFORMED', 'no certificate');
  return root;
}
