import { NusecError } from '../errors.ts';
import type { EcdhProvider, EphemeralKey } from './ecdh.ts';
import type { KemAlgorithm, KeyAgreement } from './suite.ts';

/** The shared secret of KEY_EXCHANGE, by ECDH or (1.4) by ML-KEM. The requester opens, the responder answers. */

/** ML-KEM of the platform: it draws its own randomness. */
export type KemProvider = {
  /** @returns the encapsulation key as `exchange`; `derive` takes the ciphertext */
  generate(algorithm: KemAlgorithm): EphemeralKey;
  /** @throws SPDM_MALFORMED when the key is not one */
  encapsulate(algorithm: KemAlgorithm, key: Uint8Array): Answered;
};
export type Answered = { readonly exchange: Uint8Array; readonly secret: Uint8Array };
export type AgreementPorts = { readonly ecdh: EcdhProvider; readonly kem?: KemProvider };

/** @throws SPDM_UNSUPPORTED when the platform has no ML-KEM */
export function openAgreement({ ecdh, kem }: AgreementPorts, agreement: KeyAgreement): EphemeralKey {
  return 'mlKem' in agreement ? present(kem).generate(agreement) : ecdh(agreement);
}

/** @throws SPDM_MALFORMED when the peer's exchange data is not of its kind, SPDM_UNSUPPORTED */
export function answerAgreement({ ecdh, kem }: AgreementPorts, agreement: KeyAgreement, peerExchange: Uint8Array): Answered {
  if ('mlKem' in agreement) return present(kem).encapsulate(agreement, peerExchange);
  const own = ecdh(agreement);
  return { exchange: own.exchange, secret: own.derive(peerExchange) };
}

function present(kem: KemProvider | undefined): KemProvider {
  if (!kem) throw new NusecError('SPDM_UNSUPPORTED', 'no ML-KEM on this platform');
  return kem;
}
