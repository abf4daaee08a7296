/** Every object identifier the product uses, once, with its source. */

/** Root of our own identifiers. 32473 is the enterprise number for examples (RFC 5612): an operator with a number of its own
 *  changes this line before the first root is made; nothing else depends on the value. */
const privateArc = '1.3.6.1.4.1.32473.412';

export const oids = {
  // Keys and signatures (RFC 5480 §2.1.1, §2.1.1.1; RFC 5758 §3.2)
  ecPublicKey: '1.2.840.10045.2.1',
  p256: '1.2.840.10045.3.1.7',
  p384: '1.3.132.0.34',
  ecdsaSha256: '1.2.840.10045.4.3.2',
  ecdsaSha384: '1.2.840.10045.4.3.3',
  // Names (RFC 5280 appendix A.1, X.520)
  commonName: '2.5.4.3',
  serialNumber: '2.5.4.5',
  country: '2.5.4.6',
  organization: '2.5.4.10',
  organizationalUnit: '2.5.4.11',
  emailAddress: '1.2.840.113549.1.9.1',
  // Certificate and CRL extensions (RFC 5280 §4.2, §5.2, §5.3)
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  reasonCode: '2.5.29.21',
  deltaCrlIndicator: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
  crlDistributionPoints: '2.5.29.31',
  nameConstraints: '2.5.29.30',
  certificatePolicies: '2.5.29.32',
  anyPolicy: '2.5.29.32.0',
  authorityKeyIdentifier: '2.5.29.35',
  policyConstraints: '2.5.29.36',
  extKeyUsage: '2.5.29.37',
  anyExtendedKeyUsage: '2.5.29.37.0',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
  freshestCrl: '2.5.29.46',
  inhibitAnyPolicy: '2.5.29.54',
  // Access method and OCSP (RFC 5280 §4.2.2.1, RFC 6960 §4.2.1, §4.2.2.2, §4.4.1)
  ocsp: '1.3.6.1.5.5.7.48.1',
  ocspBasic: '1.3.6.1.5.5.7.48.1.1',
  ocspNonce: '1.3.6.1.5.5.7.48.1.2',
  ocspNoCheck: '1.3.6.1.5.5.7.48.1.5',
  // Hashes that name an issuer at OCSP (RFC 8017 appendix B.1)
  sha1: '1.3.14.3.2.26',
  sha256: '2.16.840.1.101.3.4.2.1',
  // Content types of PKCS#7 / CMS (RFC 5652 §4, §5.1)
  cmsData: '1.2.840.113549.1.7.1',
  cmsSignedData: '1.2.840.113549.1.7.2',
  // HardwareModuleName (RFC 4108 §5)
  hardwareModuleName: '1.3.6.1.5.5.7.8.4',
  // Extended key usages (RFC 5280 §4.2.1.12)
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  ocspSigning: '1.3.6.1.5.5.7.3.9',
  // SPDM (DSP0274, appendix "Certificate OIDs": id-DMTF-spdm = 1.3.6.1.4.1.412.274)
  spdmHardwareIdentity: '1.3.6.1.4.1.412.274.2',
  spdmResponderAuth: '1.3.6.1.4.1.412.274.3',
  spdmRequesterAuth: '1.3.6.1.4.1.412.274.4',
  spdmExtension: '1.3.6.1.4.1.412.274.6',
  // Ours
  programmerAuth: `${privateArc}.1`,
  gatewayAuth: `${privateArc}.2`,
  hardwareType: `${privateArc}.3`,
  // Policies of issuing CAs: what each may issue
  issuesDevices: `${privateArc}.4.1`,
  issuesProgrammers: `${privateArc}.4.2`,
  issuesGateways: `${privateArc}.4.3`,
  issuesServers: `${privateArc}.4.4`,
  lineArc: `${privateArc}.5`,
  bundleBefore: `${privateArc}.6`,
  /** Signs checkpoints of the event log. */
  logSigning: `${privateArc}.7`,
} as const;
