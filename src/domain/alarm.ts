import { dayMs } from '../times.ts';
import type { Actor, IsoTime } from './actor.ts';
import type { Decider } from './decider.ts';
import { refuse } from './rules.ts';

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
  | (Common & { readonly type: 'AcknowledgeAlarm'; readonly upTo: number; readonly note: string })
  | (Common & { readonly type: 'AssignAlarm'; readonly to: string })
  | (Common & { readonly type: 'SilenceAlarm'; readonly until: IsoTime; readonly reason: string });

type Case = { readonly acknowledgedUpTo: number; readonly assignedTo?: string; readonly silencedUntil?: IsoTime };
/** By code. */
export type AlarmState = { readonly cases: ReadonlyMap<string, Case> };

/** An alarm is silent for a while, never for ever. */
export const maxSilentDays = 30;
const untouched: Case = { acknowledgedUpTo: 0 };

export const alarmStream = (subject: string): string => `alarm-${subject}`;

function decide(command: AlarmCommand, { cases }: AlarmState): readonly AlarmEvent[] {
  const { code, subject, by, now: at } = command;
  const known = cases.get(code) ?? untouched;
  switch (command.type) {
    case 'AcknowledgeAlarm': {
      const { upTo, note } = command;
      return upTo <= known.acknowledgedUpTo ? [] : [{ type: 'AlarmAcknowledged', data: { code, subject, by, at, upTo, note } }];
    }
    case 'AssignAlarm':
      return command.to === known.assignedTo ? [] : [{ type: 'AlarmAssigned', data: { code, subject, by, at, to: command.to } }];
    case 'SilenceAlarm': {
      const { until, reason } = command;
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
