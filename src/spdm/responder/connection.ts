import { equalBytes } from '../../bytes.ts';
import { type SpdmVersion, spdmError } from '../constants.ts';
import { decodeNegotiateAlgorithms, encodeAlgorithms } from '../messages/algorithms.ts';
import { capabilitiesFor, contradicts, decodeGetCapabilities, encodeCapabilities } from '../messages/capabilities.ts';
import { decodeGetVersion, encodeVersion } from '../messages/version.ts';
import { resolveAlgorithms, selectAlgorithms } from '../negotiation.ts';
import type { Algorithms } from '../suite.ts';
import { emptyTranscript, withVca } from '../transcript.ts';
import { type Exchange, endSession, invalidRequest, Refusal, type Reply, type ResponderSettings } from './state.ts';

/** VERSION, CAPABILITIES, ALGORITHMS (DSP0274 §10.2–10.4). */

/** GET_VERSION starts the connection anew and ends its session (DSP0274 §10.2). */
export function handleGetVersion({ settings, state, request }: Exchange): Reply {
  decodeGetVersion(request);
  endSession(state);
  for (const field of ['algorithms', 'requester', 'incoming', 'outgoing', 'deferred'] as const) delete state[field];
  const message = keptAnswer(settings, 'VERSION', () => encodeVersion(settings.versions));
  state.transcript = withVca(emptyTranscript, request, message);
  state.phase = 'version';
  return { message };
}

/** The version byte of GET_CAPABILITIES is the version chosen by the requester. */
export function handleGetCapabilities({ settings, state, request }: Exchange): Reply {
  const version = settings.versions.find(own => own === request[0]) as SpdmVersion | undefined;
  if (!version) throw new Refusal(spdmError.versionMismatch);
  const requester = decodeGetCapabilities(request);
  state.version = version;
  if (contradicts(version, requester)) throw invalidRequest();
  state.requester = requester;
  const message = keptAnswer(settings, version, () => encodeCapabilities(version, capabilitiesFor(version, settings.capabilities)));
  state.transcript = withVca(state.transcript, request, message);
  state.phase = 'capabilities';
  return { message };
}

/** VERSION, and CAPABILITIES of each version, are the same for every requester. */
const answers = new WeakMap<ResponderSettings, Map<'VERSION' | SpdmVersion, Uint8Array>>();

function keptAnswer(settings: ResponderSettings, name: 'VERSION' | SpdmVersion, encode: () => Uint8Array): Uint8Array {
  const kept = answers.get(settings) ?? new Map<'VERSION' | SpdmVersion, Uint8Array>();
  answers.set(settings, kept);
  const message = kept.get(name) ?? encode();
  kept.set(name, message);
  return message;
}

export function handleNegotiateAlgorithms({ settings, state, request }: Exchange): Reply {
  if (!state.requester) throw invalidRequest();
  const { algorithms, message } = negotiation(settings, state.version, state.requester.flags, request);
  state.algorithms = algorithms;
  state.transcript = withVca(state.transcript, request, message);
  state.phase = 'negotiated';
  return { message };
}

type Negotiation = { readonly algorithms: Algorithms; readonly message: Uint8Array };

/** The same request gets the same answer: requesters of one kind negotiate in the same words every time. */
const negotiations = new WeakMap<ResponderSettings, (Negotiation & Asked)[]>();
const maxNegotiations = 8;
type Asked = { readonly version: number; readonly requesterFlags: number; readonly request: Uint8Array };

function negotiation(settings: ResponderSettings, version: number, requesterFlags: number, request: Uint8Array): Negotiation {
  const known = negotiations.get(settings) ?? [];
  negotiations.set(settings, known);
  for (const one of known)
    if (one.version === version && one.requesterFlags === requesterFlags && equalBytes(one.request, request)) return one;
  const made = { ...negotiate(settings, version, requesterFlags, request), version, requesterFlags, request: Uint8Array.from(request) };
  if (known.length >= maxNegotiations) known.length = 0;
  known.push(made);
  return made;
}

function negotiate(settings: ResponderSettings, version: number, requesterFlags: number, request: Uint8Array): Negotiation {
  const offer = decodeNegotiateAlgorithms(request);
  const responderFlags = capabilitiesFor(version, settings.capabilities).flags;
  const selected = selectAlgorithms(version, offer, settings.algorithms, requesterFlags, responderFlags);
  const algorithms = resolveAlgorithms(offer, selected, requesterFlags, responderFlags);
  return { algorithms, message: encodeAlgorithms(version, selected, offer.structures) };
}
