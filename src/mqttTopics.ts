/** The names both ends of the MQTT connection share: topics, families and the sizes of what travels (docs/mqtt.md).
 *
 *  Device   up `n1/{uid}/up/{family}[/…]`              down `n1/{uid}/dn/{family}`
 *  Gateway  up `n1/g/{gateway}/{uid}/up/{family}[/…]`  down `n1/g/{gateway}/dn/{uid}/{family}`, to itself `n1/g/{gateway}/dn/{family}` */

export const upFamilies = ['hello', 'spdm', 'eat', 'job', 'ota', 'order', 'evidence', 'csr', 'trust', 'lwt'] as const;
export type UpFamily = (typeof upFamilies)[number];

export const downFamilies = ['spdm', 'eat', 'job', 'ota', 'crt', 'order', 'attest', 'bundle', 'trust', 'err'] as const;
export type DownFamily = (typeof downFamilies)[number];

export const maxPayloadBytes = 128 * 1024;
export const maxWillBytes = 128;

const version = 'n1';

export const deviceUpPrefix = (uid: string): string => `${version}/${uid}/up/`;
export const deviceDownPrefix = (uid: string): string => `${version}/${uid}/dn/`;
export const gatewayPrefix = (gateway: string): string => `${version}/g/${gateway}/`;
export const gatewayDownPrefix = (gateway: string): string => `${gatewayPrefix(gateway)}dn/`;

/** The only topic a last will may have. */
export const willTopic = (uid: string): string => `${deviceUpPrefix(uid)}lwt`;

/** Where MQTT over WebSocket is spoken on the HTTPS port. */
export const webSocketPath = '/mqtt';

/** Client ids: a device connects as its uid, a gateway as `gateway-{id}`, so that the two can never collide. */
export const gatewayClientId = (gateway: string): string => `gateway-${gateway}`;

/** Keys of the map every CBOR payload is, and of the map on `…/dn/err`. */
export const payloadKey = { cid: 0 } as const;
export const errorKey = { cid: 0, code: 1, text: 2 } as const;
