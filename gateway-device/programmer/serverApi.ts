import { fromBase64url, fromHex, toBase64url, toHex } from '../../src/bytes.ts';
import type { NusecError } from '../../src/errors.ts';
import type { HttpClient } from '../link/httpClient.ts';
import { spdmIn, type WiredIdentity } from '../link/wiredIdentity.ts';
import { UnusableAnswer } from './blame.ts';

/** The server as the programmer sees it: one function per call of the machine API. JSON at the edge, bytes inside. */
export type ServerApi = ReturnType<typeof createServerApi>;

type Json = Readonly<Record<string, unknown>>;

/** Firmware for one unit: image = body ‖ trailer. The body is fetched once per job by its hash. */
export type ImageOffer = {
  readonly bodySha256: Uint8Array;
  readonly bodyBytes: number;
  readonly trailer: Uint8Array;
  readonly version: string;
  readonly securityCounter: number;
};

/** With the key that is burned for it, SubjectPublicKeyInfo. */
export type BootloaderOffer = ImageOffer & { readonly publicKey: Uint8Array };
export type ApplicationOffer = ImageOffer & { readonly imageHash: Uint8Array };

/** What became of a unit at the server. */
export type UnitOutcome = { readonly outcome: 'open' | 'committed' | 'voided'; readonly isScrap: boolean };

export function createServerApi(http: HttpClient, uidHex: string) {
  const post = (path: string, body: Json): Promise<Json> => http.json<Json>('POST', path, body);
  const unit = (grantId: string, step: string, body: Json): Promise<Json> => post(`/v1/production/units/${grantId}/${step}`, body);
  return {
    offerKek: async (point: Uint8Array, nonce: Uint8Array) => {
      const answer = await post(`/v1/programmers/${uidHex}/kek`, { publicKey: toBase64url(point), nonce: toBase64url(nonce) });
      return {
        point: bytesIn(answer, 'publicKey'),
        nonce: bytesIn(answer, 'nonce'),
        mac: bytesIn(answer, 'mac'),
        epoch: numberIn(answer, 'epoch'),
      };
    },
    confirmKek: (epoch: number, mac: Uint8Array) => http.json('PUT', `/v1/programmers/${uidHex}/kek/${epoch}`, { mac: toBase64url(mac) }),
    /** The first call from the contract manufacturer makes the programmer active; later ones change nothing. */
    checkIn: () => post(`/v1/programmers/${uidHex}/check-in`, {}),
    trustBundle: () => http.bytes('GET', '/v1/trust-bundle'),
    /** @returns units that the server would still grant */
    imported: async (packageId: string, acknowledgement: string, ledger: readonly string[]) =>
      numberIn(await post('/v1/production/imports', { packageId, acknowledgement, ledger }), 'remaining'),
    /** Whether a newer package has taken the place of this one. */
    isSuperseded: async (jobId: string, packageId: string) =>
      (await http.json<Json>('GET', `/v1/production/jobs/${jobId}/packages/${packageId}`)).superseded === true,
    reserve: async (request: { jobId: string; uid: string; productId: number; ledger: readonly string[] }) => {
      const answer = await post('/v1/production/units', request);
      return { grantId: textIn(answer, 'grantId'), objId: textIn(answer, 'objId'), grant: bytesIn(answer, 'grant') };
    },
    certify: async (grantId: string, csr: Uint8Array) => {
      const answer = await unit(grantId, 'csr', { csr: toBase64url(csr) });
      return { ...identityOf(answer), bundle: bytesIn(answer, 'bundle') };
    },
    /** @param certificateSha256 of the certificate that is in the chip */
    bootloader: async (grantId: string, certificateSha256: Uint8Array): Promise<BootloaderOffer> => {
      const answer = await unit(grantId, 'bootloader', { certificateSha256: toHex(certificateSha256) });
      return { publicKey: bytesIn(answer, 'publicKey'), ...imageIn(answer) };
    },
    /** @param installed what is in OTP and flash by now */
    applicationKey: async (grantId: string, installed: { otp: readonly { slot: number; sha256: string }[]; imageHash: string }) => {
      const answer = await unit(grantId, 'application-key', installed);
      const unlock = answer.unlockSha256 === undefined ? {} : { unlockSha256: hexIn(answer, 'unlockSha256') };
      return { publicKey: bytesIn(answer, 'publicKey'), publicKeySha256: hexIn(answer, 'publicKeySha256'), ...unlock };
    },
    application: async (
      grantId: string,
      request: { jobId: string; uid: string; objId: string; receipt: Uint8Array; evidence: Uint8Array },
    ): Promise<ApplicationOffer> => {
      const proof = { receipt: toBase64url(request.receipt), evidence: toBase64url(request.evidence) };
      const answer = await unit(grantId, 'application', { ...request, ...proof });
      return { ...imageIn(answer), imageHash: hexIn(answer, 'imageHash') };
    },
    imageBody: (bodySha256: string) => http.bytes('GET', `/v1/production/images/${bodySha256}`),
    commit: (grantId: string, receipt: string, ledger: readonly string[]) => unit(grantId, 'commit', { receipt, ledger }),
    /** @returns whether the server counts it as scrap */
    voidUnit: async (grantId: string, body: { reason: string; otpTouched: boolean; ledger: readonly string[]; receipt?: string }) =>
      (await unit(grantId, 'void', body)).scrapped === true,
    outcome: async (grantId: string): Promise<UnitOutcome> => {
      const answer = await http.json<Json>('GET', `/v1/production/units/${grantId}`);
      return { outcome: textIn(answer, 'outcome') as UnitOutcome['outcome'], isScrap: answer.scrapped === true };
    },
    /** @returns what the line asks of its devices by now */
    renew: async (grantId: string) => spdmIn(await unit(grantId, 'renew', {}), bytesIn),
    zeroise: (jobId: string, ledger: readonly string[]) => post(`/v1/production/jobs/${jobId}/zeroise`, { ledger }),
    /** A device that this programmer was given for repair. */
    inRepair: async (uid: string) => {
      const answer = await http.json<Json>('GET', `/v1/repairs/${uid}`);
      const next = answer.next === undefined ? {} : { next: identityIn(answer, 'next') };
      const nextObjId = answer.nextObjId === undefined ? {} : { nextObjId: textIn(answer, 'nextObjId') };
      return { identity: identityIn(answer, 'identity'), ...nextObjId, ...next };
    },
    unlock: async (uid: string, nonce: Uint8Array) => {
      const answer = await post(`/v1/repairs/${uid}/unlock`, { nonce: toBase64url(nonce) });
      return { order: bytesIn(answer, 'order'), password: bytesIn(answer, 'password') };
    },
    rekey: async (uid: string, nonce: Uint8Array) => {
      const answer = await post(`/v1/repairs/${uid}/rekey`, { nonce: toBase64url(nonce) });
      return { order: bytesIn(answer, 'order'), objId: toHex(hexIn(answer, 'objId')) };
    },
    certifyNext: async (uid: string, csr: Uint8Array) => {
      const answer = await post(`/v1/repairs/${uid}/csr`, { csr: toBase64url(csr) });
      const bundles = Array.isArray(answer.bundles) ? answer.bundles.slice(0, maxBundles) : [];
      return { ...identityOf(answer), bundles: bundles.map(bundle => bytesIn({ bundle }, 'bundle')) };
    },
    returned: (uid: string, objId: string, receipt: Uint8Array, evidence: Uint8Array) =>
      post(`/v1/repairs/${uid}/returned`, { objId, receipt: toBase64url(receipt), evidence: toBase64url(evidence) }),
    close: () => http.close(),
  };
}

const maxBundles = 8;

/** A device certificate with its chain, DER, and what the device is asked for. */
export type IdentityAnswer = WiredIdentity & { readonly ica: Uint8Array };

const identityOf = (answer: Json): IdentityAnswer => ({
  certificate: bytesIn(answer, 'certificate'),
  ica: bytesIn(answer, 'ica'),
  root: bytesIn(answer, 'root'),
  ...spdmIn(answer, bytesIn),
});
const identityIn = (answer: Json, name: string): IdentityAnswer => identityOf((answer[name] ?? {}) as Json);

const imageIn = (answer: Json): ImageOffer => ({
  bodySha256: hexIn(answer, 'bodySha256'),
  bodyBytes: numberIn(answer, 'bodyBytes'),
  trailer: bytesIn(answer, 'trailer'),
  version: textIn(answer, 'version'),
  securityCounter: numberIn(answer, 'securityCounter'),
});

function textIn(answer: Json, name: string): string {
  const value = answer[name];
  if (typeof value !== 'string') throw unreadable(name);
  return value;
}

function numberIn(answer: Json, name: string): number {
  const value = answer[name];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw unreadable(name);
  return value;
}

const bytesIn = (answer: Json, name: string): Uint8Array => parsed(name, () => fromBase64url(textIn(answer, name)));
const hexIn = (answer: Json, name: string): Uint8Array => parsed(name, () => fromHex(textIn(answer, name)));

function parsed<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch {
    throw unreadable(name);
  }
}

const unreadable = (name: string): NusecError => new UnusableAnswer('BAD_REQUEST', `the server’s answer has no readable ${name}`);
