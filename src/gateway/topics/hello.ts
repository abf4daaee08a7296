import { toHex } from '../../bytes.ts';
import { decodeAs } from '../../cbor/schema.ts';
import { helloMessage } from '../../mqttMessages.ts';
import type { Field } from '../../services/start/field.ts';
import type { Handler } from '../broker/handler.ts';
import type { Channel } from '../reach/channel.ts';

/** up/hello: a device is here. PUBACK says that it is recorded; what follows from it comes later on other topics. */
export const helloHandler =
  (field: Pick<Field, 'hello'>, channel: Pick<Channel, 'restarted'>): Handler =>
  async ({ uid, identity, payload }) => {
    const { version, securityCounter, imageHash, imageState, objId, bundleVersion, roots } = decodeAs(helloMessage, payload);
    channel.restarted(uid);
    const hello = { version, securityCounter, imageHash: toHex(imageHash), imageState, objId: toHex(objId) };
    if (identity.kind === 'gateway') return field.hello(uid, hello, `gateway:${identity.gatewayId}`);
    const trust = bundleVersion === undefined || roots === undefined ? undefined : { bundleVersion, roots: roots.map(toHex) };
    await field.hello(uid, hello, 'mqtt', { serialHex: identity.serialHex, validity: identity.validity, trust });
  };
