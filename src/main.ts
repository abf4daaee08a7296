import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openAnswers } from './api/answers.ts';
import { createApi } from './api/app.ts';
import { createAuth } from './api/auth.ts';
import { createConfirmations } from './api/confirmations.ts';
import { boundConnections } from './api/connectionBound.ts';
import { endWhenRevoked, staple } from './api/liveConnections.ts';
import { resources } from './api/resources.ts';
import { closeServer, createApiServer, createCrlServer, renewTls } from './api/server.ts';
import { findSession, type PersonInSession } from './api/sessions.ts';
import { sharedAnswers } from './api/sharedAnswers.ts';
import { shareWrongTokens, wrongTokensOf } from './api/wrongTokens.ts';
import { type Own, opening } from './closing.ts';
import type { Settings } from './config.ts';
import { NusecError } from './errors.ts';
import { startGateway } from './gateway/mqttServer.ts';
import { createChannel } from './gateway/reach/channel.ts';
import { listenOn } from './listening.ts';
import type { SealedObjects } from './objects/sealed.ts';
import { createOpenId } from './services/administration/openId.ts';
import { authenticateOperator, hashOf } from './services/administration/operators.ts';
import { enforceErasures, followErasures } from './services/administration/subjects.ts';
import { openTokenUse } from './services/administration/tokenUse.ts';
import { requireMarkedStore } from './services/backup/markedStore.ts';
import { checkpointPlaces } from './services/backup/takeUp.ts';
import { type Alarms, createAlarms } from './services/base/alarms.ts';
import { openAttestationLog } from './services/base/attestationLog.ts';
import { openAttestationSegments } from './services/base/attestationSegments.ts';
import type { Context } from './services/base/context.ts';
import { noSpans, type Spans } from './services/base/spans.ts';
import { eventsFile } from './services/dataFolder/eventLog.ts';
import { attestationsFile, openContext, scrubPlaces } from './services/dataFolder/open.ts';
import { createCertificateUse } from './services/identity/certificateUse.ts';
import { startClientTrust } from './services/identity/clientTrust.ts';
import { writeProxyFiles } from './services/identity/proxyFiles.ts';
import { serverIdentity, startTlsRenewal, type TlsIdentity } from './services/identity/serverCertificate.ts';
import { requireServerCertificate } from './services/identity/serverTrust.ts';
import { startTicketKeys, type TicketKeys } from './services/identity/ticketKeys.ts';
import { tlsFile } from './services/identity/tlsFile.ts';
import { createAddressGuard } from './services/integration/addresses.ts';
import { createWebhookFigures } from './services/integration/webhookFigures.ts';
import { createWebhooks } from './services/integration/webhooks.ts';
import { openFolderLinks } from './services/processes/folderLinks.ts';
import { whileLeading } from './services/processes/leadership.ts';
import { createPeers, type Peers } from './services/processes/peers.ts';
import { maxProcessSlots, removeUnusedViews } from './services/processes/processSlots.ts';
import { openServerLinks, type ServerLinks } from './services/processes/serverLinks.ts';
import { shareAgreements } from './services/production/kek.ts';
import { type AttestationSharing, type SharingParts, startAttestationSharing } from './services/proof/attestationSharing.ts';
import { createDeviceEvidence } from './services/proof/deviceEvidence.ts';
import { followCheckpoints } from './services/proof/followedCheckpoints.ts';
import { requireCheckpoints } from './services/proof/knownCheckpoints.ts';
import { startLogCheck } from './services/proof/logCheck.ts';
import { namedDamage } from './services/proof/namedDamage.ts';
import { createNewestCheckpoint } from './services/proof/newestCheckpoint.ts';
import { cosignedFolder, requireWitnessSettings } from './services/proof/witness.ts';
import { createBulkRevocations } from './services/revocation/bulkRevocations.ts';
import { startOcsp } from './services/revocation/ocsp.ts';
import { startRevocations } from './services/revocation/revocations.ts';
import { startField } from './services/start/field.ts';
import { startHousekeeping } from './services/start/housekeeping.ts';
import { type PeerAnswers, peerQuestions } from './services/start/peerAnswers.ts';
import type { Services } from './services/start/services.ts';

/** Wires one server process: event store, keystore, read models, API, MQTT gateway, CRL address. The only place that knows all parts. */

export type RunningServer = {
  readonly httpsPort: number;
  readonly mqttPort: number;
  readonly crlPort: number;
  /** For the servers of other machines, where the log is in KurrentDB. */
  readonly linkPort?: number;
  /** An error that nobody handled: an alarm. A failure of work for one device must not end the server for all others. */
  fault(error: unknown): void;
  close(): Promise<void>;
};

/** The options by which a person chooses other ports. */
const portOptions = {
  https: '--https-port, NUSEC_HTTPS_PORT',
  mqtt: '--mqtt-port, NUSEC_MQTT_PORT',
  crl: '--crl-port, NUSEC_CRL_PORT',
  link: '--link-port, NUSEC_LINK_PORT',
} as const;

/** A start that fails leaves nothing open.
 *  @throws NusecError as openContext; PORT_TAKEN, LISTEN_FAILED; CA_NOT_ACTIVE (the project is not initialised); STORE_OLDER; FOLDER_MISSING (of the mark) */
export const startServer = (settings: Settings): Promise<RunningServer> => opening(own => openServer(own, settings));

async function openServer(own: Own, settings: Settings): Promise<Omit<RunningServer, 'close'>> {
  const { dataDir, witnessDir, witnesses } = settings;
  requireWitnessSettings(witnesses);
  const opened = openContext(settings, { https: settings.httpsPort, crl: settings.crlPort }).catch(error => {
    throw namedDamage(error, dataDir, witnessDir === undefined ? [] : [witnessDir]);
  });
  const { ctx, slot, sealed } = own('data folder', await opened);
  const alarms = createAlarms(ctx);
  await enforceErasures({ ctx, alarms });
  own(
    'erasures',
    followErasures(ctx, () => removeUnusedViews(dataDir)),
  );
  const revocations = own('revocations', await startRevocations(ctx));
  const checkpoints = checkpointPlaces(settings);
  const wasServed = existsSync(checkpoints.file);
  const signed = await requireCheckpoints({ ctx, alarms }, checkpoints, false);
  const logCheck = own('log check', await startLogCheck({ ctx, alarms }, { file: eventsFile(settings), signed }));
  const { file: markFile } = await requireMarkedStore({ ctx, alarms, revocations }, settings, wasServed);
  const trust = own('client trust', await startClientTrust(ctx, revocations, alarms));
  const certificateUse = createCertificateUse(ctx);
  const ocsp = own('OCSP', await startOcsp(ctx, revocations));
  const names = [settings.publicHost, settings.host];
  const identityParts = { ctx, alarms, file: tlsFile(ctx, join(dataDir, 'tls.identity')) };
  const tls = await serverIdentity(identityParts, names);
  const channel = createChannel();
  const peers = createPeers<PeerAnswers>(peerQuestions, randomUUID());
  const attestations = own('log of attestations', openAttestationLog(attestationsFile(dataDir)));
  const sharing = sealed && own('shared attestations', shareAttestations({ ctx, alarms, attestations, objects: sealed, peers }, dataDir));
  const field = own(
    'field',
    await startField({ ctx, alarms, revocations, trust, channel: channel.channel, peers, attestations, otaLimits: settings.otaLimits }),
  );
  const gatewayParts = { ctx, alarms, revocations, trust, certificateUse, field, channel, peers, staple: ocsp.staple };
  const gateway = own('MQTT', await startGateway(gatewayParts, tls, { allowTls12: settings.mqttTls12, limits: settings.mqttLimits }));
  shareWrongTokens({ ctx, alarms }, peers);
  shareAgreements(ctx, peers);
  const folderLinks = await openFolderLinks(dataDir, slot, maxProcessSlots, peers.addLink);
  if (folderLinks !== undefined) own('folder links', folderLinks);
  else ctx.log.warn({ dataDir }, 'the path is too long for sockets: other processes are not reached');
  const { tell } = own('checkpoints of the leader', followCheckpoints(ctx, checkpoints, peers));
  const newestCheckpoint = createNewestCheckpoint(checkpoints.file);
  const bulkRevocations = createBulkRevocations(ctx);
  const evidence = own('device evidence', createDeviceEvidence(ctx, checkpoints.headsFile, cosignedFolder(dataDir)));
  const tokenUse = own(
    'use of tokens',
    openTokenUse(
      join(dataDir, 'tokens.db'),
      () => ctx.clock().getTime(),
      error => ctx.log.warn({ error: String(error) }, 'when a token was used last is not noted'),
    ),
  );
  const openId = settings.openId && createOpenId(settings.openId);
  const { otlpEndpoint } = settings;
  const spans = own('spans', otlpEndpoint === undefined ? noSpans : await spansTo(otlpEndpoint, ctx.project));
  const webhookParts = {
    spans,
    limits: settings.webhooks,
    guard: createAddressGuard(settings.webhooks.privateNetworks),
    figures: createWebhookFigures(),
  };
  const edges = {
    processSlot: settings.sharePorts ? slot : undefined,
    webhooks: createWebhooks({ ctx, alarms, ...webhookParts }),
    webhookFigures: webhookParts.figures,
    spans,
    tokenUse,
    openId,
    channel: field.channel,
    field,
    attestations,
    ocsp,
    bulkRevocations,
    evidence,
    logCheck,
    newestCheckpoint,
  };
  const services: Services = { ctx, alarms, revocations, trust, certificateUse, ...edges };
  const api = openApi(own, settings, services, tls, sealed);
  own('MQTT over WebSocket', gateway.serveWebSockets(api));
  const useTickets = ({ mqtt, https }: TicketKeys): void => {
    gateway.setTicketKeys(mqtt);
    api.setTicketKeys(Buffer.from(https));
  };
  const tickets = own('TLS tickets', await startTicketKeys(ctx, useTickets));
  const crl = createCrlServer(ctx, ocsp);
  boundConnections(crl, settings.httpsConnections, () => shed(alarms, 'crl', settings.httpsConnections));
  own('CRL server', { close: () => closeServer(crl) });
  const at = (port: 'https' | 'mqtt' | 'crl') => ({
    port: settings[`${port}Port`],
    host: settings.host,
    reusePort: settings.sharePorts,
    option: portOptions[port],
  });
  const httpsPort = await listenOn(api, at('https'));
  const crlPort = await listenOn(crl, at('crl'));
  const mqttPort = await gateway.listen(at('mqtt'));
  const proxy = settings.mqttProxyFolder;
  if (proxy !== undefined) {
    writeProxyFiles(proxy, slot, tls);
    await gateway.listenBehindProxy(join(proxy, `mqtt-${slot}.sock`));
  }
  const serverLinks = await openLinks(own, settings, { ctx, revocations, trust, peers, tls, slot });
  const renew = (next: TlsIdentity): void => {
    serverLinks?.renew(next);
    renewTls(api, next, settings.httpsTls12);
    gateway.renew(next);
    if (proxy !== undefined) writeProxyFiles(proxy, slot, next);
    tickets.again();
  };
  own('TLS renewal', startTlsRenewal({ ...identityParts, trust }, names, tls, renew));
  const kept = { tell, addressDays: settings.addressDays, webhookParts, scrubbed: scrubPlaces(settings) };
  const lead = async (epoch: number) =>
    (
      await startHousekeeping(
        { ctx, revocations, markFile, checkpoints, newestCheckpoint, witnesses, dataDir, attestations, sharing, field, ...kept },
        epoch,
      )
    ).close;
  const onTrouble = (error: unknown) => ctx.log.error({ error: String(error) }, 'the housekeeping did not begin');
  own('leadership', await whileLeading({ dataDir, store: ctx.store }, lead, onTrouble));
  const ports = { httpsPort, mqttPort, crlPort, ...(serverLinks && { linkPort: serverLinks.port }) };
  return { ...ports, fault: error => reportFault(ctx, alarms, error) };
}

function shareAttestations(parts: Omit<SharingParts, 'segments' | 'lock'>, dataDir: string): AttestationSharing {
  const segments = openAttestationSegments(attestationsFile(dataDir));
  return startAttestationSharing({ ...parts, segments, lock: join(dataDir, 'attestations') });
}

/** The SDK is loaded only where somebody collects. */
async function spansTo(endpoint: string, project: string): Promise<Spans> {
  const { openTelemetry } = await import('./services/start/openTelemetry.ts');
  return openTelemetry(endpoint, project);
}

/** To the servers of other machines, where there can be some. */
async function openLinks(
  own: Own,
  { linkHost: host, linkPort }: Settings,
  { ctx, revocations, trust, peers, tls, slot }: Pick<Services, 'ctx' | 'revocations' | 'trust'> & LinkParts,
): Promise<ServerLinks | undefined> {
  const { servers } = ctx.store;
  if (servers === undefined) return undefined;
  const links = own(
    'server links',
    await openServerLinks({
      servers,
      id: peers.id,
      place: { host, port: linkPort === 0 ? 0 : linkPort + slot - 1, option: portOptions.link },
      identity: tls,
      requireServer: leaf => requireServerCertificate(ctx, revocations, leaf),
      linked: peers.linked,
      onLink: peers.addLink,
      onTrouble: error => ctx.log.warn({ error: String(error) }, 'another server was not reached, or refused'),
    }),
  );
  own('revoked servers', { close: revocations.onChange(({ kind }) => kind === 'server' && links.judgeAgain()) });
  own('servers of ended authorities', { close: trust.onChange(links.judgeAgain) });
  return links;
}

type LinkParts = { readonly peers: Peers<PeerAnswers>; readonly tls: TlsIdentity; readonly slot: number };

function openApi(own: Own, settings: Settings, services: Services, tls: TlsIdentity, sealed: SealedObjects | undefined) {
  const { dataDir, httpsTls12, httpsConnections } = settings;
  const { ctx, alarms, revocations, trust, certificateUse, ocsp } = services;
  const wrongTokens = wrongTokensOf(services);
  const person = async (token: string, address: string | undefined) => {
    // A session of `nusec login` has a dot, a token has none.
    if (token.includes('.')) {
      const found = await wrongTokens.watch(address, () => commandSession(ctx, token));
      services.tokenUse.used(found.session.id);
      return found;
    }
    const found = await wrongTokens.watch(address, () => authenticateOperator(ctx, token));
    services.tokenUse.used(hashOf(token));
    return { kind: 'operator' as const, ...found };
  };
  const machine = async (leaf: Uint8Array) => {
    const found = await trust.identify(leaf);
    certificateUse.used(found);
    return found;
  };
  const now = (): number => ctx.clock().getTime();
  const onTrouble = (error: unknown): void => ctx.log.warn({ error: String(error) }, 'old answers were not forgotten');
  const ownAnswers = openAnswers(join(dataDir, 'answers.db'), now);
  const answers = own('answers', sealed === undefined ? ownAnswers : sharedAnswers(ownAnswers, sealed, now, onTrouble));
  const auth = createAuth({ person, machine }, answers, createConfirmations(ctx, settings.confirmApprovals));
  const api = createApiServer(createApi(services, auth, resources), tls, httpsTls12);
  own('HTTPS server', { close: () => closeServer(api) });
  boundConnections(api, httpsConnections, () => shed(alarms, 'https', httpsConnections));
  endWhenRevoked(api, revocations, trust);
  staple(api, ocsp);
  return api;
}

async function commandSession(ctx: Context, text: string): Promise<PersonInSession> {
  const person = await findSession(ctx, text, 'command');
  if (person === undefined) throw new NusecError('UNAUTHENTICATED', 'the session has ended: nusec login');
  return person;
}

function shed(alarms: Alarms, port: keyof typeof portOptions, maxConnections: number): void {
  const detail = `more than ${maxConnections} connections: those of the fullest address are ended`;
  alarms.raise({ code: 'CONNECTIONS_SHED', subject: port, detail }).catch(() => undefined);
}

function reportFault(ctx: Context, alarms: Alarms, error: unknown): void {
  ctx.log.error({ error: error instanceof Error ? error.stack : String(error) }, 'an error that nobody took');
  const detail = error instanceof Error ? `${error.name}: ${error.message}` : 'unknown';
  alarms.raise({ code: 'SERVER_FAULT', subject: 'server', detail }).catch(() => undefined);
}
