import { capability, headerBytes, type Wire } from '../../src/spdm/constants.ts';
import { createEventInbox } from '../../src/spdm/eventInbox.ts';
import { encodeDeliverResponse, encodeGetEncapsulatedRequest } from '../../src/spdm/messages/encapsulated.ts';
import { sessionAsk } from '../../src/spdm/requester/delivery.ts';
import { answerEncapsulated } from '../../src/spdm/requester/encapsulated.ts';
import { createEventNotifier } from '../../src/spdm/requester/events.ts';
import { answerQuestions } from '../../src/spdm/requester/requests.ts';
import { runPskSetup } from '../../src/spdm/requester/run.ts';
import { createResponder, deviceFlags } from '../../src/spdm/responder/responder.ts';
import type { SpdmSession } from '../../src/spdm/session.ts';
import { countingRandom, linkTo, realSlot, requesterSlot, someMeasurements } from '../spdm/fixtures.ts';

/** The input is `place | message`, for an established session of 1.3 in which both ends tell of events. Place 0: a request to the responder, which has subscribed; 1: an encapsulated
 *  request to the requester; 2: the answer to the responder's first encapsulated request; 3: to its second one. Whatever comes, there is one answer, no fault,
 *  and GET_VERSION begins anew. */

const version = 0x13;
const { encapsulated, event, pskWithContext, csr, setCertificate, measurementExtensionLog } = capability;
const { keyPairInfo, setKeyPairInfo, endpointInfoUnsigned } = capability;
const flags = deviceFlags | encapsulated | event | pskWithContext | csr | setCertificate | measurementExtensionLog;
const moreFlags = keyPairInfo | setKeyPairInfo | endpointInfoUnsigned;
const sizes = { ctExponent: 0, dataTransferBytes: 0x1000, maxMessageBytes: 0x1000 };
const kinds = ['measurementChanged', 'certificateChanged'] as const;
const keyPair = { keyPairId: 1, capabilities: 0xc, usageCapabilities: 0xf, usage: 0xf, algorithms: 8, algorithm: 8, slotMask: 1 };
const slot = { ...realSlot(), sign: async () => new Uint8Array(64).fill(1) };
const requester = requesterSlot();

export const target = {
  run: async (input: Uint8Array): Promise<void> => {
    const faults: unknown[] = [];
    const responder = createResponder({
      slots: [slot],
      randomBytes: countingRandom('fuzz'),
      measurements: () => someMeasurements,
      versions: [version],
      capabilities: { ...sizes, flags: (flags | moreFlags) >>> 0 },
      psk: () => new Uint8Array(32),
      onGetCsr: async () => new Uint8Array(300),
      onSetCertificate: async () => 'done',
      keyPairs: () => [{ ...keyPair, pqcAlgorithms: 0, pqcAlgorithm: 0, publicKeyInfo: new Uint8Array(8) }],
      onSetKeyPairInfo: async () => 'done',
      endpointInfo: Uint8Array.of(0, 0, 0, 0),
      measurementLog: () => new Uint8Array(16),
      eventTypes: kinds,
      onPeerEvent: () => undefined,
      onVendorDefined: async request => request,
      onApplicationData: async (_, data) => data,
      onFault: error => faults.push(error),
    });
    const link = linkTo(responder);
    const message = input.slice(1);
    const open = await openSession(link);
    switch ((input[0] ?? 0) % 4) {
      case 0:
        await open.settle();
        requireMessage((await link({ kind: 'secured', message: open.session.sealSpdm(message) })).message);
        break;
      case 1:
        requireMessage(await open.answer(message));
        break;
      case 2:
        await open.ask(deliver(await open.ask(encodeGetEncapsulatedRequest(version)), message));
        break;
      default: {
        const question = await open.ask(encodeGetEncapsulatedRequest(version));
        const next = await open.ask(deliver(question, await open.answer(question.slice(headerBytes))));
        await open.ask(deliver(next, message));
      }
    }
    const again = await link({ kind: 'clear', message: Uint8Array.of(0x10, 0x84, 0, 0) });
    if (again.message[1] !== 0x04) throw new Error(`GET_VERSION is answered with ${again.message}`);
    if (faults.length > 0) throw new Error('fault', { cause: faults[0] });
  },
};

type Open = {
  readonly session: SpdmSession;
  readonly ask: (message: Uint8Array) => Promise<Uint8Array>;
  /** Answers what the responder asks by itself: it then takes events. */
  readonly settle: () => Promise<unknown>;
  /** The requester's answer to an encapsulated request. */
  readonly answer: (request: Uint8Array) => Promise<Uint8Array>;
};

async function openSession(link: (wire: Wire) => Promise<Wire>): Promise<Open> {
  const own = {
    ...sizes,
    flags: capability.pskSupported | capability.encrypt | capability.mac | capability.encapsulated | capability.event,
  };
  const given = { psk: new Uint8Array(32), hint: new Uint8Array(4), versions: [version] as const, capabilities: own };
  const { session, connection } = await runPskSetup({ ...given, randomBytes: countingRandom() }, link);
  const events = { inbox: createEventInbox(() => undefined), notifier: createEventNotifier(kinds) };
  const context = { connection, slots: [requester], session, events };
  const ask = sessionAsk(session, link);
  return {
    session,
    ask: async message => requireMessage(await ask(message)),
    settle: () => answerQuestions({ ask, connection }, session, events),
    answer: request => answerEncapsulated(context, request),
  };
}

/** DELIVER_ENCAPSULATED_RESPONSE with the id of ENCAPSULATED_REQUEST or of ENCAPSULATED_RESPONSE_ACK, which have it at the same place. */
const deliver = (question: Uint8Array, message: Uint8Array): Uint8Array =>
  encodeDeliverResponse(version, { requestId: question[2]!, message });

function requireMessage(message: Uint8Array): Uint8Array {
  if (message.length < headerBytes) throw new Error('no answer');
  return message;
}
