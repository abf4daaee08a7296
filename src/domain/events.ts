import type { AlarmEvent } from './alarm.ts';
import type { AllotmentEvent } from './allotmentEvents.ts';
import type { AttestationSealEvent } from './attestationSeal.ts';
import type { AuthorityEvent } from './authorityEvents.ts';
import type { BulkRevocationEvent } from './bulkRevocations.ts';
import type { CeremoniesEvent } from './ceremonies.ts';
import type { CertificationEvent } from './certification.ts';
import type { DeviceEvent } from './deviceEvents.ts';
import type { EffectEvent } from './effects.ts';
import type { ExpiryEvent } from './expiry.ts';
import type { GatewayEvent } from './gateway.ts';
import type { GrantEvent } from './grant.ts';
import type { JobEvent } from './jobEvents.ts';
import type { LineEvent } from './line.ts';
import type { LogKeyEvent } from './logKey.ts';
import type { OperatorsEvent } from './operatorsState.ts';
import type { ParkedEventsEvent } from './parkedEvents.ts';
import type { ProgrammerEvent } from './programmer.ts';
import type { PublicKeyEvent } from './publicKey.ts';
import type { RecoveryCodesEvent } from './recoveryCodes.ts';
import type { ReleaseEvent } from './release.ts';
import type { ReleaseVersionEvent } from './releaseVersion.ts';
import type { RolloutEvent } from './rollout.ts';
import type { SeriesEvent } from './series.ts';
import type { SessionsEvent } from './sessions.ts';
import type { StoreEvent } from './storeEvents.ts';
import type { SubjectsEvent } from './subjects.ts';
import type { VulnerabilityEvent } from './vulnerability.ts';
import type { WebhookEvent, WebhookProgressEvent } from './webhook.ts';

/** Every event that the log can hold: its type and the shape of its data. Read models, subscribers and services are typed by this map, so that
 *  an event that is renamed or gets another shape does not compile where it is used. */

/** Care of the keystore by the tools that need it alone. Stream `keystore`. */
type KeystoreEvent =
  | {
      readonly type: 'KeystoreRotated';
      readonly data: {
        readonly kekId: string;
        readonly rewrapped: number;
        readonly retired: readonly string[];
        readonly rekeyed?: number;
      };
    }
  | {
      readonly type: 'KeystoreBackedUp';
      readonly data: {
        readonly backupIdHex: string;
        readonly createdAt: string;
        readonly keys: number;
        readonly bootKeys: number;
        readonly threshold: number;
        readonly shares: number;
      };
    }
  | {
      readonly type: 'KeystoreMigrated';
      readonly data: { readonly keys: number; readonly newKeks: readonly string[]; readonly bootKeys: number; readonly token: string };
    };

/** One event of any stream, without its envelope. A decider whose events are missing here does not compile where it is executed. */
export type DomainEvent =
  | AlarmEvent
  | AllotmentEvent
  | AttestationSealEvent
  | AuthorityEvent
  | BulkRevocationEvent
  | CeremoniesEvent
  | CertificationEvent
  | DeviceEvent
  | EffectEvent
  | ExpiryEvent
  | GatewayEvent
  | GrantEvent
  | JobEvent
  | SessionsEvent
  | KeystoreEvent
  | LineEvent
  | LogKeyEvent
  | OperatorsEvent
  | ParkedEventsEvent
  | ProgrammerEvent
  | PublicKeyEvent
  | RecoveryCodesEvent
  | ReleaseEvent
  | ReleaseVersionEvent
  | RolloutEvent
  | SeriesEvent
  | StoreEvent
  | SubjectsEvent
  | VulnerabilityEvent
  | WebhookEvent
  | WebhookProgressEvent;

/** Type → data. */
export type EventMap = { readonly [Type in DomainEvent['type']]: Extract<DomainEvent, { readonly type: Type }>['data'] };
export type EventType = keyof EventMap;
