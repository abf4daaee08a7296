import { Decoder } from 'cbor-x';

/** Another implementation's reading of CBOR bytes, maps as `Map`. Of a copy: cbor-x leaves a property of its own on the array it reads, and `toEqual` sees it. */
export const decodeWithCborX = (bytes: Uint8Array) => new Decoder({ mapsAsObjects: false, useRecords: false }).decode(bytes.slice());
