import { NusecError } from '../errors.ts';
import { watchKey } from '../services/base/alarms.ts';
import { certifyOperational } from '../services/identity/operational.ts';
import type { TlsIdentity } from '../services/identity/serverCertificate.ts';
import type { Peers } from '../services/processes/peers.ts';
import type { Field } from '../services/start/field.ts';
import type { Services } from '../services/start/services.ts';
import { type BrokerOptions, createBroker } from './broker/broker.ts';
import type { Handler, Handlers } from './broker/handler.ts';
import type { Identity } from './broker/identity.ts';
import type { GatewayLimits } from './broker/limits.ts';
import { clientIdOf } from './broker/rights.ts';
import { type BundlePush, createBundlePush } from './reach/bundles.ts';
import type { Channel } from './reach/channel.ts';
import { eatHandler, spdmHandler } from './topics/attestation.ts';
import { type CertificateParts, certificateHandler } from './topics/certificates.ts';
import { evidenceHandler } from './topics/evidence.ts';
import { helloHandler } from './topics/hello.ts';
import { orderHandler } from './topics/orders.ts';
import { otaHandler } from './topics/ota.ts';
import { jobHandler } from './topics/otaJobs.ts';
import { trustHandler } from './topics/trust.ts';

export type GatewayParts = Pick<Services, 'ctx' | 'trust' | 'certificateUse' | 'revocations' | 'alarms'> & {
  readonly field: Field;
  readonly channel: Channel;
  readonly peers: Pick<Peers<never>, 'connected' | 'gone' | 'onConnected' | 'notify' | 'onNotice'> & {
    readonly holding: (clientId: string) => unknown;
  };
  readonly staple: NonNullable<BrokerOptions['staple']>;
};

/** The MQTT side of the server: broker, rights, topic handlers. It completes the channel by which services reach devices. */
export async function startGateway(
  parts: GatewayParts,
  tls: TlsIdentity,
  { allowTls12, limits }: { allowTls12: boolean; limits: Partial<GatewayLimits> },
) {
  const { ctx, trust, revocations, alarms, field, channel, peers } = parts;
  let bundles: BundlePush | undefined;
  const broker = await createBroker({
    tls: { key: tls.key, cert: tls.cert, ca: tls.clientRootsPem, allowTls12 },
    trust: {
      async checkClient(leaf, isVerified) {
        // The broker asks for revocations at every connect, and then knows whose certificate it was.
        const { kind, id, serialHex, certificateSha256 } = await trust.identify(leaf, { isRevoked: () => false, isVerified });
        if (kind === 'device') return { kind, uid: id, serialHex, certificateSha256 };
        if (kind === 'gateway') {
          field.attachments.requireKnown();
          return { kind, gatewayId: id, serialHex, certificateSha256 };
        }
        throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'programmers do not speak MQTT');
      },
    },
    isRevoked: revocations.isRevoked,
    staple: parts.staple,
    isElsewhere: clientId => peers.holding(clientId) !== undefined,
    isAttached: field.attachments.isAttached,
    hasServed: field.attachments.hasServed,
    handlers: handlersFor(parts),
    onPresence(event) {
      const clientId = event.identity && clientIdOf(event.identity);
      const { at: atMs, state, remoteAddress: address } = event;
      const why = event.state === 'connected' ? {} : { reason: event.reason, detail: event.detail };
      field.presence.note({ atMs, state, clientId, address, ...why });
      if (clientId && event.state === 'connected') peers.connected(clientId, event.at);
      if (clientId && event.state === 'disconnected' && !broker.isOnline(clientId)) peers.gone(clientId);
      if (event.state === 'connected' && event.identity) parts.certificateUse.used(machineIn(event.identity));
      if (event.state === 'connected' && event.identity?.kind === 'gateway') bundles?.connected(event.identity.gatewayId);
    },
    onAlarm({ kind, identity, detail }) {
      const subject = identity === null ? 'mqtt' : 'uid' in identity ? identity.uid : identity.gatewayId;
      alarms.raise({ code: kind, subject, detail }).catch(error => ctx.log.error({ error: String(error) }, 'the alarm was not recorded'));
    },
    limits,
    now: () => ctx.clock().getTime(),
  });
  revocations.onChange(change => {
    if (change.revoked) broker.disconnectBySerial(change.serialHex, 'REVOKED');
  });
  trust.onChange(() => void broker.trustChanged());
  peers.onConnected(broker.connectedElsewhere);
  field.presence.watchPort(broker.stats);
  channel.connect(broker);
  bundles = createBundlePush(ctx, field.gatewayBundles, broker);
  return {
    renew: (next: TlsIdentity): void => broker.setTls({ key: next.key, cert: next.cert, ca: next.clientRootsPem, allowTls12 }),
    setTicketKeys: broker.setTicketKeys,
    listen: broker.listen,
    serveWebSockets: broker.serveWebSockets,
    /** Takes the connections of a TLS terminator of this machine. @param path of the socket @throws NusecError as listenBehindProxy */
    listenBehindProxy: (path: string): Promise<void> =>
      broker.listenBehindProxy(path, sha256 => ctx.blobs.get(sha256).catch(() => undefined)),
    close: broker.close,
  };
}

const machineIn = (identity: Identity) => ({ ...identity, id: identity.kind === 'device' ? identity.uid : identity.gatewayId });

function handlersFor({ ctx, alarms, field, channel, peers }: GatewayParts): Handlers {
  const now = (): number => ctx.clock().getTime();
  const certify: CertificateParts['certify'] = (device, csr) =>
    watchKey(alarms, `device-${device.uid}`, () => certifyOperational(ctx, device, csr));
  return {
    hello: helloHandler(field, channel),
    spdm: spdmHandler(channel),
    eat: eatHandler(channel),
    evidence: evidenceHandler(channel),
    order: orderHandler(channel, field.decommissions),
    job: jobHandler(ctx, field.delivery),
    ota: otaHandler(field.delivery),
    trust: trustHandler(channel),
    csr: certificateHandler({ certify, now, peers }),
    lwt: acknowledge,
  };
}

/** The last will is ignored: presence reports the same. */
const acknowledge: Handler = async () => undefined;
