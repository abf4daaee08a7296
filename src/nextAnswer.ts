/** A question that many ask at the same time: those who ask while somebody asks share the next answer, as the present one may be older than their question.
 *  So nobody waits for more than two, however many they are. */
export type NextAnswer<Result> = {
  ask(): Promise<Result>;
  /** What is being asked now. */
  present(): Promise<Result> | undefined;
};

export function nextAnswer<Result>(question: () => Promise<Result>): NextAnswer<Result> {
  let asking: Promise<Result> | undefined;
  let next: Promise<Result> | undefined;
  const ask = (): Promise<Result> => {
    if (asking === undefined) {
      asking = question().finally(() => {
        asking = undefined;
      });
      return asking;
    }
    next ??= asking
      .catch(() => undefined)
      .then(() => {
        next = undefined;
        return ask();
      });
    return next;
  };
  return { ask, present: () => asking };
}
