import { type ErrorCode, NusecError } from '../errors.ts';

/** Facts (events) → state (fold) → decision (pure). Time, ids, randomness and keys come in with the command.
 *  `decide` returns the new events, `[]` for a command that is already done, and throws NusecError for a refusal. */
export type Decider<Command, State, Event> = {
  readonly initialState: State;
  decide(command: Command, state: State): readonly Event[];
  /** Total: never throws, ignores what it does not know. */
  evolve(state: State, event: Event): State;
};

/** Folds a stream's events into the state they lead to. */
export function fold<Command, State, Event>(
  decider: Decider<Command, State, Event>,
  events: Iterable<Event>,
  from = decider.initialState,
): State {
  let state = from;
  for (const event of events) state = decider.evolve(state, event);
  return state;
}

/** Decides several commands as one: each meets the state that the ones before it lead to. A refused one refuses them all.
 *  @param keep an event as it will be folded again */
export function decideAll<Command, State, Event>(
  { decide, evolve }: Decider<Command, State, Event>,
  commands: readonly Command[],
  from: State,
  keep: (event: Event) => Event,
): { readonly events: readonly Event[]; readonly state: State } {
  const events: Event[] = [];
  let state = from;
  for (const command of commands) {
    for (const event of decide(command, state).map(keep)) {
      events.push(event);
      state = evolve(state, event);
    }
  }
  return { events, state };
}

/** Refuses a command whose aggregate is not in one of the states that allow it.
 *  @throws NusecError `code` (default: STATE) */
export function requireStatus<S extends { readonly status: string }, T extends S['status']>(
  state: S,
  allowed: readonly T[],
  what: string,
  code: ErrorCode = 'STATE',
): asserts state is S & { readonly status: T } {
  if (!(allowed as readonly string[]).includes(state.status)) {
    throw new NusecError(code, `${what} is not possible in state ${state.status}; it needs ${allowed.join(' or ')}`);
  }
}

/** One of the commands (or events) of a union, by its type. */
export type Of<Union extends { readonly type: string }, Type extends Union['type']> = Extract<Union, { readonly type: Type }>;
