import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { concat, fromHex, toHex } from '../src/bytes.ts';
import { sha256 } from '../src/digest.ts';
import { scalarOf, signDigest } from '../src/keystore/signDigest.ts';
import { attachTrailer, buildImage, deviceTrailer, signInput } from '../src/ota/build.ts';
import { wrapKey } from '../src/ota/ecies.ts';
import { prepareRelease } from '../src/ota/prepare.ts';
import { type ImageSpec, specOf } from '../src/ota/spec.ts';
import { encryptedVariant } from '../src/ota/variant.ts';
import { verifyImage } from '../src/ota/verify.ts';

/** Writes 44 images as the product makes them for a device (an upload, prepared, signed by the device's own key), good ones and changed ones, and what
 *  `verifyImage` says of each: for MCUboot's own code and imgtool to judge. docs/firmware-interoperability.md shows the run.
 *  `npm run images -- FOLDER` */

const [folder = 'mcuboot-images'] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });

const vendorUuid = fromHex('00112233445566778899aabbccddeeff');
const classUuid = fromHex('0123456789abcdef0123456789abcdef');
const otherUuid = fromHex('ffeeddccbbaa99887766554433221100');
const deviceCounter = 5;
const slotBytes = 1024 * 1024;
const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const spkiOf = (key: KeyObject): Uint8Array =>
  new Uint8Array((key.type === 'public' ? key : createPublicKey(key)).export({ type: 'spki', format: 'der' }));
const keyHash = sha256(spkiOf(own.privateKey));
const payloadOf = (bytes: number, seed: number): Uint8Array => Uint8Array.from({ length: bytes }, (_, i) => (i * 31 + seed * 17) & 0xff);

type Made = { readonly name: string; readonly image: Uint8Array; readonly slot: 'primary' | 'secondary' };
const made: Made[] = [];

function signed(body: Uint8Array, key = own.privateKey, keyForm: 'whole' | 'hash' = 'whole'): Uint8Array {
  const signature = new Uint8Array(sign('sha256', signInput({ body }), key));
  return attachTrailer(body, deviceTrailer({ imageHash: sha256(body), publicKey: spkiOf(key), keyForm, signature }));
}

function release(
  payload: Uint8Array,
  wish: { version?: [number, number, number, number]; counter?: number; headerBytes?: number } = {},
): Uint8Array {
  const [major, minor, revision, build] = wish.version ?? [1, 2, 3, 0];
  const { counter = 6, headerBytes } = wish;
  const line = { vendorUuid, classUuid, ...(headerBytes !== undefined && { headerBytes }) };
  return prepareRelease(payload, { ...line, version: { major, minor, revision, build }, securityCounter: counter }).body;
}

const add = (name: string, image: Uint8Array, slot: Made['slot'] = 'secondary'): void => void made.push({ name, image, slot });
const changed = (image: Uint8Array, at: number): Uint8Array => image.map((byte, i) => (i === at ? byte ^ 1 : byte));
const variant = (body: Uint8Array, change: Partial<ImageSpec>): Uint8Array => buildImage({ ...specOf(body), ...change }).body;

// What the product offers to devices.
for (const [i, bytes] of [16, 1000, 4096, 4097, 65_536, 500_001].entries()) add(`payload-${bytes}`, signed(release(payloadOf(bytes, i))));
for (const headerBytes of [0x20, 0x200, 0x400])
  add(`header-${headerBytes.toString(16)}`, signed(release(payloadOf(3000, 9), { headerBytes })));
for (const counter of [5, 6, 255]) add(`counter-${counter}`, signed(release(payloadOf(3000, 10), { counter })));
add('version-255.255.65535', signed(release(payloadOf(3000, 11), { version: [255, 255, 65_535, 4_294_967_295] })));
const base = release(payloadOf(6000, 12));
add('dependency', signed(variant(base, { dependencies: [{ imageId: 1, minVersion: { major: 1, minor: 0, revision: 0, build: 0 } }] })));
add('vendor-tlv', signed(variant(base, { extraTlvs: [{ type: 0xa1, value: fromHex('cafe') }] })));
add('uid-bound', signed(variant(base, { uidBinding: fromHex('4e4c3300000000000000000000000001') })));
add('resigned-upload', signed(prepareRelease(signed(base, other.privateKey), { vendorUuid, classUuid }).body));

// What a device must refuse.
const good = signed(base);
add('counter-4', signed(release(payloadOf(3000, 13), { counter: 4 })));
add('other-key', signed(base, other.privateKey));
add('key-by-hash', signed(base, own.privateKey, 'hash'));
add('payload-bit', changed(good, 0x200 + 100));
add('header-bit', changed(good, 21));
add('header-padding-bit', changed(good, 0x100));
add('counter-bit', changed(good, base.length - 1 - 40));
add('signature-bit', changed(good, good.length - 10));
add('key-bit', changed(good, base.length + 4 + 36 + 4 + 60));
add('truncated', good.slice(0, good.length - 20));
add('without-trailer', base);
add('other-vendor', signed(variant(base, { vendorUuid: otherUuid })));
add('other-class', signed(variant(base, { classUuid: otherUuid })));

// Encrypted, as upgrades are, and in clear with the flag, as production writes them. AES-128: TinyCrypt knows no other one.
const ownEncryption = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const otherEncryption = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const uid = fromHex('4e4c3300000000000000000000000001');
const cek = new Uint8Array(randomBytes(16));

type Wish = { readonly isUidBound?: boolean; readonly to?: KeyObject; readonly isClear?: boolean; readonly key?: Uint8Array };
function encrypted(
  body: Uint8Array,
  { isUidBound = false, to = ownEncryption.publicKey, isClear = false, key = cek }: Wish = {},
): Uint8Array {
  const variant = encryptedVariant(body, 128, isUidBound);
  const { area, imageHash } = variant.ofDevice(uid);
  const signature = signDigest(scalarOf(own.privateKey), imageHash);
  const encTlv = wrapKey(key, spkiOf(to).slice(-65), new Uint8Array(randomBytes(32)));
  const trailer = deviceTrailer({ imageHash, publicKey: spkiOf(own.privateKey), keyForm: 'whole', signature, encTlv });
  return concat(isClear ? variant.shared : variant.encrypt(cek), area, trailer);
}
for (const bytes of [16, 1000, 65_536, 500_001]) add(`encrypted-${bytes}`, encrypted(release(payloadOf(bytes, bytes))));
add('encrypted-uid-bound', encrypted(base, { isUidBound: true }));
add('factory', encrypted(base, { isClear: true }), 'primary');
add('factory-uid-bound', encrypted(base, { isClear: true, isUidBound: true }), 'primary');
const sealed = encrypted(base);
const wrappedAt = sealed.length - 16;
add('encrypted-for-another', encrypted(base, { to: otherEncryption.publicKey }));
add('encrypted-other-cek', encrypted(base, { key: new Uint8Array(16) }));
add('encrypted-payload-bit', changed(sealed, 0x200 + 100));
add('encrypted-key-bit', changed(sealed, wrappedAt + 3));
add('encrypted-tag-bit', changed(sealed, wrappedAt - 3));
add('encrypted-in-clear', encrypted(base, { isClear: true }));
add('ciphertext-in-primary', sealed, 'primary');

const policy = {
  signature: { algorithm: 'P-256', otpKeyHash: keyHash },
  slotBytes,
  securityCounter: deviceCounter,
  vendorUuid,
  classUuid,
  uid,
  decryption: { curve: 'P-256', privateKey: ownEncryption.privateKey },
} as const;
const verdicts = made.map(({ name, image, slot }) => {
  writeFileSync(join(folder, `${name}.bin`), image);
  const verdict = verifyImage(image, { ...policy, slot });
  return { name, slot, ok: verdict.ok, reason: verdict.ok ? '' : verdict.reason };
});
writeFileSync(
  join(folder, 'key.pem'),
  createPrivateKey(own.privateKey.export({ type: 'pkcs8', format: 'pem' })).export({ type: 'pkcs8', format: 'pem' }),
);
writeFileSync(join(folder, 'encryption.der'), ownEncryption.privateKey.export({ type: 'pkcs8', format: 'der' }));
const facts = [toHex(keyHash), deviceCounter, slotBytes, toHex(vendorUuid), toHex(classUuid)];
writeFileSync(join(folder, 'device.txt'), `${facts.join(' ')}\n`);
writeFileSync(
  join(folder, 'verdicts.txt'),
  `${verdicts.map(({ name, slot, ok, reason }) => [name, slot, ok ? 'ok' : 'refused', reason].join(' ').trim()).join('\n')}\n`,
);
process.stdout.write(`${made.length} images in ${folder}\n`);
