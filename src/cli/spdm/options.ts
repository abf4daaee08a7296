import { Command, Option } from 'commander';
import type { SpdmVersion } from '../../spdm/constants.ts';
import type { AlgorithmBits } from '../../spdm/messages/algorithms.ts';
import type { Capabilities } from '../../spdm/messages/capabilities.ts';
import { dmtfMeasurementSpecification, multiKeyConnection, opaqueFormat1, spdmKeySchedule } from '../../spdm/suite.ts';
import { algorithmNames, bitsOf, capabilitiesOf, versionsOf, wholeNumber } from './names.ts';

/** Options that requester and responder have in common. */

export type TransportName = 'mctp' | 'tcp' | 'none';

export type CommonOptions = {
  readonly host: string;
  readonly port: number;
  readonly transport: TransportName;
  readonly versions: readonly SpdmVersion[];
  readonly caps: number;
  readonly hash: number;
  readonly asym: number;
  readonly reqAsym: number;
  readonly dhe: number;
  readonly aead: number;
  readonly pqcAsym: number;
  readonly reqPqcAsym: number;
  readonly kem: number;
  readonly certificates?: string;
  readonly slots: number;
  readonly transferBytes: number;
  readonly messageBytes: number;
  readonly psk: string;
  readonly quiet: boolean;
};

/** The transfer sizes that most other tools use. */
const defaultTransferBytes = 0x1200;
const defaultMessageBytes = 0x28000;
const defaultPort = 2323;

export function spdmCommand(name: string, description: string, defaultCapabilities: string): Command {
  const { hash, asym, dhe, aead, pqcAsym, kem } = algorithmNames;
  const bits = (flags: string, text: string, table: Readonly<Record<string, number>>, preset: string): Option =>
    new Option(flags, `${text}: ${Object.keys(table).join(', ')}`).argParser(bitsOf(table)).default(bitsOf(table)(preset), preset);
  return new Command(name)
    .description(description)
    .option('--host <address>', 'address of the socket', '127.0.0.1')
    .option('--port <number>', 'port of the socket', wholeNumber, defaultPort)
    .addOption(new Option('--transport <name>', 'what a frame carries').choices(['mctp', 'tcp', 'none']).default('mctp'))
    .addOption(
      new Option('--versions <list>', '1.0, 1.1, 1.2, 1.3, 1.4')
        .argParser(versionsOf)
        .default(versionsOf('1.1,1.2,1.3,1.4'), '1.1,1.2,1.3,1.4'),
    )
    .addOption(
      new Option('--caps <list>', 'capability flags, as CERT,CHAL,…')
        .argParser(capabilitiesOf)
        .default(capabilitiesOf(defaultCapabilities), defaultCapabilities),
    )
    .addOption(bits('--hash <list>', 'hash algorithms', hash, 'SHA_256,SHA_384'))
    .addOption(bits('--asym <list>', 'signatures of the responder', asym, 'ECDSA_P256,ECDSA_P384'))
    .addOption(bits('--req-asym <list>', 'signatures of the requester', asym, 'ECDSA_P256,ECDSA_P384'))
    .addOption(bits('--dhe <list>', 'key exchange', dhe, 'SECP_256_R1,SECP_384_R1'))
    .addOption(bits('--aead <list>', 'record encryption', aead, 'AES_256_GCM,CHACHA20_POLY1305'))
    .addOption(bits('--pqc-asym <list>', 'post-quantum signatures of the responder (1.4)', pqcAsym, 'NONE'))
    .addOption(bits('--req-pqc-asym <list>', 'post-quantum signatures of the requester (1.4)', pqcAsym, 'NONE'))
    .addOption(bits('--kem <list>', 'post-quantum key exchange (1.4)', kem, 'NONE'))
    .option(
      '--certificates <folder>',
      'folder with ecp256/, ecp384/, mldsa44/, mldsa65/, mldsa87/ (default: certificates made for this run, P-256)',
    )
    .option('--slots <number>', 'how many certificate slots are filled', wholeNumber, 3)
    .option('--transfer-bytes <number>', 'DataTransferSize', wholeNumber, defaultTransferBytes)
    .option('--message-bytes <number>', 'MaxSPDMmsgSize', wholeNumber, defaultMessageBytes)
    .option('--psk <text>', 'pre-shared key, as hex', '5465737450736b4461746100')
    .option('--quiet', 'tell nothing but the result', false);
}

export function capabilitiesFrom({ caps, transferBytes, messageBytes }: CommonOptions): Capabilities {
  return { flags: caps, ctExponent: 0, dataTransferBytes: transferBytes, maxMessageBytes: Math.max(messageBytes, transferBytes) };
}

export function algorithmsFrom(options: CommonOptions): AlgorithmBits {
  return {
    measurementSpecification: dmtfMeasurementSpecification,
    otherParams: opaqueFormat1 | multiKeyConnection,
    baseAsym: options.asym,
    baseHash: options.hash,
    mel: dmtfMeasurementSpecification,
    dhe: options.dhe,
    aead: options.aead,
    requesterAsym: options.reqAsym,
    keySchedule: spdmKeySchedule,
    pqcAsym: options.pqcAsym,
    requesterPqcAsym: options.reqPqcAsym,
    kem: options.kem,
  };
}
