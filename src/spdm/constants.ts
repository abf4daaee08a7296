/** Every number of SPDM that more than one file needs, once (DSP0274 1.4 unless said otherwise). */

/** SPDMVersion byte: major in the high, minor in the low half (DSP0274 §10.2). GET_VERSION and VERSION always carry 0x10. */
export type SpdmVersion = 0x10 | 0x11 | 0x12 | 0x13 | 0x14;
export const discoveryVersion = 0x10;
export const spdmVersions = [0x10, 0x11, 0x12, 0x13, 0x14] as const satisfies readonly SpdmVersion[];

/** As people write it: 1.2. @param version as in the messages: 0x12 */
export const spdmVersionName = (version: number): string => `${version >> 4}.${version & 0xf}`;

/** Request codes (DSP0274, table "SPDM request codes"). */
export const requestCode = {
  getDigests: 0x81,
  getCertificate: 0x82,
  challenge: 0x83,
  getVersion: 0x84,
  chunkSend: 0x85,
  chunkGet: 0x86,
  getMeasurements: 0xe0,
  getCapabilities: 0xe1,
  negotiateAlgorithms: 0xe3,
  keyExchange: 0xe4,
  finish: 0xe5,
  pskExchange: 0xe6,
  pskFinish: 0xe7,
  heartbeat: 0xe8,
  keyUpdate: 0xe9,
  getEncapsulatedRequest: 0xea,
  deliverEncapsulatedResponse: 0xeb,
  endSession: 0xec,
  getCsr: 0xed,
  setCertificate: 0xee,
  vendorDefined: 0xfe,
  respondIfReady: 0xff,
  /** 1.3. */
  getEndpointInfo: 0x87,
  getSupportedEventTypes: 0xe2,
  getMeasurementExtensionLog: 0xef,
  subscribeEventTypes: 0xf0,
  sendEvent: 0xf1,
  getKeyPairInfo: 0xfc,
  setKeyPairInfo: 0xfd,
} as const;

/** Response codes (DSP0274, table "SPDM response codes"). */
export const responseCode = {
  digests: 0x01,
  certificate: 0x02,
  challengeAuth: 0x03,
  version: 0x04,
  chunkSendAck: 0x05,
  chunkResponse: 0x06,
  measurements: 0x60,
  capabilities: 0x61,
  algorithms: 0x63,
  keyExchangeRsp: 0x64,
  finishRsp: 0x65,
  pskExchangeRsp: 0x66,
  pskFinishRsp: 0x67,
  heartbeatAck: 0x68,
  keyUpdateAck: 0x69,
  encapsulatedRequest: 0x6a,
  encapsulatedResponseAck: 0x6b,
  endSessionAck: 0x6c,
  csr: 0x6d,
  setCertificateRsp: 0x6e,
  vendorDefined: 0x7e,
  error: 0x7f,
  /** 1.3. */
  endpointInfo: 0x07,
  supportedEventTypes: 0x62,
  measurementExtensionLog: 0x6f,
  subscribeEventTypesAck: 0x70,
  eventAck: 0x71,
  keyPairInfo: 0x7c,
  setKeyPairInfoAck: 0x7d,
} as const;

/** ERROR codes in param1 (DSP0274, table "Error code and error data"). */
export const spdmError = {
  invalidRequest: 0x01,
  invalidSession: 0x02,
  busy: 0x03,
  unexpectedRequest: 0x04,
  unspecified: 0x05,
  decryptError: 0x06,
  unsupportedRequest: 0x07,
  requestInFlight: 0x08,
  invalidResponseCode: 0x09,
  sessionLimitExceeded: 0x0a,
  sessionRequired: 0x0b,
  resetRequired: 0x0c,
  responseTooLarge: 0x0d,
  requestTooLarge: 0x0e,
  largeResponse: 0x0f,
  /** 1.3. */
  invalidPolicy: 0x11,
  versionMismatch: 0x41,
  responseNotReady: 0x42,
  requestResynch: 0x43,
  operationFailed: 0x44,
  noPendingRequests: 0x45,
} as const;
export type SpdmErrorCode = (typeof spdmError)[keyof typeof spdmError];

/** Flags of CAPABILITIES and GET_CAPABILITIES (DSP0274, tables "Requester / Responder flag fields"). */
export const capability = {
  cache: 0x1,
  certificate: 0x2,
  challenge: 0x4,
  measurementsUnsigned: 0x8,
  measurementsSigned: 0x10,
  measurementsFresh: 0x20,
  encrypt: 0x40,
  mac: 0x80,
  mutualAuthentication: 0x100,
  keyExchange: 0x200,
  /** Requester: 1 = supported. Responder: 1 = without, 2 = with a context of its own. */
  psk: 0xc00,
  pskSupported: 0x400,
  pskWithContext: 0x800,
  encapsulated: 0x1000,
  heartbeat: 0x2000,
  keyUpdate: 0x4000,
  handshakeInTheClear: 0x8000,
  publicKeyId: 0x10000,
  /** 1.2. */
  chunk: 0x20000,
  aliasCertificate: 0x40000,
  setCertificate: 0x80000,
  csr: 0x100000,
  certificateInstallReset: 0x200000,
  /** 1.3. */
  /** 1 = unsigned only, 2 = signed too. */
  endpointInfo: 0xc00000,
  endpointInfoUnsigned: 0x400000,
  endpointInfoSigned: 0x800000,
  measurementExtensionLog: 0x1000000,
  event: 0x2000000,
  /** 1.3: 1 = only with several keys, 2 = negotiated. */
  multiKey: 0xc000000,
  multiKeyOnly: 0x4000000,
  multiKeyNegotiated: 0x8000000,
  keyPairInfo: 0x10000000,
  setKeyPairInfo: 0x20000000,
  /** 1.4. */
  largeResponse: 0x80000000,
} as const;

/** MCTP message types (DSP0239): SPDM in the clear (DSP0275) and secured messages (DSP0276). DSP0287 uses the same two numbers. */
export const messageType = { spdm: 0x05, secured: 0x06 } as const;

/** Lengths in bytes. */
export const headerBytes = 4;
export const nonceBytes = 32;
/** RequesterContext of CHALLENGE and GET_MEASUREMENTS since 1.3. */
export const requesterContextBytes = 8;

/** Certificate slots 0–7 (DSP0274 §10.6). */
export const slotCount = 8;
/** In a request: the key of the responder is known without a certificate. Answers have 0xF. */
export const provisionedSlot = 0xff;
export const provisionedSlotInAnswer = 0x0f;

/** Our own limits. */
export const maxMessageBytes = 0x28000;
/** Four certificates with ML-DSA-87 have 30 KiB; more than 64 KiB needs the large form of 1.4 on both sides. */
export const maxChainBytes = 64 * 1024 - 1;
export const maxOpaqueBytes = 1024;

/** One SPDM message on its way: in the clear (type byte 05) or as a secured record (type byte 06). */
export type Wire = { readonly kind: 'clear' | 'secured'; readonly message: Uint8Array };
