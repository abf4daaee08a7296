import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Curve, pointBytes } from '../../src/ecKey.ts';
import { type IssuedCertificate, issueCertificate, type Signer } from '../../src/pki/certificate.ts';
import { assembleCsr, buildCertificationRequestInfo } from '../../src/pki/csr.ts';
import { bitString, context, integerOf, sequence } from '../../src/pki/derWriter.ts';
import type { LeafPurpose } from '../../src/pki/issuerRecord.ts';
import { type IssuerScope, issuerUses } from '../../src/pki/issuerScope.ts';
import { signatureAlgorithms } from '../../src/pki/keys.ts';
import { encodeName, type NameFields } from '../../src/pki/names.ts';
import { type Certificate, parseCertificate } from '../../src/pki/parse.ts';
import type { ProfileFields } from '../../src/pki/profiles.ts';

/** Start of this day: GnuTLS checks by the real clock only. */
export const now = `${new Date().toISOString().slice(0, 10)}T00:00:00.000Z`;
export const afterDays = (days: number): string => new Date(Date.parse(now) + days * 86_400_000).toISOString();
export const uid = '00112233445566778899aabbccddeeff';
export const objId = 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf';
export const crlUrl = 'http://ca.example/device-1.crl';
export const ocspUrl = 'http://ca.example/ocsp';
export const organization = 'Example Metering';

export type Key = ReturnType<typeof makeKey>;

export function makeKey(curve: Curve = 'P-256') {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const spki = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }));
  const digest = curve === 'P-256' ? 'sha256' : 'sha384';
  const signer: Signer = { algorithm: curve, sign: async tbs => new Uint8Array(sign(digest, tbs, privateKey)) };
  return { spki, privateKey, signer, point: spki.subarray(spki.length - (curve === 'P-256' ? 65 : 97)) };
}

export const serial = (): Uint8Array => new Uint8Array(randomBytes(16));

/** A signed request of this key, whatever bytes the info has. */
export const signedCsr = (cri: Uint8Array, key: Key): Uint8Array => assembleCsr(cri, new Uint8Array(sign('sha256', cri, key.privateKey)));

export const makeCsr = (key: Key, subject: NameFields = { commonName: objId, serialNumber: uid }): Uint8Array =>
  key.point.length === pointBytes['P-256']
    ? signedCsr(buildCertificationRequestInfo({ subject, publicKeyPoint: key.point }), key)
    : p384Csr(key, subject);

/** As a device with a P-384 key makes it. */
function p384Csr(key: Key, subject: NameFields): Uint8Array {
  const info = sequence(integerOf(0), encodeName(subject), key.spki, context(0));
  return sequence(info, signatureAlgorithms['P-384'], bitString(new Uint8Array(sign('sha384', info, key.privateKey))));
}

export type Authority = { readonly key: Key; readonly der: Uint8Array; readonly certificate: Certificate };
/** All that issuing takes. */
export type Issuing = Omit<Authority, 'key'> & { readonly key: Pick<Key, 'signer'> };

const authority = (key: Key, { der }: IssuedCertificate): Authority => ({ key, der, certificate: parseCertificate(der) });

export async function makeRoot(curve: Curve = 'P-256', notBefore = now): Promise<Authority> {
  const key = makeKey(curve);
  const common = { publicKey: key.spki, serial: serial(), notBefore };
  return authority(key, await issueCertificate('rootCa', { ...common, organization, commonName: 'Example Root CA 1' }, key.signer));
}

/** An issuing CA of devices of this line, or of another use. @param changes such as another scope, or none */
export async function makeIca(
  root: Authority,
  line = 'meter',
  notBefore = now,
  curve: Curve = 'P-256',
  changes: Partial<ProfileFields['ica']> = {},
): Promise<Authority> {
  const key = makeKey(curve);
  const names = { organization, line, commonName: `Example ${line} CA 1` };
  const fields = { publicKey: key.spki, serial: serial(), notBefore, ...names, scope: scopeNamed(line), ...changes };
  return authority(
    key,
    await issueCertificate('ica', { ...fields, issuer: root.certificate, crlUrl: 'http://ca.example/root.crl' }, root.key.signer),
  );
}

/** `programmer`, `gateway`, `server` are uses, all else are lines. */
function scopeNamed(line: string): IssuerScope {
  const use = issuerUses.find(known => known === line && known !== 'device');
  return use === undefined ? { use: 'device', line } : { use };
}

/** Fields that every leaf shares. */
export const leafFields = (ica: Issuing, publicKey: Uint8Array) => ({
  publicKey,
  serial: serial(),
  notBefore: now,
  issuer: ica.certificate,
  crlUrl,
});

export async function makeDevice(ica: Authority, key: Key = makeKey()): Promise<Uint8Array> {
  return (await issueCertificate('device', { ...leafFields(ica, key.spki), organization, uid, objId, ocspUrl }, ica.key.signer)).der;
}

/** A leaf of any profile for machines, servers and responders, under whatever issuer. @param name UID, or gateway id */
export async function makeLeaf(
  profile: LeafPurpose,
  issuer: Issuing,
  { key = makeKey(), name = uid }: { readonly key?: Key; readonly name?: string } = {},
): Promise<Uint8Array> {
  const fields = { ...leafFields(issuer, key.spki), organization, commonName: 'localhost', uid: name, objId, id: name };
  const hosts = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] };
  return (await issueCertificate(profile, { ...fields, ...hosts }, issuer.key.signer)).der;
}

/** Runs a command on files in a folder of its own. @returns its output, standard error included */
export function run(command: string, args: readonly string[], files: Readonly<Record<string, string | Uint8Array>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-pki-'));
  try {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
    return execFileSync('sh', ['-c', '"$@" 2>&1', 'sh', command, ...args], { cwd: folder, encoding: 'utf8' });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Code of the NusecError that `work` ends with, or what it gave instead. */
export async function codeOf(work: () => unknown): Promise<unknown> {
  try {
    return await work();
  } catch (error) {
    return (error as { code?: unknown }).code ?? error;
  }
}
