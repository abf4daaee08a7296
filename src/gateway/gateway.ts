import { NusecError } from '../errors.ts';
import type { DeviceChannel } from '../services/deviceChannel.ts';
import type { TlsIdentity } from '../services/serverCertificate.ts';
import type { Services } from '../services/services.ts';
import { createBroker } from './broker.ts';

/** The MQTT side of the server: broker, rights, topic handlers, and the channel by which services reach devices. */
export async function startGateway(services: Omit<Services, 'channel'>, tls: TlsIdentity) {
  const { ctx, trust, revocations, alarms } = services;
  const broker = await createBroker({
    tls: { key: tls.key, cert: tls.cert, ca: tls.rootPem },
    trust: {
      checkClient([leaf]) {
        if (leaf === undefined) throw new NusecError('CLIENT_CERTIFICATE_REQUIRED', 'no client certificate');
        const { kind, id, serialHex, certificateSha256 } = trust.identify(leaf);
        if (kind === 'device') return { kind, uid: id, serialHex, certificateSha256 };
        if (kind === 'gateway') return { kind, gatewayId: id, serialHex, certificateSha256 };
        throw new NusecError('CLIENT_CERTIFICATE_REFUSED', 'programmers do not speak MQTT');
      },
    },
    isRevoked: revocations.isRevoked,
    isAttached: () => false,
    handlers: {},
    onPresence: event => ctx.log.debug(event, 'presence'),
    onAlarm: alarm =>
      void alarms.raise({
        code: alarm.kind,
        subject: alarm.identity === null ? 'mqtt' : 'uid' in alarm.identity ? alarm.identity.uid : alarm.identity.gatewayId,
        detail: alarm.detail,
      }),
    now: () => ctx.clock().getTime(),
  });
  revocations.onChange(change => {
    if (change.revoked) broker.disconnectBySerial(change.serialHex, 'REVOKED');
  });
  trust.onChange(() => broker.trustChanged());
  const channel: DeviceChannel = {
    isConnected: broker.isConnected,
    spdm: () => Promise.reject(new NusecError('DEVICE_UNREACHABLE', 'not connected')),
    attestThroughGateway: () => Promise.reject(new NusecError('DEVICE_UNREACHABLE', 'not connected')),
    order: () => Promise.reject(new NusecError('DEVICE_UNREACHABLE', 'not connected')),
    offerJob: async () => false,
  };
  return {
    channel,
    renew: broker.setTls,
    async listen(port: number, host: string): Promise<number> {
      await broker.listen(port, host);
      return broker.port();
    },
    close: () => broker.close(),
  };
}
