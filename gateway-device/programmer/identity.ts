import { equalBytes, toHex } from '../../src/bytes.ts';
import { keyIdOf } from '../../src/cose/publicKey.ts';
import { sha256 } from '../../src/digest.ts';
import type { SigningUse } from '../../src/domain/signingUse.ts';
import { NusecError } from '../../src/errors.ts';
import { checkChain } from '../../src/pki/chain.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { toPem } from '../../src/pki/pem.ts';
import { otpMap } from '../../src/production/otpMap.ts';
import type { Signer } from '../../src/production/signed.ts';
import { signingKeysOf, type TrustBundle, verifyTrustBundle } from '../../src/production/trustBundle.ts';
import type { CertSlot } from '../../src/spdm/certSlot.ts';
import type { Chip } from '../chip/chip.ts';
import { authKeySlot } from '../chip/keyStore.ts';
import { createHttpClient, type HttpClient } from '../link/httpClient.ts';
import type { ServerTime } from '../link/serverTime.ts';

/** Who the programmer is and whom it trusts: all of it comes from its own chip. The root certificate is in flash and counts only because
 *  its hash is in OTP 3 (R3–R4); the trust bundle counts because that root signed it. */
export type ProgrammerIdentity = {
  readonly uid: Uint8Array;
  readonly uidHex: string;
  readonly root: Uint8Array;
  readonly rootSpki: Uint8Array;
  readonly certificate: Uint8Array;
  readonly certificateSha256: Uint8Array;
  /** Signs ledger, acknowledgements and zeroise receipts with the AUTH key. */
  readonly signer: Signer;
  /** For SPDM sessions in which the target asks who we are (R51). */
  readonly certSlot: CertSlot;
  /** HTTPS by mutual TLS with the AUTH key (RULE-9); nothing but the own root is trusted (T14). */
  readonly connect: (baseUrl: string, bundle: TrustBundle | undefined, serverTime: ServerTime) => HttpClient;
};

/** @throws NusecError STATE while the programmer is not prepared, CHAIN_REFUSED when what is in flash is not what OTP names */
export function readIdentity(chip: Chip): ProgrammerIdentity {
  const [root, ica, certificate] = (['rootCertificate', 'icaCertificate', 'deviceCertificate'] as const).map(name => chip.data.get(name));
  const own = chip.keyStore.publicKey(authKeySlot);
  if (!root || !ica || !certificate || !own)
    throw new NusecError('STATE', 'the programmer is not prepared: key or certificates are missing');
  if (!equalBytes(chip.otp.read(otpMap.rootCaHash.slot), sha256(root))) {
    throw new NusecError('CHAIN_REFUSED', 'the root certificate in flash is not the one in OTP');
  }
  const uidHex = toHex(chip.uid);
  // Its hash in OTP 4 says what the issuing CA is for, if it does not say so itself.
  const isBurned = equalBytes(chip.otp.read(otpMap.icaHash.slot), sha256(ica));
  const recorded = () => (isBurned ? [{ use: 'programmer' } as const] : []);
  checkChain([certificate, ica], { roots: [root], now: undefined, purpose: 'programmer', uid: uidHex, recorded });
  const sign: CertSlot['sign'] = (input, hash) => chip.keyStore.sign(authKeySlot, input, hash);
  const pem = (der: Uint8Array): string => toPem('CERTIFICATE', der);
  return {
    uid: chip.uid,
    uidHex,
    root,
    rootSpki: parseCertificate(root).spki,
    certificate,
    certificateSha256: sha256(certificate),
    signer: { kid: keyIdOf(own), sign: input => sign(input, 'sha256') },
    certSlot: { certificates: [root, ica, certificate], sign },
    connect: (baseUrl, bundle, serverTime) => {
      const secureContext = chip.keyStore.secureContext(authKeySlot, { cert: pem(certificate) + pem(ica), ca: pem(root) });
      return createHttpClient({ baseUrl, ca: pem(root), secureContext, bundle, serverTime, isRepeatable: true });
    },
  };
}

/** The trust bundle in flash, verified against the root each time it is used.
 *  @throws NusecError STATE without one, COSE_SIGNATURE when the root did not sign it */
export async function readBundle(chip: Chip, identity: ProgrammerIdentity): Promise<TrustBundle> {
  const bundle = chip.data.get('bundle');
  if (!bundle) throw new NusecError('STATE', 'the programmer has no trust bundle');
  return verifyTrustBundle(bundle, identity.rootSpki);
}

/** Takes a newer bundle; an older or equal one changes nothing.
 *  @throws NusecError COSE_MALFORMED, COSE_SIGNATURE, CBOR_MALFORMED */
export async function updateBundle(chip: Chip, identity: ProgrammerIdentity, bytes: Uint8Array): Promise<void> {
  const offered = await verifyTrustBundle(bytes, identity.rootSpki);
  const known = chip.data.get('bundle') && (await readBundle(chip, identity));
  if (!known || offered.version > known.version) chip.data.put('bundle', bytes);
}

/** Our chain for a target that trusts this root. Between our root and its successor is the certificate that the new root made over
 *  our root's key. @throws NusecError CHAIN_REFUSED when the trust bundle knows of none */
export async function certSlotUnder(chip: Chip, identity: ProgrammerIdentity, root: Uint8Array): Promise<CertSlot> {
  const { certSlot, rootSpki } = identity;
  if (equalBytes(root, identity.root)) return certSlot;
  const { issuers } = await readBundle(chip, identity);
  const { subjectDer } = parseCertificate(root);
  const link = issuers.find(({ use, certificate }) => {
    const { spki, issuerDer } = parseCertificate(certificate);
    return use === 'root' && equalBytes(spki, rootSpki) && equalBytes(issuerDer, subjectDer);
  });
  if (!link) throw new NusecError('CHAIN_REFUSED', 'nothing leads from the root of the target to ours');
  return { ...certSlot, certificates: [root, link.certificate, ...certSlot.certificates.slice(1)] };
}

/** The keys of this use in the trust bundle. */
export const oemKeys = async (chip: Chip, identity: ProgrammerIdentity, use: SigningUse) =>
  signingKeysOf(await readBundle(chip, identity), use);
