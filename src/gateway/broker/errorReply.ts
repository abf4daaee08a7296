import { decodeCbor } from '../../cbor/decode.ts';
import { encodeCbor } from '../../cbor/encode.ts';
import { isMap } from '../../cbor/value.ts';
import { type ErrorCode, NusecError } from '../../errors.ts';
import { errorKey, payloadKey } from '../../mqttTopics.ts';

/** What `…/dn/err` carries: {0: cid of the request when it had one, 1: code, 2: text}. An unknown error is reported as INTERNAL, without details. */
export function errorReply(request: Uint8Array, error: unknown): Uint8Array {
  const known = error instanceof NusecError ? error : new NusecError('INTERNAL', '');
  const cid = cidOf(request);
  const entries: [number, number | string][] = [
    [errorKey.code, known.code satisfies ErrorCode],
    [errorKey.text, known.message],
  ];
  if (cid !== undefined) entries.push([errorKey.cid, cid]);
  return encodeCbor(new Map(entries));
}

/** The correlation id of a payload: an unsigned integer under key 0 of its map; undefined when there is none, whatever the bytes are. */
export function cidOf(payload: Uint8Array): number | undefined {
  try {
    const value = decodeCbor(payload);
    const cid = isMap(value) ? value.get(payloadKey.cid) : undefined;
    return typeof cid === 'number' && cid >= 0 ? cid : undefined;
  } catch {
    return undefined;
  }
}
