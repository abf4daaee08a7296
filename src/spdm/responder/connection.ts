import { discoveryVersion, type SpdmVersion, spdmError } from '../constants.ts';
import { decodeNegotiateAlgorithms, encodeAlgorithms } from '../messages/algorithms.ts';
import { capabilitiesFor, contradicts, decodeGetCapabilities, encodeCapabilities } from '../messages/capabilities.ts';
import { decodeGetVersion, encodeVersion } from '../messages/version.ts';
import { resolveAlgorithms, selectAlgorithms } from '../negotiation.ts';
import type { Algorithms } from '../suite.ts';
import { emptyTranscript, withVca } from '../transcript.ts';
import { kept } from './kept.ts';
import { type Exchange, endSession, invalidRequest, Refusal, type Reply, type ResponderSettings } from './state.ts';

/** VERSION, CAPABILITIES, ALGORITHMS (DSP0274 §10.2–10.4). */

/** GET_VERSION starts the connection again and ends its session (DSP0274 §10.2). */
export function handleGetVersion({ settings, state, request }: Exchange): Reply {
  decodeGetVersion(request);
  endSession(state);
  for (const field of ['algorithms', 'requester', 'questions', 'provedPeer', 'incoming', 'outgoing', 'deferred'] as const)
    state[field] = undefined;
  const message = kept(settings, settings, request, () => encodeVersion(settings.versions));
  state.transcript = withVca(emptyTranscript, request, message);
  state.version = discoveryVersion;
  state.phase = 'version';
  return { message };
}

/** The version byte of GET_CAPABILITIES is the version chosen by the requester. */
export function handleGetCapabilities({ settings, state, request }: Exchange): Reply {
  const version = settings.versions.find(own => own === request[0]) as SpdmVersion | undefined;
  if (!version) throw new Refusal(spdmError.versionMismatch);
  state.version = version;
  const { requester, message } = kept(settings, settings, request, () => readCapabilities(settings, version, request));
  state.requester = requester;
  state.transcript = withVca(state.transcript, request, message);
  state.phase = 'capabilities';
  return { message };
}

function readCapabilities(settings: ResponderSettings, version: SpdmVersion, request: Uint8Array) {
  const requester = decodeGetCapabilities(request);
  if (contradicts(version, requester)) throw invalidRequest();
  return { requester, message: encodeCapabilities(version, capabilitiesFor(version, settings.capabilities)) };
}

export function handleNegotiateAlgorithms({ settings, state, request }: Exchange): Reply {
  const { version, requester } = state;
  if (!requester) throw invalidRequest();
  const { algorithms, message } = kept(settings, requester, request, () => negotiate(settings, version, requester.flags, request));
  state.algorithms = algorithms;
  state.transcript = withVca(state.transcript, request, message);
  state.phase = 'negotiated';
  return { message };
}

type Negotiation = { readonly algorithms: Algorithms; readonly message: Uint8Array };

function negotiate(settings: ResponderSettings, version: number, requesterFlags: number, request: Uint8Array): Negotiation {
  const offer = decodeNegotiateAlgorithms(request);
  const responderFlags = capabilitiesFor(version, settings.capabilities).flags;
  const selected = selectAlgorithms(version, offer, settings.algorithms, requesterFlags, responderFlags);
  const algorithms = resolveAlgorithms(offer, selected, requesterFlags, responderFlags);
  return { algorithms, message: encodeAlgorithms(version, selected, offer.structures) };
}
