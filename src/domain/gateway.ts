import type { Actor, IsoTime } from './actor.ts';
import { type Decider, type Of, requireStatus } from './decider.ts';
import { isWaiting } from './proposals.ts';
import { isPast, refuse, requireCount, requireOtherPerson } from './rules.ts';
import { statusAfter, type Walk } from './walk.ts';

/** A gateway and the devices behind it (R84). Stream `gateway-{id}`.
 *  REGISTERED → ACTIVE (certified) ⇄ SUSPENDED;  any → REVOKED */

/** Devices one gateway may serve. */
export const maxAttachedDevices = 2000;

export type GatewayCertificate = {
  readonly serial: string;
  readonly certificateSha256: string;
  readonly publicKeySha256: string;
  readonly icaId: string;
  readonly notAfter: IsoTime;
  /** Which list of its authority it is on when it is revoked; default: the first one. */
  readonly crlPartition?: number;
};

/** What a gateway said of a device and what only the gateway can be blamed for (T20). */
export type RefusedEvidence = {
  readonly uid: string;
  /** Stable code of what is wrong. */
  readonly code: string;
  readonly reason: string;
  /** UTC, `YYYY-MM-DD`: the same again on that day is no event. */
  readonly day: string;
  readonly evidenceSha256?: string;
  /** Of the verdict that the gateway has signed. */
  readonly verdictSha256?: string;
};

export type GatewayEvent =
  | { readonly type: 'GatewayRegistered'; readonly data: { readonly gatewayId: string; readonly name: string; readonly by: Actor } }
  | { readonly type: 'GatewayCertified'; readonly data: GatewayCertificate }
  /** A newer one has taken its place. */
  | {
      readonly type: 'GatewayCertificateRevoked';
      readonly data: { readonly serial: string; readonly reason: 'superseded'; readonly by: Actor };
    }
  /** A person asks for a certificate of another key than that of the live gateway; `id` is SHA-256 of the key. */
  | { readonly type: 'GatewayKeyProposed'; readonly data: { readonly id: string; readonly by: Actor; readonly at?: IsoTime } }
  | { readonly type: 'DeviceAttached'; readonly data: { readonly uid: string; readonly by: Actor } }
  | { readonly type: 'DeviceDetached'; readonly data: { readonly uid: string; readonly by: Actor } }
  | { readonly type: 'TrustBundleApplied'; readonly data: { readonly version: number } }
  | { readonly type: 'GatewayEvidenceRefused'; readonly data: RefusedEvidence }
  | { readonly type: 'GatewaySuspended'; readonly data: { readonly reason: string; readonly by: Actor } }
  | { readonly type: 'GatewayResumed'; readonly data: { readonly by: Actor } }
  | { readonly type: 'GatewayRevoked'; readonly data: { readonly reason: string; readonly by: Actor } };

export type GatewayCommand =
  | { readonly type: 'RegisterGateway'; readonly gatewayId: string; readonly name: string; readonly by: Actor }
  /** First certificate or a renewal; `asked`: by a person, who may not be the first any more when it is recorded. */
  | ({ readonly type: 'CertifyGateway'; readonly asked?: { readonly by: Actor; readonly now: IsoTime } } & GatewayCertificate)
  /** The gateway uses this certificate: older ones end. */
  | { readonly type: 'EndOlderGatewayCertificates'; readonly serial: string; readonly by: Actor }
  /** A person asks for a certificate of a key. */
  | { readonly type: 'AskForGatewayKey'; readonly publicKeySha256: string; readonly by: Actor; readonly now: IsoTime }
  | { readonly type: 'AttachDevice'; readonly uid: string; readonly by: Actor }
  | { readonly type: 'DetachDevice'; readonly uid: string; readonly by: Actor }
  | { readonly type: 'ApplyTrustBundle'; readonly version: number }
  | ({ readonly type: 'RefuseGatewayEvidence' } & RefusedEvidence)
  | { readonly type: 'SuspendGateway'; readonly reason: string; readonly by: Actor }
  | { readonly type: 'ResumeGateway'; readonly by: Actor }
  | { readonly type: 'RevokeGateway'; readonly reason: string; readonly by: Actor };

export type GatewayStatus = 'REGISTERED' | 'ACTIVE' | 'SUSPENDED' | 'REVOKED';

export const gatewayWalk: Walk<GatewayEvent, GatewayStatus> = {
  GatewayCertified: before => (before === 'REGISTERED' ? 'ACTIVE' : before),
  GatewaySuspended: 'SUSPENDED',
  GatewayResumed: 'ACTIVE',
  GatewayRevoked: 'REVOKED',
};

export type RegisteredGateway = {
  readonly status: GatewayStatus;
  readonly gatewayId: string;
  readonly name: string;
  /** Newest last. */
  readonly certificates: readonly (GatewayCertificate & { readonly ended?: boolean })[];
  /** The key that a person wants to take the place of the live gateway's. */
  readonly proposedKey?: { readonly publicKeySha256: string; readonly by: Actor; readonly at?: IsoTime };
  readonly devices: ReadonlySet<string>;
  readonly trustBundleVersion: number;
  /** Day of the newest refusal, by uid and code. */
  readonly refusedEvidence: ReadonlyMap<string, string>;
};
export type GatewayState = { readonly status: 'NONE' } | RegisteredGateway;

export const gatewayStream = (gatewayId: string): string => `gateway-${gatewayId}`;

/** Whether this gateway may speak for this device now (T20). */
export function mayServe(state: GatewayState, uid: string): boolean {
  return state.status === 'ACTIVE' && state.devices.has(uid);
}

function decide(command: GatewayCommand, state: GatewayState): readonly GatewayEvent[] {
  if (command.type === 'RegisterGateway') return register(command, state);
  if (state.status === 'NONE') refuse('NOT_FOUND', 'there is no such gateway');
  switch (command.type) {
    case 'CertifyGateway':
      return certify(command, state);
    case 'EndOlderGatewayCertificates':
      return endOlder(command, state);
    case 'AskForGatewayKey':
      return askForKey(command, state);
    case 'AttachDevice':
      return attach(command, state);
    case 'DetachDevice': {
      const { uid, by } = command;
      return state.devices.has(uid) ? [{ type: 'DeviceDetached', data: { uid, by } }] : [];
    }
    case 'ApplyTrustBundle':
      return applyBundle(command, state);
    case 'RefuseGatewayEvidence':
      return refuseEvidence(command, state);
    case 'SuspendGateway':
      if (state.status === 'SUSPENDED') return [];
      requireStatus(state, ['ACTIVE'], 'suspending');
      return [{ type: 'GatewaySuspended', data: { reason: command.reason, by: command.by } }];
    case 'ResumeGateway':
      if (state.status === 'ACTIVE') return [];
      requireStatus(state, ['SUSPENDED'], 'resuming');
      return [{ type: 'GatewayResumed', data: { by: command.by } }];
    case 'RevokeGateway':
      if (state.status === 'REVOKED') return [];
      return [{ type: 'GatewayRevoked', data: { reason: command.reason, by: command.by } }];
  }
}

function register({ gatewayId, name, by }: Of<GatewayCommand, 'RegisterGateway'>, state: GatewayState): readonly GatewayEvent[] {
  if (state.status === 'NONE') return [{ type: 'GatewayRegistered', data: { gatewayId, name, by } }];
  return state.name === name ? [] : refuse('CONFLICT', 'this gateway id is taken');
}

function certify(
  { type: _, asked, ...certificate }: Of<GatewayCommand, 'CertifyGateway'>,
  state: RegisteredGateway,
): readonly GatewayEvent[] {
  if (state.certificates.some(({ serial }) => serial === certificate.serial)) return [];
  requireStatus(state, ['REGISTERED', 'ACTIVE'], 'certifying');
  const live = liveOf(state);
  const { publicKeySha256 } = certificate;
  if (asked !== undefined && askForKey({ ...asked, publicKeySha256 }, state).length > 0)
    refuse('FOUR_EYES_REQUIRED', 'another key was certified for this gateway meanwhile: ask again to propose this one');
  // A key that was agreed on by two people takes the place of all before it.
  const isReplaced =
    state.proposedKey?.publicKeySha256 === publicKeySha256 && live.every(known => known.publicKeySha256 !== publicKeySha256);
  const surplus = isReplaced ? live : live.slice(1, 2 - maxLiveCertificates + live.length);
  return [{ type: 'GatewayCertified', data: certificate }, ...surplus.map(({ serial }) => superseded(serial, 'system:quota'))];
}

/** Certificates of a gateway that are valid at the same time: the current one, the next one, and one to spare. */
const maxLiveCertificates = 3;

const liveOf = ({ certificates }: RegisteredGateway) => certificates.filter(({ ended }) => ended !== true);

const superseded = (serial: string, by: Actor): GatewayEvent => ({
  type: 'GatewayCertificateRevoked',
  data: { serial, reason: 'superseded', by },
});

function endOlder({ serial, by }: Of<GatewayCommand, 'EndOlderGatewayCertificates'>, state: RegisteredGateway): readonly GatewayEvent[] {
  const live = liveOf(state);
  const used = live.findIndex(certificate => certificate.serial === serial);
  return live.slice(0, Math.max(0, used)).map(older => superseded(older.serial, by));
}

/** What was proposed, when it was this key and still waits for another person. */
export function proposedKeyOf({ proposedKey }: RegisteredGateway, publicKeySha256: string, now: IsoTime): RegisteredGateway['proposedKey'] {
  return proposedKey?.publicKeySha256 === publicKeySha256 && isWaiting(proposedKey.at, now) ? proposedKey : undefined;
}

/** The holder of a certificate for the name of a live gateway speaks for its devices: another key needs two people (T20, I16). The first only
 *  proposes it. */
function askForKey(
  { publicKeySha256, by, now }: Omit<Of<GatewayCommand, 'AskForGatewayKey'>, 'type'>,
  state: RegisteredGateway,
): readonly GatewayEvent[] {
  const live = liveOf(state).filter(({ notAfter }) => !isPast(notAfter, now));
  if (live.length === 0 || live.some(certificate => certificate.publicKeySha256 === publicKeySha256)) return [];
  const proposed = proposedKeyOf(state, publicKeySha256, now);
  if (proposed === undefined) return [{ type: 'GatewayKeyProposed', data: { id: publicKeySha256, by, at: now } }];
  requireOtherPerson(proposed.by, by, 'another key for a live gateway');
  return [];
}

function attach({ uid, by }: Of<GatewayCommand, 'AttachDevice'>, state: RegisteredGateway): readonly GatewayEvent[] {
  if (state.devices.has(uid)) return [];
  requireStatus(state, ['REGISTERED', 'ACTIVE'], 'attaching a device');
  if (state.devices.size >= maxAttachedDevices) refuse('RATE_LIMITED', `a gateway serves at most ${maxAttachedDevices} devices`);
  return [{ type: 'DeviceAttached', data: { uid, by } }];
}

function applyBundle({ version }: Of<GatewayCommand, 'ApplyTrustBundle'>, state: RegisteredGateway): readonly GatewayEvent[] {
  if (version === state.trustBundleVersion) return [];
  requireStatus(state, ['ACTIVE'], 'applying a trust bundle');
  requireCount(version, 1, 'the version of the trust bundle');
  if (version < state.trustBundleVersion) refuse('CONFLICT', `the gateway already has version ${state.trustBundleVersion}`);
  return [{ type: 'TrustBundleApplied', data: { version } }];
}

const refusalKey = ({ uid, code }: RefusedEvidence): string => `${uid} ${code}`;

/** At most one a day for a device and a fault: a gateway that makes false statements all day does not fill the log. */
function refuseEvidence({ type: _, ...data }: Of<GatewayCommand, 'RefuseGatewayEvidence'>, state: RegisteredGateway) {
  return state.refusedEvidence.get(refusalKey(data)) === data.day ? [] : [{ type: 'GatewayEvidenceRefused', data } as const];
}

function evolve(state: GatewayState, event: GatewayEvent): GatewayState {
  if (event.type === 'GatewayRegistered') {
    const { gatewayId, name } = event.data;
    return {
      status: 'REGISTERED',
      gatewayId,
      name,
      certificates: [],
      devices: new Set(),
      trustBundleVersion: 0,
      refusedEvidence: new Map(),
    };
  }
  if (state.status === 'NONE') return state;
  return withFacts({ ...state, status: statusAfter(gatewayWalk, state.status, event.type) }, event);
}

function withFacts(state: RegisteredGateway, event: GatewayEvent): RegisteredGateway {
  switch (event.type) {
    case 'GatewayCertified': {
      const { proposedKey, ...rest } = state;
      // What two people agreed on has happened: the same key later is asked for anew.
      const stays = proposedKey !== undefined && proposedKey.publicKeySha256 !== event.data.publicKeySha256;
      return { ...rest, ...(stays && { proposedKey }), certificates: [...state.certificates, event.data] };
    }
    case 'GatewayCertificateRevoked':
      return {
        ...state,
        certificates: state.certificates.map(known => (known.serial === event.data.serial ? { ...known, ended: true } : known)),
      };
    case 'GatewayKeyProposed': {
      const { id: publicKeySha256, ...proposed } = event.data;
      return { ...state, proposedKey: { publicKeySha256, ...proposed } };
    }
    case 'DeviceAttached':
      return { ...state, devices: new Set([...state.devices, event.data.uid]) };
    case 'DeviceDetached':
      return { ...state, devices: new Set([...state.devices].filter(uid => uid !== event.data.uid)) };
    case 'TrustBundleApplied':
      return { ...state, trustBundleVersion: event.data.version };
    case 'GatewayEvidenceRefused':
      return { ...state, refusedEvidence: new Map([...state.refusedEvidence, [refusalKey(event.data), event.data.day]]) };
    default:
      return state;
  }
}

export const gateway: Decider<GatewayCommand, GatewayState, GatewayEvent> = { initialState: { status: 'NONE' }, decide, evolve };
