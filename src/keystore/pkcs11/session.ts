import { type Cryptoki, createBuffer, ulongBytes } from './cryptoki.ts';
import { decodeRequest, encodeMechanism, encodeRequest, encodeTemplate, encodeUlong, type Template } from './encode.ts';

/** One PKCS#11 session and what the driver does with it. A session runs one operation at a time (v2.40 §5.7): its user
 *  has leased it from the pool. */
export type Session = { readonly cryptoki: Cryptoki; readonly handle: bigint };

const foundAtOnce = 100;
/** An ECDSA signature of P-384 has 96 bytes, a digest 32, a wrapped key about 150. */
const outputBytes = 512;

export function findObjects({ cryptoki, handle }: Session, template: Template): readonly bigint[] {
  const encoded = encodeTemplate(cryptoki, template);
  cryptoki.call('C_FindObjectsInit', handle, encoded, template.length);
  const found: bigint[] = [];
  const page = createBuffer(foundAtOnce * ulongBytes);
  const count = createBuffer(ulongBytes);
  try {
    do {
      cryptoki.call('C_FindObjects', handle, page, foundAtOnce, count);
      found.push(...Array.from({ length: readUlong(count) }, (_, index) => page.readBigUInt64LE(index * ulongBytes)));
    } while (readUlong(count) === foundAtOnce);
  } finally {
    cryptoki.call('C_FindObjectsFinal', handle);
  }
  return found;
}

/** The longest attribute read: a label of 200 characters. */
const attributeBytes = 256;

/** @returns the values in the order of `types` @throws CryptokiError when the object lacks one, or when one is secret */
export function getAttributes({ cryptoki, handle }: Session, object: bigint, types: readonly number[]): readonly Uint8Array[] {
  const request = encodeRequest(cryptoki, types, attributeBytes);
  cryptoki.call('C_GetAttributeValue', handle, object, request, types.length);
  return decodeRequest(request, types.length, attributeBytes);
}

export function createObject({ cryptoki, handle }: Session, template: Template): bigint {
  const encoded = encodeTemplate(cryptoki, template);
  const object = createBuffer(ulongBytes);
  try {
    cryptoki.call('C_CreateObject', handle, encoded, template.length, object);
  } finally {
    encoded.fill(0);
  }
  return object.readBigUInt64LE();
}

export const destroyObject = ({ cryptoki, handle }: Session, object: bigint): void => cryptoki.call('C_DestroyObject', handle, object);

export async function generateSecret({ cryptoki, handle }: Session, type: number, template: Template): Promise<bigint> {
  const object = createBuffer(ulongBytes);
  const encoded = encodeTemplate(cryptoki, template);
  await cryptoki.callSlow('C_GenerateKey', handle, encodeMechanism(type), encoded, template.length, object);
  return object.readBigUInt64LE();
}

export type PairHandles = { readonly publicKey: bigint; readonly privateKey: bigint };

export async function generatePair(
  { cryptoki, handle }: Session,
  type: number,
  publicTemplate: Template,
  privateTemplate: Template,
): Promise<PairHandles> {
  const [publicKey, privateKey] = [createBuffer(ulongBytes), createBuffer(ulongBytes)];
  const [publicPart, privatePart] = [encodeTemplate(cryptoki, publicTemplate), encodeTemplate(cryptoki, privateTemplate)];
  const parts = [publicPart, publicTemplate.length, privatePart, privateTemplate.length] as const;
  await cryptoki.callSlow('C_GenerateKeyPair', handle, encodeMechanism(type), ...parts, publicKey, privateKey);
  return { publicKey: publicKey.readBigUInt64LE(), privateKey: privateKey.readBigUInt64LE() };
}

/** @param mechanism encoded */
export async function deriveKey({ cryptoki, handle }: Session, mechanism: Uint8Array, base: bigint, template: Template): Promise<bigint> {
  const object = createBuffer(ulongBytes);
  const encoded = encodeTemplate(cryptoki, template);
  await cryptoki.callSlow('C_DeriveKey', handle, mechanism, base, encoded, template.length, object);
  return object.readBigUInt64LE();
}

export async function wrapObject({ cryptoki, handle }: Session, type: number, wrapping: bigint, object: bigint): Promise<Uint8Array> {
  const [output, length] = [createBuffer(outputBytes), encodeUlong(outputBytes)];
  await cryptoki.callSlow('C_WrapKey', handle, encodeMechanism(type), wrapping, object, output, length);
  return Uint8Array.from(output.subarray(0, readUlong(length)));
}

export async function unwrapObject(
  { cryptoki, handle }: Session,
  type: number,
  wrapping: bigint,
  wrapped: Uint8Array,
  template: Template,
): Promise<bigint> {
  const object = createBuffer(ulongBytes);
  const encoded = encodeTemplate(cryptoki, template);
  const input = copyOf(wrapped);
  await cryptoki.callSlow('C_UnwrapKey', handle, encodeMechanism(type), wrapping, input, input.length, encoded, template.length, object);
  return object.readBigUInt64LE();
}

/** @param data what the mechanism signs: the digest for CKM_ECDSA, the message for an HMAC */
export async function signWith({ cryptoki, handle }: Session, type: number, key: bigint, data: Uint8Array): Promise<Uint8Array> {
  const [input, output, length] = [copyOf(data), createBuffer(outputBytes), encodeUlong(outputBytes)];
  cryptoki.call('C_SignInit', handle, encodeMechanism(type), key);
  await cryptoki.callSlow('C_Sign', handle, input, input.length, output, length);
  return Uint8Array.from(output.subarray(0, readUlong(length)));
}

/** Digest of `head` followed by the value of a secret key, which stays in the token. */
export function digestKey({ cryptoki, handle }: Session, type: number, head: Uint8Array, key: bigint): Uint8Array {
  const [input, output, length] = [copyOf(head), createBuffer(outputBytes), encodeUlong(outputBytes)];
  cryptoki.call('C_DigestInit', handle, encodeMechanism(type));
  cryptoki.call('C_DigestUpdate', handle, input, input.length);
  cryptoki.call('C_DigestKey', handle, key);
  cryptoki.call('C_DigestFinal', handle, output, length);
  return Uint8Array.from(output.subarray(0, readUlong(length)));
}

function copyOf(bytes: Uint8Array): Buffer {
  const buffer = createBuffer(bytes.length);
  buffer.set(bytes);
  return buffer;
}

const readUlong = (buffer: Uint8Array): number => Number(new DataView(buffer.buffer, buffer.byteOffset).getBigUint64(0, true));
