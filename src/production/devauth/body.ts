import { decodeCbor } from '../../cbor/decode.ts';
import { encodeCbor } from '../../cbor/encode.ts';
import type { Codec } from '../../cbor/schema.ts';
import { isMap, malformed } from '../../cbor/value.ts';
import { DevAuthError, type DevAuthReason, devAuthCodes, devAuthMalformed, reasonOf } from './error.ts';
import { maxBodyDepth } from './header.ts';

/** The map of a response: {0: 0, …fields} or {0: code} alone. */

const codeKey = 0;

export function encodeOk<T>(codec: Codec<T>, value: T): Uint8Array {
  const fields = codec.encode(value, 'response');
  if (!isMap(fields)) throw malformed('a response is a map');
  return encodeCbor(new Map([[codeKey, devAuthCodes.ok], ...fields]), maxBodyDepth);
}

export const encodeRefusal = (reason: DevAuthReason): Uint8Array => encodeCbor(new Map([[codeKey, devAuthCodes[reason]]]));

/** @throws DevAuthError for a refusal; NusecError CBOR_MALFORMED, DEVAUTH_MALFORMED for what is no response */
export function decodeResponse<T>(codec: Codec<T>, body: Uint8Array): T {
  const map = decodeCbor(body, maxBodyDepth);
  const code = isMap(map) ? map.get(codeKey) : undefined;
  if (!isMap(map) || typeof code !== 'number') throw devAuthMalformed('no code in the response');
  if (code === devAuthCodes.ok) return codec.decode(new Map([...map].filter(([key]) => key !== codeKey)), 'response');
  const reason = reasonOf(code);
  if (!reason || map.size !== 1) throw devAuthMalformed('unknown code in the response');
  throw new DevAuthError(reason);
}
