import { InvalidArgumentError } from 'commander';
import { NusecError } from '../../errors.ts';
import { capability, type SpdmVersion } from '../../spdm/constants.ts';

/** The names that options use for bits: those of the specification, as other SPDM tools write them. */

const { psk, multiKey, endpointInfo, ...single } = capability;

const capabilityNames = {
  CACHE: single.cache,
  CERT: single.certificate,
  CHAL: single.challenge,
  MEAS_NO_SIG: single.measurementsUnsigned,
  MEAS_SIG: single.measurementsSigned,
  MEAS_FRESH: single.measurementsFresh,
  ENCRYPT: single.encrypt,
  MAC: single.mac,
  MUT_AUTH: single.mutualAuthentication,
  KEY_EX: single.keyExchange,
  PSK: single.pskSupported,
  PSK_WITH_CONTEXT: single.pskWithContext,
  ENCAP: single.encapsulated,
  HBEAT: single.heartbeat,
  KEY_UPD: single.keyUpdate,
  HANDSHAKE_IN_CLEAR: single.handshakeInTheClear,
  PUB_KEY_ID: single.publicKeyId,
  CHUNK: single.chunk,
  SET_CERT: single.setCertificate,
  CSR: single.csr,
  CERT_INSTALL_RESET: single.certificateInstallReset,
  MULTI_KEY_ONLY: single.multiKeyOnly,
  MULTI_KEY_NEG: single.multiKeyNegotiated,
  GET_KEY_PAIR_INFO: single.keyPairInfo,
  SET_KEY_PAIR_INFO: single.setKeyPairInfo,
  EP_INFO_NO_SIG: single.endpointInfoUnsigned,
  EP_INFO_SIG: single.endpointInfoSigned,
  MEL: single.measurementExtensionLog,
  EVENT: single.event,
  LARGE_RESP: single.largeResponse,
} as const;

const versionNames = { '1.0': 0x10, '1.1': 0x11, '1.2': 0x12, '1.3': 0x13, '1.4': 0x14 } as const satisfies Record<string, SpdmVersion>;

/** What went wrong, in one line: the code where there is one, and no stack. */
export const faultText = (error: unknown): string =>
  error instanceof NusecError ? `${error.code}: ${error.message}` : error instanceof Error ? error.message : 'unknown fault';

/** Bits of the fields of NEGOTIATE_ALGORITHMS. */
export const algorithmNames = {
  hash: { SHA_256: 0x1, SHA_384: 0x2 },
  asym: { NONE: 0, ECDSA_P256: 0x10, ECDSA_P384: 0x80 },
  dhe: { NONE: 0, SECP_256_R1: 0x8, SECP_384_R1: 0x10 },
  aead: { AES_256_GCM: 0x2, CHACHA20_POLY1305: 0x4 },
  pqcAsym: { NONE: 0, ML_DSA_44: 0x1, ML_DSA_65: 0x2, ML_DSA_87: 0x4 },
  kem: { NONE: 0, ML_KEM_512: 0x1, ML_KEM_768: 0x2, ML_KEM_1024: 0x4 },
} as const;

/** @throws InvalidArgumentError for a name that is not in the table */
function valuesOf<Value>(table: Readonly<Record<string, Value>>, text: string): readonly Value[] {
  return text.split(',').map(name => {
    const value = table[name];
    if (value === undefined) throw new InvalidArgumentError(`"${name}" is none of ${Object.keys(table).join(', ')}`);
    return value;
  });
}

export const bitsOf =
  (table: Readonly<Record<string, number>>) =>
  (text: string): number =>
    valuesOf(table, text).reduce((bits, bit) => (bits | bit) >>> 0, 0);

export const capabilitiesOf = bitsOf(capabilityNames);
export const versionsOf = (text: string): readonly SpdmVersion[] => valuesOf<SpdmVersion>(versionNames, text);

export const wholeNumber = (text: string): number => {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0) throw new InvalidArgumentError('not a whole number');
  return number;
};
