import { type Cryptoki, createBuffer, ulongBytes } from './cryptoki.ts';

/** CK_ATTRIBUTE arrays and CK_MECHANISM as the module reads them: each in one buffer that also holds the values it points to. */

/** Booleans take one byte, numbers one CK_ULONG. */
type AttributeValue = boolean | number | Uint8Array;
export type Template = readonly (readonly [type: number, value: AttributeValue])[];

/** CK_ATTRIBUTE and CK_MECHANISM alike: type, pointer, length. */
const recordBytes = 3 * ulongBytes;

export const encodeUlong = (value: number): Uint8Array => {
  const buffer = createBuffer(ulongBytes);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
};

/** @returns one buffer; the caller wipes it when a value is secret */
export function encodeTemplate(cryptoki: Cryptoki, template: Template): Buffer {
  const values = template.map(([, value]) => encodeValue(value));
  const buffer = createBuffer(values.reduce((sum, value) => sum + value.length, template.length * recordBytes));
  const address = cryptoki.addressOf(buffer);
  let at = template.length * recordBytes;
  for (const [index, value] of values.entries()) {
    writeRecord(buffer, index * recordBytes, template[index]?.[0] ?? 0, address + BigInt(at), value.length);
    buffer.set(value, at);
    at += value.length;
  }
  return buffer;
}

function encodeValue(value: AttributeValue): Uint8Array {
  if (typeof value === 'boolean') return Uint8Array.of(value ? 1 : 0);
  return typeof value === 'number' ? encodeUlong(value) : value;
}

/** Room for the values of `types`, `valueBytes` each, to be filled by C_GetAttributeValue. */
export function encodeRequest(cryptoki: Cryptoki, types: readonly number[], valueBytes: number): Buffer {
  const buffer = createBuffer(types.length * (recordBytes + valueBytes));
  const address = cryptoki.addressOf(buffer);
  for (const [index, type] of types.entries()) {
    const at = types.length * recordBytes + index * valueBytes;
    writeRecord(buffer, index * recordBytes, type, address + BigInt(at), valueBytes);
  }
  return buffer;
}

/** @returns the values of an answered request, in its order */
export function decodeRequest(buffer: Buffer, count: number, valueBytes: number): readonly Uint8Array[] {
  return Array.from({ length: count }, (_, index) => {
    const length = Number(buffer.readBigUInt64LE(index * recordBytes + 2 * ulongBytes));
    const at = count * recordBytes + index * valueBytes;
    return Uint8Array.from(buffer.subarray(at, at + length));
  });
}

/** A mechanism with nothing but its name. */
export function encodeMechanism(type: number): Uint8Array {
  const buffer = createBuffer(recordBytes);
  writeRecord(buffer, 0, type, 0n, 0);
  return buffer;
}

/** CK_ECDH1_DERIVE_PARAMS: kdf, shared data (none), the peer's uncompressed point. */
export function encodeEcdh(cryptoki: Cryptoki, type: number, kdf: number, peerPoint: Uint8Array): Uint8Array {
  const paramsBytes = 5 * ulongBytes;
  const buffer = createBuffer(recordBytes + paramsBytes + peerPoint.length);
  const address = cryptoki.addressOf(buffer);
  writeRecord(buffer, 0, type, address + BigInt(recordBytes), paramsBytes);
  buffer.writeBigUInt64LE(BigInt(kdf), recordBytes);
  buffer.writeBigUInt64LE(BigInt(peerPoint.length), recordBytes + 3 * ulongBytes);
  buffer.writeBigUInt64LE(address + BigInt(recordBytes + paramsBytes), recordBytes + 4 * ulongBytes);
  buffer.set(peerPoint, recordBytes + paramsBytes);
  return buffer;
}

/** CK_AES_CBC_ENCRYPT_DATA_PARAMS: iv (zero), the data whose encryption is the derived key. @param data whole AES blocks */
export function encodeCbcData(cryptoki: Cryptoki, type: number, data: Uint8Array): Uint8Array {
  const ivBytes = 16;
  const paramsBytes = ivBytes + 2 * ulongBytes;
  const buffer = createBuffer(recordBytes + paramsBytes + data.length);
  const address = cryptoki.addressOf(buffer);
  writeRecord(buffer, 0, type, address + BigInt(recordBytes), paramsBytes);
  buffer.writeBigUInt64LE(address + BigInt(recordBytes + paramsBytes), recordBytes + ivBytes);
  buffer.writeBigUInt64LE(BigInt(data.length), recordBytes + ivBytes + ulongBytes);
  buffer.set(data, recordBytes + paramsBytes);
  return buffer;
}

function writeRecord(buffer: Buffer, at: number, type: number, address: bigint, length: number): void {
  buffer.writeBigUInt64LE(BigInt(type), at);
  buffer.writeBigUInt64LE(address, at + ulongBytes);
  buffer.writeBigUInt64LE(BigInt(length), at + 2 * ulongBytes);
}
