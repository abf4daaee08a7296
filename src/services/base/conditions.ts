/** Conditions that alarms warn of and that have ended, as this process has seen: a witness has answered, a list is signed. Kept until their alarms are closed
 *  (alarmEnds.ts), which waits a little: what comes and goes is one alarm. Where in the log it was seen tells them from an alarm that is raised later. */

/** What an alarm is about. */
type Named = { readonly code: string; readonly subject: string };

export type EndedCondition = Named & {
  /** For people. */
  readonly why: string;
  /** Of the newest event when it was seen last. */
  readonly position: number;
  /** When it was seen first. */
  readonly sinceMs: number;
};

export type Conditions = {
  /** Costs little, so it is said whenever it is seen. */
  ended(named: Named, why: string): void;
  /** It is so again. */
  recurred(named: Named): void;
  /** Those that ended so long ago, and whose alarms are still to be looked at. */
  pending(settleMs: number): readonly EndedCondition[];
  /** @param isClosed whether there was an alarm */
  lookedAt(condition: EndedCondition, isClosed: boolean): void;
  /** Whether an alarm of it was closed here since this was asked the last time. */
  wasClosed(named: Named): boolean;
};

/** Of an alarm and the condition that it warns of. */
export const caseName = ({ code, subject }: Named): string => `${code} ${subject}`;

/** @param seen position of the newest event of the log */
export function createConditions(seen: () => number): Conditions {
  const byName = new Map<string, EndedCondition>();
  const closed = new Set<string>();
  return {
    ended({ code, subject }, why) {
      const name = caseName({ code, subject });
      try {
        const sinceMs = byName.get(name)?.sinceMs ?? performance.now();
        byName.set(name, { code, subject, why, position: seen(), sinceMs });
      } catch {
        // A log that cannot be read takes no answer to an alarm either.
      }
    },
    recurred: named => void byName.delete(caseName(named)),
    pending: settleMs => [...byName.values()].filter(({ sinceMs }) => performance.now() - sinceMs >= settleMs),
    lookedAt(condition, isClosed) {
      const name = caseName(condition);
      if (isClosed) closed.add(name);
      byName.delete(name);
    },
    wasClosed: named => closed.delete(caseName(named)),
  };
}
