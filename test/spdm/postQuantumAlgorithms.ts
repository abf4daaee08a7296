import type { AlgorithmBits } from '../../src/spdm/messages/algorithms.ts';
import { allAlgorithms } from '../../src/spdm/negotiation.ts';

/** ML-DSA-65 and ML-KEM-768, with SHA-384 (1.4 only). */
export const postQuantumAlgorithms: AlgorithmBits = {
  ...allAlgorithms,
  baseAsym: 0,
  baseHash: 0x2,
  dhe: 0,
  aead: 0x2,
  requesterAsym: 0,
  pqcAsym: 0x2,
  requesterPqcAsym: 0x2,
  kem: 0x2,
};
