import { decodeCbor } from '../../src/cbor/decode.ts';
import { encodeCbor } from '../../src/cbor/encode.ts';
import { type CborKey, type CborMap, type CborValue, isMap } from '../../src/cbor/value.ts';
import { type ErrorCode, errorCodes, NusecError } from '../../src/errors.ts';
import { type DownFamily, errorKey, payloadKey } from '../../src/mqttTopics.ts';
import { within } from '../../src/within.ts';

export type DownHandler = (payload: Uint8Array, uid: string) => void;

export type MqttRequest = {
  /** Family and path behind `…/up/`, such as `job/next`. */
  readonly up: string;
  readonly down: DownFamily;
  /** The payload without its cid. */
  readonly fields: CborMap;
  /** The device behind a gateway. */
  readonly uid?: string;
  readonly qos?: 0 | 1;
  readonly timeoutMs?: number;
  readonly attempts?: number;
};

/** The part of a client a request needs. */
export type Exchanger = {
  connected(): Promise<void>;
  publish(up: string, payload: Uint8Array, options: { uid?: string; qos?: 0 | 1 }): Promise<void>;
  on(family: DownFamily, handler: DownHandler): () => void;
};

const defaultTimeoutMs = 5_000;
const defaultAttempts = 3;

/** Sends {…fields, 0: cid} and waits for the answer with the same cid. The same bytes are sent again after a time-out,
 *  and the server answers a repeated cid from its cache instead of doing the work twice.
 *  @throws NusecError with the code of `…/dn/err`; Error when no attempt was answered */
export async function exchange(client: Exchanger, request: MqttRequest, cid: number): Promise<CborMap> {
  const { attempts = defaultAttempts, timeoutMs = defaultTimeoutMs, uid, qos = 1 } = request;
  const payload = encodeCbor(new Map<CborKey, CborValue>([...request.fields, [payloadKey.cid, cid]]));
  const answer = listen(client, request, cid);
  try {
    for (let tried = 0; tried < attempts; tried += 1) {
      const isOnline = await within(
        client.connected().then(() => true),
        timeoutMs,
      );
      if (!isOnline) continue;
      client.publish(request.up, payload, { qos, ...(uid !== undefined && { uid }) }).catch(ignoreLoss);
      const result = await within(answer.promise, timeoutMs);
      if (result !== undefined) return result;
    }
    throw new Error(`no answer on ${request.down} after ${attempts} attempts`);
  } finally {
    answer.stop();
  }
}

function listen(client: Exchanger, { uid, down }: MqttRequest, cid: number): { promise: Promise<CborMap>; stop: () => void } {
  const answer = Promise.withResolvers<CborMap>();
  answer.promise.catch(ignoreLoss);
  const whenMine = (use: (map: CborMap) => void) => (bytes: Uint8Array, from: string) => {
    const map = readMap(bytes);
    if (map?.get(payloadKey.cid) === cid && (uid === undefined || uid === from)) use(map);
  };
  const ends = [
    client.on(down, whenMine(answer.resolve)),
    client.on(
      'err',
      whenMine(map => answer.reject(toError(map))),
    ),
  ];
  const stop = (): void => {
    for (const end of ends) end();
  };
  return { promise: answer.promise, stop };
}

/** A lost message shows as a missing answer; the next attempt repeats it. */
function ignoreLoss(): void {}

function readMap(bytes: Uint8Array): CborMap | undefined {
  try {
    const value = decodeCbor(bytes);
    return isMap(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function toError(map: CborMap): NusecError {
  const code = errorCodes.find((known: ErrorCode) => known === map.get(errorKey.code)) ?? 'INTERNAL';
  return new NusecError(code, String(map.get(errorKey.text) ?? ''));
}
