import { dayMs, hourMs } from '../times.ts';
import type { Actor, IsoTime } from './actor.ts';
import type { Decider } from './decider.ts';
import { recoveryDelayHours } from './recoveryCodes.ts';
import { isPast, refuse, timeAfter } from './rules.ts';

/** What people do about an alarm: take it on, put it off, close it. Stream `alarm-{subject}`, where the alarms about that subject are raised too.
 *  Alarms of one code about one subject are one case: open → acknowledged → open again when it is raised again. */

/** `upTo`: position of the newest alarm that the person has seen: one that is raised afterwards opens the case again. */
type Deed = { readonly code: string; readonly subject: string; readonly by: Actor; readonly at: IsoTime };

export type AlarmEvent =
  | { readonly type: 'AlarmRaised'; readonly data: { readonly code: string; readonly subject: string; readonly detail: string } }
  | { readonly type: 'AlarmAcknowledged'; readonly data: Deed & { readonly upTo: number; readonly note: string } }
  | { readonly type: 'AlarmAssigned'; readonly data: Deed & { readonly to: string } }
  | { readonly type: 'AlarmSilenced'; readonly data: Deed & { readonly until: IsoTime; readonly reason: string } };

type Common = { readonly code: string; readonly subject: string; readonly by: Actor; readonly now: IsoTime };
export type AlarmCommand =
  /** `lastAt`: when the newest of the case was raised. */
  | (Common & { readonly type: 'AcknowledgeAlarm'; readonly upTo: number; readonly note: string; readonly lastAt: IsoTime })
  | (Common & { readonly type: 'AssignAlarm'; readonly to: string })
  | (Common & { readonly type: 'SilenceAlarm'; readonly until: IsoTime; readonly reason: string });

type Case = { readonly acknowledgedUpTo: number; readonly assignedTo?: string; readonly silencedUntil?: IsoTime };
/** By code. */
export type AlarmState = { readonly cases: ReadonlyMap<string, Case> };

/** An alarm is silent for a while, never for ever. */
export const maxSilentDays = 30;
const untouched: Case = { acknowledgedUpTo: 0 };
/** Deeds that every administrator has to see: whoever did it could close it before the others look. They stay open for as long as a recovery waits
 *  (T17, I16). */
const seenByAll: ReadonlySet<string> = new Set([
  'PEOPLE_CHANGED',
  'ERASURE',
  'ERASED_CAME_BACK',
  'WEBHOOK_CHANGED',
  'OLDER_STORE_ACCEPTED',
]);
const seenByAllMs = recoveryDelayHours * hourMs;

/** How long a case stays open whatever somebody does, and is never silent; nothing for most codes. @param lastAt when the newest of it was raised */
export const openUntil = (code: string, lastAt: IsoTime): IsoTime | undefined =>
  seenByAll.has(code) ? timeAfter(lastAt, seenByAllMs) : undefined;

/** Who raises alarms, and closes those that are over. */
export const systemAlarms = 'system:alarms';

export const alarmStream = (subject: string): string => `alarm-${subject}`;

function decide(command: AlarmCommand, { cases }: AlarmState): readonly AlarmEvent[] {
  const { code, subject, by, now: at } = command;
  const known = cases.get(code) ?? untouched;
  switch (command.type) {
    case 'AcknowledgeAlarm': {
      const { upTo, note, lastAt } = command;
      const until = openUntil(code, lastAt);
      if (until !== undefined && !isPast(until, at))
        refuse('STATE', `${code} stays open for ${recoveryDelayHours} hours, so that every administrator sees it`);
      return upTo <= known.acknowledgedUpTo ? [] : [{ type: 'AlarmAcknowledged', data: { code, subject, by, at, upTo, note } }];
    }
    case 'AssignAlarm':
      return command.to === known.assignedTo ? [] : [{ type: 'AlarmAssigned', data: { code, subject, by, at, to: command.to } }];
    case 'SilenceAlarm': {
      const { until, reason } = command;
      if (seenByAll.has(code)) refuse('STATE', `${code} is never silent: every administrator has to see it`);
      const ms = Date.parse(until) - Date.parse(at);
      if (!(ms > 0)) refuse('BAD_REQUEST', 'an alarm is silent until some time that is still to come');
      if (ms > maxSilentDays * dayMs) refuse('BAD_REQUEST', `an alarm is silent for ${maxSilentDays} days at most`);
      return until === known.silencedUntil ? [] : [{ type: 'AlarmSilenced', data: { code, subject, by, at, until, reason } }];
    }
  }
}

function evolve(state: AlarmState, event: AlarmEvent): AlarmState {
  const known = state.cases.get(event.data.code) ?? untouched;
  const keep = (news: Partial<Case>): AlarmState => ({ cases: new Map(state.cases).set(event.data.code, { ...known, ...news }) });
  switch (event.type) {
    case 'AlarmAcknowledged':
      return keep({ acknowledgedUpTo: event.data.upTo });
    case 'AlarmAssigned':
      return keep({ assignedTo: event.data.to });
    case 'AlarmSilenced':
      return keep({ silencedUntil: event.data.until });
    default:
      return state;
  }
}

export const alarm: Decider<AlarmCommand, AlarmState, AlarmEvent> = { initialState: { cases: new Map() }, decide, evolve };
