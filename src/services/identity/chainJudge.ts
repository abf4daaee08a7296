import type { KeyObject } from 'node:crypto';
import { equalBytes } from '../../bytes.ts';
import { publicKeyOf } from '../../cose/publicKey.ts';
import { sha256Hex } from '../../digest.ts';
import { attestationKeyOf, type LivingDevice } from '../../domain/deviceState.ts';
import { importKey } from '../../ecKey.ts';
import { NusecError } from '../../errors.ts';
import { lru } from '../../lru.ts';
import { keepChain } from '../../spdm/certChain.ts';
import type { Context } from '../base/context.ts';
import type { Revocations } from '../revocation/revocations.ts';
import type { ClientTrust } from './clientTrust.ts';
import { storedCertificate } from './storedCertificate.ts';

/** Judges the certificate chain that a device shows in SPDM, and remembers what was judged: a chain whose digest is in DIGESTS again is neither
 *  transferred nor verified again. Validity and revocation are looked at every time; a revocation also drops what was remembered. */
export type ChainJudge = {
  /** For `verifyEvidence` and `runSessionSetup`. @returns the leaf's key
   *  @throws NusecError CHAIN_REFUSED (foreign, or never issued to this device), CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED */
  judge(state: LivingDevice, certificates: readonly Uint8Array[]): KeyObject;
  /** For a device that is known by its key: the enrolled one, or that of a certificate, which is judged as if it had been shown.
   *  @throws NusecError as judge */
  judgeKey(state: LivingDevice, publicKey: Uint8Array): Promise<KeyObject>;
  /** The chain structure that was accepted last. */
  knownChain(uid: string): Uint8Array | undefined;
  remember(uid: string, chain: Uint8Array): void;
};

type Judged = { readonly leaf: Uint8Array; readonly key: KeyObject; readonly serialHex: string; readonly untilMs: number };

const maxRemembered = 20_000;

export function createChainJudge(ctx: Context, revocations: Revocations, trust: ClientTrust): ChainJudge {
  const judged = lru<Judged>(maxRemembered);
  const chains = lru<Uint8Array>(maxRemembered);
  revocations.onChange(({ revoked, subject }) => {
    if (!revoked) return;
    judged.delete(subject);
    chains.delete(subject);
  });
  trust.onChange(() => {
    judged.clear();
    chains.clear();
  });

  const isGood = ({ serialHex, untilMs }: Judged): boolean => !revocations.isRevoked(serialHex) && ctx.clock().getTime() <= untilMs;
  const judgeLeaf = (state: LivingDevice, leaf: Uint8Array): KeyObject => {
    const known = judged.get(state.uid);
    if (known !== undefined && equalBytes(known.leaf, leaf) && isGood(known)) return known.key;
    const machine = trust.judge(leaf, state.line);
    const issued = state.certificates.find(({ certificateSha256 }) => certificateSha256 === machine.certificateSha256);
    if (issued === undefined) throw new NusecError('CHAIN_REFUSED', 'certificate 0 was not issued to this device');
    const key = publicKeyOf(machine.publicKey).key;
    judged.set(state.uid, { leaf, key, serialHex: machine.serialHex, untilMs: Date.parse(issued.notAfter) });
    return key;
  };
  return {
    judge: (state, certificates) => judgeLeaf(state, certificates.at(-1) ?? new Uint8Array()),
    async judgeKey(state, publicKey) {
      const hash = sha256Hex(publicKey);
      if (attestationKeyOf(state)?.publicKeySha256 === hash) return importKey(publicKey);
      const certified = state.certificates.findLast(({ publicKeySha256 }) => publicKeySha256 === hash);
      if (certified === undefined) throw new NusecError('CHAIN_REFUSED', 'the key is not that of this device');
      return judgeLeaf(state, (await storedCertificate(ctx, certified.certificateSha256)).der);
    },
    knownChain: uid => chains.get(uid),
    remember: (uid, chain) => chains.set(uid, keepChain(chain)),
  };
}
