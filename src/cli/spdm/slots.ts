import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { rawToDer } from '../../ecdsa.ts';
import { NusecError } from '../../errors.ts';
import { issueCertificate, type Signer } from '../../pki/certificate.ts';
import { parseCertificate } from '../../pki/parse.ts';
import type { CertSlot } from '../../spdm/certSlot.ts';
import { signingContextOf } from '../../spdm/signature.ts';
import type { HashAlgorithm } from '../../spdm/suite.ts';

/** The certificate slots of the command-line tools: from a folder laid out like those of other SPDM tools, or made for this run. */

export type Role = 'responder' | 'requester';

/** Sub-folder of each kind of key. */
export type Kind = 'ecp256' | 'ecp384' | 'mldsa44' | 'mldsa65' | 'mldsa87';

/** Certificate slots with one key; ECDSA signs over the hash of the connection. */
export type LoadedSlots = { readonly slots: (hash: HashAlgorithm) => readonly CertSlot[]; readonly key: KeyObject };

/** Reads `<folder>/<kind>/bundle_<role>.certchain.der` (certchain1 for slot 1) and `end_<role>.key` (PEM) or `.key.p8`, `.key.der`.
 *  @throws KEY_NOT_FOUND when one is missing */
export function loadSlots(folder: string, kind: Kind, role: Role, count: number): LoadedSlots {
  const at = (file: string): string => join(folder, kind, file);
  const key = readKey([at(`end_${role}.key`), at(`end_${role}.key.p8`), at(`end_${role}.key.der`)]);
  const chains = Array.from({ length: count }, (_, slot) => {
    const other = at(`bundle_${role}.certchain1.der`);
    const bundle = slot === 1 && role === 'responder' && existsSync(other) ? other : at(`bundle_${role}.certchain.der`);
    return splitCertificates(readFileSync(bundle));
  });
  return slotsWith(chains, key);
}

/** The slots are made once for each hash: what is derived from a slot is kept with it. */
function slotsWith(chains: readonly (readonly Uint8Array[])[], key: KeyObject): LoadedSlots {
  const made = new Map<string, readonly CertSlot[]>();
  const slots = (hash: HashAlgorithm): readonly CertSlot[] => {
    const known = made.get(hash.name) ?? chains.map((certificates, slot) => slotOf(certificates, key, hash, slot));
    made.set(hash.name, known);
    return known;
  };
  return { slots, key };
}

function slotOf(certificates: readonly Uint8Array[], key: KeyObject, hash: HashAlgorithm, slot: number): CertSlot {
  return {
    certificates,
    sign: async input => signWith(key, hash, input),
    keyPair: { keyPairId: slot + 1, certificateInfo: 1, keyUsage },
  };
}

/** KeyUsageMask: key exchange, challenge, measurements, endpoint information. */
const keyUsage = 0x0f;

function signWith(key: KeyObject, hash: HashAlgorithm, input: Uint8Array): Uint8Array {
  if (key.asymmetricKeyType === 'ec') return new Uint8Array(sign(hash.name, input, { key, dsaEncoding: 'ieee-p1363' }));
  return new Uint8Array(sign(null, input, { key, context: signingContextOf(input) }));
}

function readKey(files: readonly string[]): KeyObject {
  const file = files.find(existsSync);
  if (!file) throw new NusecError('KEY_NOT_FOUND', `none of ${files.join(', ')}`);
  const bytes = readFileSync(file);
  if (bytes[0] !== 0x30) return createPrivateKey(bytes);
  return createPrivateKey({ key: bytes, format: 'der', type: file.endsWith('.p8') ? 'pkcs8' : 'sec1' });
}

/** DER certificates one after the other: each contains its own length. */
function splitCertificates(der: Uint8Array): readonly Uint8Array[] {
  const certificates: Uint8Array[] = [];
  for (let at = 0; at < der.length; at += certificates.at(-1)!.length) {
    const { raw } = new X509Certificate(der.subarray(at));
    certificates.push(new Uint8Array(raw));
  }
  return certificates;
}

const validFrom = '2026-01-01T00:00:00.000Z';
const serialBytes = 16;
const crlUrl = 'http://ca.example/1.crl';

/** A root, an issuing authority and a leaf with new P-256 keys: the same certificates in every slot. */
export async function makeSlots(role: Role, count: number): Promise<LoadedSlots> {
  const [rootKey, authorityKey, leaf] = [newPair(), newPair(), newPair()];
  const names = { organization: 'Example', notBefore: validFrom } as const;
  const fresh = () => new Uint8Array(randomBytes(serialBytes));
  const root = await issueCertificate(
    'rootCa',
    { ...names, publicKey: rootKey.spki, serial: fresh(), commonName: 'Example SPDM Root' },
    rootKey.signer,
  );
  const authority = await issueCertificate(
    'ica',
    {
      ...names,
      publicKey: authorityKey.spki,
      serial: fresh(),
      commonName: 'Example SPDM CA',
      line: 'spdm',
      crlUrl,
      issuer: parseCertificate(root.der),
    },
    rootKey.signer,
  );
  const uid = role === 'responder' ? '00112233445566778899aabbccddeeff' : 'ffeeddccbbaa99887766554433221100';
  const end = await issueCertificate(
    'device',
    { ...names, crlUrl, publicKey: leaf.spki, serial: fresh(), uid, objId: `spdm-${role}`, issuer: parseCertificate(authority.der) },
    authorityKey.signer,
  );
  const certificates = [root.der, authority.der, end.der];
  return slotsWith(Array(count).fill(certificates), leaf.privateKey);
}

function newPair(): { readonly spki: Uint8Array; readonly privateKey: KeyObject; readonly signer: Signer } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const raw = (tbs: Uint8Array) => new Uint8Array(sign('sha256', tbs, { key: privateKey, dsaEncoding: 'ieee-p1363' }));
  return {
    spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
    privateKey,
    signer: { algorithm: 'P-256', sign: async tbs => rawToDer(raw(tbs)) },
  };
}
