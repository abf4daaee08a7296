import { join } from 'node:path';
import { createApi } from './api/app.ts';
import { createAuth } from './api/auth.ts';
import { endWhenRevoked, staple } from './api/liveConnections.ts';
import { resources } from './api/resources.ts';
import { closeServer, createApiServer, createCrlServer, listen } from './api/server.ts';
import type { Settings } from './config.ts';
import { startGateway } from './gateway/mqttServer.ts';
import { createChannel } from './gateway/reach/channel.ts';
import { authenticateOperator } from './services/administration/operators.ts';
import { createAlarms } from './services/base/alarms.ts';
import { openContext } from './services/dataFolder/open.ts';
import { type PeerAnswers, peerQuestions } from './services/field/clusterChannel.ts';
import { startClientTrust } from './services/identity/clientTrust.ts';
import { issueServerIdentity, startTlsRenewal } from './services/identity/serverCertificate.ts';
import { whileLeading } from './services/processes/leadership.ts';
import { openPeerLinks } from './services/processes/peerLinks.ts';
import { createPeers } from './services/processes/peers.ts';
import { maxProcessSlots } from './services/processes/processSlots.ts';
import { createBulkRevocations } from './services/revocation/bulkRevocations.ts';
import { startOcsp } from './services/revocation/ocsp.ts';
import { checkRevocationMark } from './services/revocation/revocationMark.ts';
import { startRevocations } from './services/revocation/revocations.ts';
import { startField } from './services/start/field.ts';
import { startHousekeeping } from './services/start/housekeeping.ts';
import type { Services } from './services/start/services.ts';

/** Wires one server process: event store, keystore, read models, API, MQTT gateway, CRL address. The only place that knows all parts. */

export type RunningServer = {
  readonly httpsPort: number;
  readonly mqttPort: number;
  readonly crlPort: number;
  /** An error that nobody took: an alarm. Work for one device that fails must not take the server from all others. */
  fault(error: unknown): void;
  close(): Promise<void>;
};

/** @throws NusecError when the data folder does not open, the project is not initialised or a port is taken */
export async function startServer(settings: Settings): Promise<RunningServer> {
  const opened = await openContext(settings, { https: settings.httpsPort, crl: settings.crlPort });
  const { ctx } = opened;
  const alarms = createAlarms(ctx);
  const revocations = await startRevocations(ctx);
  const markFile = settings.markFile ?? join(settings.dataDir, 'revocations.mark');
  await checkRevocationMark({ ctx, alarms, revocations }, markFile, settings.acceptOlderStore).catch(async error => {
    await revocations.close();
    await opened.close();
    throw error;
  });
  const trust = await startClientTrust(ctx, revocations);
  const ocsp = await startOcsp(ctx, revocations);
  const names = [settings.publicHost, settings.host];
  const tls = await issueServerIdentity(ctx, names);
  const channel = createChannel();
  const peers = createPeers<PeerAnswers>(peerQuestions);
  const field = await startField({ ctx, alarms, revocations, trust, channel: channel.channel, peers });
  const onOnline = peers.tell;
  const gateway = await startGateway({ ctx, alarms, revocations, trust, field, channel, onOnline, staple: ocsp.staple }, tls);
  peers.onTaken(gateway.leave);
  const links = await openPeerLinks(settings.dataDir, opened.slot, maxProcessSlots, peers.addLink);
  if (links === undefined) ctx.log.warn({ dataDir: settings.dataDir }, 'the path is too long for sockets: other processes are not reached');
  const services: Services = {
    ctx,
    alarms,
    revocations,
    trust,
    channel: field.channel,
    field,
    ocsp,
    bulkRevocations: createBulkRevocations(ctx),
  };
  const person = async (token: string) => ({ kind: 'operator' as const, ...(await authenticateOperator(ctx, token)) });
  const auth = createAuth({ person, machine: leaf => trust.identify(leaf) });
  const api = createApiServer(createApi(services, auth, resources), tls);
  endWhenRevoked(api, revocations, trust);
  staple(api, ocsp);
  const crl = createCrlServer(ctx, ocsp);
  const { host, sharePorts } = settings;
  const httpsPort = await listen(api, settings.httpsPort, host, sharePorts);
  const crlPort = await listen(crl, settings.crlPort, host, sharePorts);
  const mqttPort = await gateway.listen(settings.mqttPort, host, sharePorts);
  const renewal = startTlsRenewal({ ctx, alarms, trust }, names, ({ key, cert, clientRootsPem: ca }) => {
    api.setSecureContext({ key, cert, ca, minVersion: 'TLSv1.3' });
    gateway.renew({ key, cert, ca });
  });
  const leadership = await whileLeading(
    { dataDir: settings.dataDir, store: ctx.store },
    epoch => startHousekeeping({ ctx, revocations }, markFile, epoch),
    error => ctx.log.error({ error: String(error) }, 'the housekeeping did not begin'),
  );
  return {
    httpsPort,
    mqttPort,
    crlPort,
    fault(error) {
      ctx.log.error({ error: error instanceof Error ? error.stack : String(error) }, 'an error that nobody took');
      const detail = error instanceof Error ? `${error.name}: ${error.message}` : 'unknown';
      alarms.raise({ code: 'SERVER_FAULT', subject: 'server', detail }).catch(() => undefined);
    },
    async close() {
      await leadership.close();
      await renewal.close();
      links?.close();
      await gateway.close();
      await closeServer(api);
      await closeServer(crl);
      await field.close();
      await ocsp.close();
      await trust.close();
      await revocations.close();
      await opened.close();
    },
  };
}
