import { createPrivateKey, randomBytes, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultBackoff } from '../../../gateway-device/link/backoff.ts';
import { connectMqtt } from '../../../gateway-device/link/mqttClient.ts';
import { fromHex } from '../../../src/bytes.ts';
import { decodeAs, encodeAs } from '../../../src/cbor/schema.ts';
import { instanceIdOfKey } from '../../../src/eat/psaClaims.ts';
import { signToken } from '../../../src/eat/psaToken.ts';
import { derToRaw } from '../../../src/ecdsa.ts';
import type { CheckPki } from '../../../src/gateway/conformance/testPki.ts';
import { eatAnswer, eatQuestion, helloMessage, orderMessage, orderReply, spdmMessage } from '../../../src/mqttMessages.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { requestCode } from '../../../src/spdm/constants.ts';
import { measurementType } from '../../../src/spdm/measurement.ts';
import { createResponder } from '../../../src/spdm/responder/responder.ts';
import { decodeTyped, encodeTyped } from '../../../src/spdm/transport/mqtt.ts';

/** The firmware of a device as the contract wants it; each fault is one thing it does otherwise. `slow` is none: it signs later than it answers. */
export type Fault = 'slow' | 'silent' | 'otherObjId' | 'noAnswer' | 'otherAnswer' | 'wrongKey' | 'leaves' | 'obeys' | 'deaf';

const claimsOf = ({ deviceChain }: CheckPki) => ({
  clientId: -1,
  instanceId: instanceIdOfKey(parseCertificate(deviceChain.at(-1) as Uint8Array).spki),
  implementationId: new Uint8Array(32),
  lifeCycle: 'secured' as const,
  components: [{ type: 'App', value: new Uint8Array(32), signerId: new Uint8Array(32) }],
});

export function startFirmware(pki: CheckPki, folder: string, port: number, fault?: Fault) {
  const read = (file: string): string => readFileSync(join(folder, file), 'utf8');
  const key = read('device.key');
  const signing = fault === 'wrongKey' ? read('server.key') : key;
  const random = (bytes: number): Uint8Array => new Uint8Array(randomBytes(bytes));
  const signRaw = async (input: Uint8Array) => derToRaw(new Uint8Array(sign('sha256', input, createPrivateKey(signing))), 32) as Uint8Array;
  const responder = createResponder({
    slots: [{ certificates: [...pki.deviceChain], sign: signRaw }],
    randomBytes: random,
    defers: code => fault === 'slow' && (code === requestCode.challenge || code === requestCode.getMeasurements),
    measurements: () => [{ index: 1, type: measurementType.mutableFirmware, form: 'digest', value: new Uint8Array(32) }],
  });
  const hello = (): void => {
    if (fault === 'silent') return;
    const objId = fault === 'otherObjId' ? random(16) : fromHex(pki.objId);
    const facts = { version: '1.0.0', securityCounter: 1, imageHash: new Uint8Array(32), bootCount: 1, imageState: 'confirmed' as const };
    client.publish('hello', encodeAs(helloMessage, { cid: 1, ...facts, objId })).catch(() => undefined);
  };
  const client = connectMqtt({
    ...{ host: '127.0.0.1', port, servername: 'localhost', identity: { kind: 'device' as const, uid: pki.uid } },
    tls: { key, cert: read('device.pem'), ca: pki.rootPem },
    backoff: { ...defaultBackoff, maxReconnectMs: 2_000 },
    onOnline: hello,
    onOffline: () => {
      if (fault === 'deaf') void client.close();
    },
  });
  const replies = new Map<number, Uint8Array>();
  let turn: Promise<unknown> = Promise.resolve();
  client.on('spdm', payload => {
    if (fault === 'noAnswer') return;
    turn = turn.then(async () => {
      const { cid, data } = decodeAs(spdmMessage, payload);
      const answer = replies.get(cid) ?? encodeTyped((await responder.handle(decodeTyped(data))) as never);
      replies.set(cid, fault === 'otherAnswer' ? Uint8Array.from([...answer, 0]) : answer);
      await client.publish('spdm', encodeAs(spdmMessage, { cid, data: answer }));
    });
    turn.catch(() => undefined);
  });
  const tokens = new Map<number, Promise<Uint8Array>>();
  client.on('eat', payload => {
    const { cid, nonce } = decodeAs(eatQuestion, payload);
    const token = tokens.get(cid) ?? signToken({ ...claimsOf(pki), nonce }, signRaw);
    tokens.set(cid, token);
    token.then(bytes => client.publish('eat', encodeAs(eatAnswer, { cid, token: bytes }))).catch(() => undefined);
  });
  client.on('order', payload => {
    try {
      const { cid } = decodeAs(orderMessage, payload);
      const reply = fault === 'obeys' ? { receipt: random(64) } : { receipt: null, error: 'COSE_MALFORMED' };
      client.publish('order', encodeAs(orderReply, { cid, ...reply })).catch(() => undefined);
    } catch {
      if (fault === 'leaves') void client.close();
    }
  });
  return client;
}
