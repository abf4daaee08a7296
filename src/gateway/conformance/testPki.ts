import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { toHex } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { issueCertificate, type Signer } from '../../pki/certificate.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';
import { fromPem, toPem } from '../../pki/pem.ts';

/** The small PKI of a conformance check in a folder of its own: a root, the certificate of the broker, and what goes into the device under test. It
 *  has nothing to do with a project, and its keys are for the bench only. */

/** Files of the folder. The device gets `root.pem`, `device.key` and `device.pem`, and says `objId` in its hello. */
const files = {
  root: 'root.pem',
  deviceKey: 'device.key',
  device: 'device.pem',
  serverKey: 'server.key',
  server: 'server.pem',
  facts: 'device.json',
};
const secretMode = 0o600;
const organization = 'Conformance check';
const line = 'check';
const crlUrl = 'http://localhost/none.crl';
const backdateMs = 86_400_000;

export type CheckPki = {
  readonly uid: string;
  readonly objId: string;
  /** DER, root first. */
  readonly deviceChain: readonly Uint8Array[];
  readonly rootPem: string;
  readonly server: { readonly key: string; readonly cert: string };
};

/** Opens the folder, or makes it for this device. @param name the host name or address under which the device reaches the broker
 *  @throws NusecError CONFLICT when the folder is for another device, BAD_REQUEST */
export async function openCheckPki(folder: string, uid: string | undefined, name: string): Promise<CheckPki> {
  const path = (file: string): string => join(folder, file);
  if (!existsSync(path(files.facts))) {
    if (uid === undefined) throw new NusecError('BAD_REQUEST', `${folder} is not prepared yet: give --uid, 32 hex digits`);
    await makeCheckPki(folder, uid, name);
  }
  const facts = JSON.parse(readFileSync(path(files.facts), 'utf8')) as { uid: string; objId: string };
  if (uid !== undefined && uid !== facts.uid)
    throw new NusecError('CONFLICT', `${folder} is for device ${facts.uid}: choose another folder`);
  const read = (file: string): string => readFileSync(path(file), 'utf8');
  const rootPem = read(files.root);
  return {
    ...facts,
    rootPem,
    deviceChain: [...fromPem('CERTIFICATE', rootPem), ...fromPem('CERTIFICATE', read(files.device)).toReversed()],
    server: { key: read(files.serverKey), cert: read(files.server) },
  };
}

async function makeCheckPki(folder: string, uid: string, name: string): Promise<void> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const root = newKey();
  const names = { organization, commonName: 'Conformance check root' };
  const rootCert = parsed((await issueCertificate('rootCa', { ...common(root), ...names }, root.signer)).der);
  const ica = async (use: 'device' | 'server') => {
    const key = newKey();
    const scope = use === 'device' ? { use, line } : { use };
    const fields = { ...common(key), organization, line: use === 'device' ? line : use, commonName: `Conformance check ${use}`, scope };
    const { der } = await issueCertificate('ica', { ...fields, issuer: rootCert, crlUrl }, root.signer);
    return { ...key, certificate: parsed(der) };
  };
  const [devices, servers] = [await ica('device'), await ica('server')];
  const [device, server, objId] = [newKey(), newKey(), toHex(randomBytes(16))];
  const listed = { crlUrl };
  const deviceFields = { ...common(device), ...listed, issuer: devices.certificate, organization, uid, objId };
  const { der: deviceDer } = await issueCertificate('device', deviceFields, devices.signer);
  const addresses = isIP(name) ? { dnsNames: [], ipAddresses: [name] } : { dnsNames: [name], ipAddresses: [] };
  const serverFields = { ...common(server), ...listed, issuer: servers.certificate, commonName: name, ...addresses };
  const { der: serverDer } = await issueCertificate('server', serverFields, servers.signer);
  const write = (file: string, text: string): void => writeFileSync(join(folder, file), text, { mode: secretMode });
  write(files.root, toPem('CERTIFICATE', rootCert.der));
  write(files.deviceKey, pemOf(device.privateKey));
  write(files.device, toPem('CERTIFICATE', deviceDer) + toPem('CERTIFICATE', devices.certificate.der));
  write(files.serverKey, pemOf(server.privateKey));
  write(files.server, toPem('CERTIFICATE', serverDer) + toPem('CERTIFICATE', servers.certificate.der));
  write(files.facts, `${JSON.stringify({ uid, objId })}\n`);
}

const parsed = (der: Uint8Array): Certificate => parseCertificate(der);
const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

function newKey() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const signer: Signer = { algorithm: 'P-256', sign: async tbs => new Uint8Array(sign('sha256', tbs, privateKey)) };
  return { privateKey, spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })), signer };
}

const common = ({ spki }: { readonly spki: Uint8Array }) => ({
  publicKey: spki,
  serial: new Uint8Array(randomBytes(16)),
  notBefore: new Date(Date.now() - backdateMs).toISOString(),
});
