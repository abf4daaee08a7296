import { createServer, type Server, type Socket } from 'node:net';
import { fromHex, utf8 } from '../../bytes.ts';
import { pooledRandom } from '../../random.ts';
import type { CertSlot, CertSlots } from '../../spdm/certSlot.ts';
import { capability } from '../../spdm/constants.ts';
import { decodeDmtfEvent } from '../../spdm/messages/events.ts';
import { createResponder, type Responder } from '../../spdm/responder/responder.ts';
import type { ProvisionedKey } from '../../spdm/responder/state.ts';
import { type Algorithms, noSignature, type SignatureAlgorithm } from '../../spdm/suite.ts';
import {
  createEmulatorDecoder,
  type EmulatorFrame,
  emulatorCommand,
  emulatorTransport,
  encodeEmulatorFrame,
} from '../../spdm/transport/emulator.ts';
import type { Seconds } from '../../times.ts';
import { answerApplication, certificationRequest, measurementSet } from './device.ts';
import { normalFrame, payloadOf, wireOf } from './framing.ts';
import { type Identities, responderKey, soleAlgorithms, trustLinks } from './identities.ts';
import { deviceClasses, measurementLog, openKeyPairs } from './inventory.ts';
import { platformKem } from './kem.ts';
import { faultText } from './names.ts';
import { algorithmsFrom, type CommonOptions, capabilitiesFrom } from './options.ts';

/** The responder behind a socket: one connection at a time has its own responder. */

export type ResponderOptions = CommonOptions & {
  readonly measurements: number;
  readonly mutAuth: 'none' | 'encapsulated' | 'digests';
  readonly basicMutAuth: boolean;
  readonly heartbeatSeconds: Seconds;
  /** Keep listening after a SHUTDOWN. */
  readonly stay: boolean;
};

const testAnswer = utf8('Server Hello!\0');

function responderFor(options: ResponderOptions, identities: Identities, tell: (event: string) => void): Responder {
  const kem = platformKem();
  const has = (flag: number): boolean => (options.caps & flag) !== 0;
  // GET_CSR is about the keys of the negotiated algorithm, which the slots are asked for first.
  let signature: SignatureAlgorithm = noSignature;
  const slots = (algorithms: Algorithms): CertSlots => {
    signature = algorithms.signature;
    present = identities.forSignature(signature).slots(algorithms.hash);
    return present;
  };
  let present: readonly CertSlot[] = [];
  const keyPairs = openKeyPairs(
    () => identities.forSignature(signature),
    () => present,
  );
  const isKnownByKey = has(capability.publicKeyId);
  const responder = createResponder({
    slots: isKnownByKey ? [] : slots,
    ...(isKnownByKey ? { provisionedKey: provisionedKey(options, identities) } : {}),
    versions: options.versions,
    capabilities: capabilitiesFrom(options),
    algorithms: algorithmsFrom(options),
    randomBytes: pooledRandom(),
    measurements: () => measurementSet(options.measurements),
    binding: options.transport === 'tcp' ? 'tcp' : 'mctp',
    heartbeatSeconds: options.heartbeatSeconds,
    ...(kem ? { kem } : {}),
    ...(options.mutAuth !== 'none' && has(capability.mutualAuthentication)
      ? { mutualAuthentication: { how: options.mutAuth, inChallenge: options.basicMutAuth, slot: 0, required: false, trust: trustLinks } }
      : {}),
    ...(has(capability.psk) ? { psk: () => fromHex(options.psk) } : {}),
    onApplicationData: async (_, data) => answerApplication(data),
    onVendorDefined: async request => request,
    onGetCsr: async () => certificationRequest(identities.forSignature(signature)),
    onSetCertificate: async ({ slot }) => {
      responder.notify({ kind: 'certificateChanged', slots: [slot] });
      return 'done';
    },
    eventTypes: ['certificateChanged'],
    onPeerEvent: event => tell(`event ${event.id} of the requester: ${JSON.stringify(decodeDmtfEvent(event))}`),
    onPeerEndpoint: (classes, isSigned) => tell(`the requester has ${classes.length} device classes${isSigned ? ', signed' : ''}`),
    keyPairs: keyPairs.pairs,
    onSetKeyPairInfo: keyPairs.set,
    endpointInfo: deviceClasses(),
    measurementLog: () => measurementLog(measurementSet(options.measurements)),
    onFault: error => tell(`fault: ${faultText(error)}`),
  });
  return responder;
}

/** The key of slot 0, without its certificates. */
function provisionedKey(options: ResponderOptions, identities: Identities): ProvisionedKey {
  const { signature, hash } = soleAlgorithms(options);
  const [slot] = identities.forSignature(signature).slots(hash);
  return { publicKey: responderKey(options), sign: slot!.sign };
}

/** @returns the listening server; it closes after a SHUTDOWN; default: `stay` is false */
export function serveResponder(options: ResponderOptions, identities: Identities, tell: (event: string) => void): Server {
  const server = createServer(socket => {
    socket.setNoDelay(true);
    const responder = responderFor(options, identities, tell);
    const decoder = createEmulatorDecoder();
    let queue = Promise.resolve();
    socket.on('data', bytes => {
      queue = queue.then(async () => {
        for (const frame of decoder.push(bytes)) await answerFrame(frame, socket, responder, options, server);
      });
      queue.catch(error => {
        tell(`closed: ${faultText(error)}`);
        socket.destroy();
      });
    });
    socket.on('error', error => tell(`socket: ${error.message}`));
  });
  server.on('error', error => {
    process.stderr.write(`${faultText(error)}: choose another port or address (--port, --host)\n`);
    process.exitCode = 1;
  });
  server.listen(options.port, options.host, () => tell(`listening on ${options.host}:${options.port}`));
  return server;
}

async function answerFrame(frame: EmulatorFrame, socket: Socket, responder: Responder, options: ResponderOptions, server: Server) {
  const transport = emulatorTransport[options.transport];
  const reply = (command: number, payload: Uint8Array = new Uint8Array()): void =>
    void socket.write(encodeEmulatorFrame({ command, transport, payload }));
  switch (frame.command) {
    case emulatorCommand.test:
      return reply(emulatorCommand.test, testAnswer);
    case emulatorCommand.normal: {
      const answer = await responder.handle(wireOf(options.transport, frame.payload));
      const payload = answer ? payloadOf(options.transport, answer) : new Uint8Array();
      return void socket.write(encodeEmulatorFrame(normalFrame(options.transport, payload)));
    }
    case emulatorCommand.updateSendingKey:
      responder.updateSendingKey();
      return reply(emulatorCommand.updateSendingKey);
    case emulatorCommand.askEndpointInfo:
      // It then finds that nothing is asked: our responder has no use for that.
      return reply(emulatorCommand.askEndpointInfo);
    case emulatorCommand.shutdown:
      reply(emulatorCommand.shutdown);
      socket.end();
      if (!options.stay) server.close();
      return;
    case emulatorCommand.continue:
      reply(emulatorCommand.continue);
      return void socket.end();
    default:
      socket.end();
  }
}
