import { NusecError } from '../../errors.ts';
import {
  type DownFamily,
  deviceDownPrefix,
  deviceUpPrefix,
  gatewayDownPrefix,
  gatewayPrefix,
  type UpFamily,
  upFamilies,
} from '../../mqttTopics.ts';
import type { Identity } from './identity.ts';

/** What a topic says once it is found to be within the rights of the connection. `path` is what follows the family (`job/next` → ['next']). */
export type UpTopic = { readonly uid: string; readonly family: UpFamily; readonly path: readonly string[] };

/** Levels after the family: docs/mqtt.md. */
const pathLevels: Readonly<Record<UpFamily, number>> = {
  hello: 0,
  eat: 0,
  spdm: 0,
  job: 1,
  ota: 1,
  order: 0,
  evidence: 0,
  csr: 0,
  trust: 0,
  lwt: 0,
};
const uidForm = /^[0-9a-f]{32}$/;
const levelForm = /^[A-Za-z0-9_-]{1,64}$/;

/** Reads an upward topic with the rights of the certificate: exact prefix, known family, no further freedom (RULE-9).
 *  Whether a gateway speaks for an attached device is not decided here.
 *  @throws NusecError TOPIC_FORBIDDEN */
export function parseUpTopic(identity: Identity, topic: string): UpTopic {
  return identity.kind === 'device' ? parseDeviceTopic(identity.uid, topic) : parseGatewayTopic(identity.gatewayId, topic);
}

function parseDeviceTopic(uid: string, topic: string): UpTopic {
  const prefix = deviceUpPrefix(uid);
  if (!topic.startsWith(prefix)) throw forbidden();
  return parseFamily(uid, topic.slice(prefix.length));
}

function parseGatewayTopic(gatewayId: string, topic: string): UpTopic {
  const prefix = gatewayPrefix(gatewayId);
  if (!topic.startsWith(prefix)) throw forbidden();
  const [uid, up, ...rest] = topic.slice(prefix.length).split('/');
  if (uid === undefined || !uidForm.test(uid) || up !== 'up') throw forbidden();
  return parseFamily(uid, rest.join('/'));
}

function parseFamily(uid: string, text: string): UpTopic {
  const [name, ...path] = text.split('/');
  const family = upFamilies.find(known => known === name);
  if (family === undefined || path.length !== pathLevels[family] || !path.every(level => levelForm.test(level))) throw forbidden();
  return { uid, family, path };
}

const forbidden = (): NusecError => new NusecError('TOPIC_FORBIDDEN', 'not a topic of this certificate');

/** Everything below this prefix belongs to the connection. */
export const downPrefixOf = (identity: Identity): string =>
  identity.kind === 'device' ? deviceDownPrefix(identity.uid) : gatewayDownPrefix(identity.gatewayId);

/** `uid` is empty when the gateway itself is meant. */
export function downTopic(identity: Identity, uid: string, family: DownFamily): string {
  return `${downPrefixOf(identity)}${identity.kind === 'gateway' && uid !== '' ? `${uid}/` : ''}${family}`;
}
