import { readFileSync } from 'node:fs';
import { fromHex } from '../../src/bytes.ts';
import { decodeCertificateChain, encodeCertificateChain } from '../../src/spdm/certChain.ts';
import type { Wire } from '../../src/spdm/constants.ts';
import { hashAlgorithms } from '../../src/spdm/suite.ts';

/** Reads the recorded runs of test/vectors/spdm. */

export type Exchange = { readonly name: string; readonly request: Wire; readonly response: Wire };
export type Recording = {
  readonly transport: 'TCP' | 'MCTP';
  readonly exchanges: readonly Exchange[];
  readonly secrets: readonly (readonly [string, Uint8Array])[];
  readonly payloads: readonly { readonly payload: Uint8Array; readonly wire: Wire }[];
};

type Frame = { command: string; name?: string; payload: string; spdm?: string; secured_message?: string };

const folder = new URL('../vectors/spdm/', import.meta.url);

export function loadRecording(name: string): Recording {
  const json = JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8'));
  const frames = (json.frames as Frame[]).filter(({ command }) => command === 'NORMAL');
  const wires = frames.map(toWire);
  const exchanges = Array.from({ length: frames.length / 2 }, (_, i) => ({
    name: frames[2 * i]!.name ?? 'secured',
    request: wires[2 * i]!,
    response: wires[2 * i + 1]!,
  }));
  return {
    transport: json.transport,
    exchanges,
    secrets: (json.requester_debug_secrets as [string, string][]).map(([label, hex]) => [label, fromHex(hex)] as const),
    payloads: frames.map((frame, i) => ({ payload: fromHex(frame.payload), wire: wires[i]! })),
  };
}

function toWire({ spdm, secured_message: secured }: Frame): Wire {
  return spdm === undefined ? { kind: 'secured', message: fromHex(secured!) } : { kind: 'clear', message: fromHex(spdm) };
}

export const named = (recording: Recording, name: string): readonly Exchange[] =>
  recording.exchanges.filter(exchange => exchange.name === name);

export function secretsOf(recording: Recording, label: string): readonly Uint8Array[] {
  return recording.secrets.flatMap(([name, value]) => (name === label ? [value] : []));
}

export function vectorKey(path: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`keys/${path}`, folder)));
}

/** DER certificates of a responder's bundle: `certchain`, `certchain1`, `certchain4`. */
export function bundleCertificates(curve: 'ecp256' | 'ecp384', bundle: string): readonly Uint8Array[] {
  return decodeCertificates(vectorKey(`${curve}/bundle_responder.${bundle}.der`));
}

/** The certificates of a file that has them one after the other. */
export function decodeCertificates(der: Uint8Array): readonly Uint8Array[] {
  const [hash] = hashAlgorithms;
  return decodeCertificateChain(0x12, hash!, encodeCertificateChain(0x12, hash!, [der])).certificates;
}

/** Recordings of attestations, and of sessions with certificates, that both ends replay. */
export const attestations = [
  'a-spdm11-p256-challenge',
  'a-spdm12-p256-challenge',
  'a-spdm12-p256-challenge-mctp',
  'a-spdm13-p256-challenge',
  'a-spdm14-p256-challenge',
  'b-spdm12-p384-challenge',
  'b-spdm13-p384-challenge',
  'c-spdm11-p256-measurements',
  'c-spdm12-p256-measurements',
  'c-spdm12-p256-measurements-onebyone-raw',
  'c-spdm13-p256-measurements',
  'c-spdm14-p256-measurements',
];
export const sessions = [
  'd-spdm11-p256-session-mutauth-tcp',
  'd-spdm12-p256-session-hs-encrypted-mutauth',
  'd-spdm12-p256-session-hs-encrypted-nomut',
  'd-spdm12-p256-session-mutauth-digests',
  'd-spdm12-p256-session-mutauth-mctp-app',
  'd-spdm12-p256-session-mutauth-tcp',
  'd-spdm12-p384-session-mutauth-mctp-app',
  'd-spdm13-p256-session-hs-encrypted-mutauth',
  'd-spdm13-p256-session-mutauth-mctp-app',
  'd-spdm14-p256-session-mutauth-tcp',
  'e-spdm12-p256-session-nomut-tcp',
  'e-spdm13-p256-session-nomut-tcp',
  'h-spdm12-p256-measurements-in-session',
  'i-spdm12-p256-csr-setcert',
  'i-spdm13-p256-csr-setcert',
];
