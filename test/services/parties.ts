import { createECDH, createHmac, generateKeyPairSync, hkdfSync, type KeyObject, randomBytes, sign as signBytes } from 'node:crypto';
import { concat, fromBase64url, fromHex, toBase64url, toHex } from '../../src/bytes.ts';
import { keyIdOf } from '../../src/cose/publicKey.ts';
import { rawSigner } from '../../src/cose/sign1.ts';
import { sha256 } from '../../src/digest.ts';
import { assembleCsr, buildCertificationRequestInfo } from '../../src/pki/csr.ts';
import { kekConfirmation, kekKdf } from '../../src/production/kek.ts';
import { type Receipt, signReceipt } from '../../src/production/receipt.ts';
import type { Signer } from '../../src/production/signed.ts';
import type { Site } from './production/plant.ts';

/** Keys and messages of the other parties, made as a programmer and a target make them. */

export const newUid = (): string => randomBytes(16).toString('hex');

export type Party = { readonly uid: string; readonly key: KeyObject; readonly spki: Uint8Array; readonly signer: Signer };

export function newParty(uid = newUid()): Party {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
  const signer = { kid: keyIdOf(spki), sign: rawSigner(async message => new Uint8Array(signBytes('sha256', message, privateKey))) };
  return { uid, key: privateKey, spki, signer };
}

export function csrOf(party: Party, objId?: string): string {
  const subject = { serialNumber: party.uid, ...(objId !== undefined && { commonName: objId }) };
  const cri = buildCertificationRequestInfo({ subject, publicKeyPoint: party.spki.slice(-65) });
  return toBase64url(assembleCsr(cri, new Uint8Array(signBytes('sha256', cri, party.key))));
}

const noImages: Receipt['images'] = [];

export async function receiptOf(party: Party, nonce: Uint8Array, facts: Partial<Receipt>): Promise<string> {
  const receipt: Receipt = {
    uid: fromHex(party.uid),
    nonce,
    stage: 'bl2',
    lifeCycle: 'deployed',
    debugState: 'locked',
    otpMask: 0b1_1111,
    images: noImages,
    bootCount: 1,
    ...facts,
  };
  return toBase64url(await signReceipt(receipt, party.signer));
}

export type PreparedProgrammer = Party & { readonly certificate: Uint8Array };

/** R3–R26: registered, certified, fused, locked. */
export async function lockedProgrammer(plant: Site, uid = newUid()): Promise<PreparedProgrammer> {
  const party = newParty(uid);
  await plant.ask('olga', 'POST', '/v1/programmers', { uid, name: 'NuLink3 test' });
  const chain = await plant.ask('olga', 'POST', `/v1/programmers/${uid}/csr`, {
    publicKey: toBase64url(party.spki.slice(-65)),
    csr: csrOf(party),
  });
  await plant.ask('olga', 'POST', `/v1/programmers/${uid}/boot-key`);
  const image = await plant.call('olga', 'POST', `/v1/programmers/${uid}/firmware?version=1.0.0`, concat(fromHex(uid), randomBytes(2000)));
  if (image.status !== 200) throw new Error(JSON.stringify(image.body));
  const nonce = new Uint8Array(randomBytes(16));
  const receipt = await receiptOf(party, nonce, { stage: 'programmer', images: [programmerImage(image.bytes)] });
  await plant.ask('olga', 'POST', `/v1/programmers/${uid}/locked`, { receipt, nonce: toBase64url(nonce) });
  return { ...party, certificate: fromBase64url(chain.certificate) };
}

/** What the programmer measures of the image it was given. */
export function programmerImage(image: Uint8Array): Receipt['images'][number] {
  const view = new DataView(image.buffer, image.byteOffset);
  const bodyBytes = view.getUint16(8, true) + view.getUint32(12, true) + view.getUint16(10, true);
  return {
    image: 2,
    version: { major: 1, minor: 0, revision: 0, build: 0 },
    sha256: sha256(image.slice(0, bodyBytes)),
    securityCounter: 0,
  };
}

/** R27–R34 as the programmer does them. @returns AES_NuLink3 and its epoch */
export async function agreeKek(plant: Site, programmer: PreparedProgrammer): Promise<{ key: Uint8Array; epoch: number }> {
  const ecdh = createECDH('prime256v1');
  const pointP = new Uint8Array(ecdh.generateKeys());
  const nonceP = new Uint8Array(randomBytes(16));
  const path = `/v1/programmers/${programmer.uid}/kek`;
  const answer = await plant.ask(programmer.certificate, 'POST', path, { publicKey: toBase64url(pointP), nonce: toBase64url(nonceP) });
  const agreement = {
    nonceP,
    nonceC: fromBase64url(answer.nonce),
    pointP,
    pointC: fromBase64url(answer.publicKey),
    progUid: fromHex(programmer.uid),
    certificateSha256: sha256(programmer.certificate),
    epoch: answer.epoch,
  };
  const { salt, info } = kekKdf(agreement);
  const key = new Uint8Array(hkdfSync('sha256', ecdh.computeSecret(agreement.pointC), salt, info, 32));
  const macOf = (side: 'P' | 'C') => createHmac('sha256', key).update(kekConfirmation(side, agreement)).digest();
  if (toHex(macOf('C')) !== toHex(fromBase64url(answer.mac))) throw new Error('the server has another key');
  await plant.ask(programmer.certificate, 'PUT', `${path}/${answer.epoch}`, { mac: toBase64url(macOf('P')) });
  return { key, epoch: answer.epoch };
}
