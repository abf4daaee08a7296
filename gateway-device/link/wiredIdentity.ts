import { equalBytes } from '../../src/bytes.ts';
import { importKey } from '../../src/ecKey.ts';
import { NusecError } from '../../src/errors.ts';
import { checkChain } from '../../src/pki/chain.ts';
import type { IssuerRecord } from '../../src/pki/issuerRecord.ts';
import { endsIn } from '../../src/spdm/certChain.ts';
import type { VerifyOptions } from '../../src/spdm/evidence.ts';
import { knownOffer, type NamedPolicy, offerUnder, policyNamed } from '../../src/spdm/policy.ts';

/** Who a device on a wire is by the word of the server, and what it is asked for in SPDM. */

export type WiredIdentity = {
  /** DER */
  readonly certificate: Uint8Array;
  readonly root: Uint8Array;
  /** The policy of its line; the default one where the server names none. */
  readonly spdm?: NamedPolicy & {
    /** SubjectPublicKeyInfo that a device without certificates is known by. */
    readonly publicKey?: Uint8Array | undefined;
  };
};

type Json = Readonly<Record<string, unknown>>;

/** @param answer `identity` as the server has sent it @param bytesIn gives a field that must be base64url, and throws where it is not */
export function spdmIn(answer: Json, bytesIn: (answer: Json, name: string) => Uint8Array): Pick<WiredIdentity, 'spdm'> {
  if (typeof answer.spdm !== 'object' || answer.spdm === null) return {};
  const named = answer.spdm as Json;
  const { leastVersion, signatures } = named;
  return {
    spdm: {
      ...(typeof leastVersion === 'string' && { leastVersion }),
      ...(Array.isArray(signatures) && { signatures: signatures.filter(name => typeof name === 'string') }),
      ...(named.publicKey !== undefined && { publicKey: bytesIn(named, 'publicKey') }),
    },
  };
}

/** What an attestation asks the device for. */
export const attestationOffer = ({ certificate, spdm: { publicKey, ...policy } = {} }: WiredIdentity) => ({
  ...offerUnder(policyNamed(policy)),
  isOurs: endsIn(certificate),
  ...(publicKey && { publicKey }),
});

/** How it is judged: the very device that the server means (T9, T11). */
export const judgeOf = ({ certificate, root, spdm: { publicKey } = {} }: WiredIdentity) => ({
  trust: onlyCertificate(certificate, root),
  ...(publicKey && { trustKey: onlyKey(publicKey) }),
});

/** What a session asks the device for, and how it is judged. */
export const sessionOffer = ({ certificate, root, spdm: { publicKey, ...policy } = {} }: WiredIdentity) => ({
  ...knownOffer(policyNamed(policy)),
  isOurs: endsIn(certificate),
  ...judgeOf({ certificate, root, spdm: { publicKey } }),
  ...(publicKey && { publicKey }),
});

/** The server has named this very certificate as that of a device: an issuing CA that states no use is one of devices. */
const ofDevices = (): IssuerRecord => [{ use: 'device' }];

const onlyCertificate =
  (certificate: Uint8Array, root: Uint8Array): VerifyOptions['trust'] =>
  (chain, uid) => {
    if (!endsIn(certificate)(chain)) throw new NusecError('CHAIN_REFUSED', 'the device shows another certificate than the server knows');
    const policy = { roots: [root], now: undefined, purpose: 'device', recorded: ofDevices, ...(uid !== undefined && { uid }) } as const;
    return importKey(checkChain(chain.toReversed(), policy).spki);
  };

/** Only the key that the server has named. */
export const onlyKey =
  (named: Uint8Array): NonNullable<VerifyOptions['trustKey']> =>
  publicKey => {
    if (!equalBytes(publicKey, named)) throw new NusecError('CHAIN_REFUSED', 'the key is not that of this device');
    return importKey(publicKey);
  };
