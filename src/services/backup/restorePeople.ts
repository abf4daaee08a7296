import { line, lineStream } from '../../domain/line.ts';
import { type OperatorsCommand, operators, operatorsStream } from '../../domain/operators.ts';
import type { NewOperator } from '../../domain/operatorsState.ts';
import { NusecError } from '../../errors.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import type { MarkFacts } from '../revocation/markFile.ts';

/** Brings back what a store has forgotten of people and of rollback floors. */

const by = 'system:restore';

/** Who was added, changed or removed since the backup is so again; a token that was replaced or ended stays so. */
export async function restorePeople(ctx: Context, { people, gone }: Pick<MarkFacts, 'people' | 'gone'>): Promise<void> {
  const { byName } = await stateOf(ctx, operators, operatorsStream);
  const commands = (people as readonly MarkedPerson[]).flatMap(person => commandsFor(byName.get(person.name), person));
  // People are added before others are removed: the last administrator cannot be removed.
  for (const command of commands) await run(ctx, command);
  for (const name of gone) await run(ctx, { type: 'RemoveOperator', name });
}

type MarkedPerson = NewOperator & { readonly credentials?: readonly string[] };

function commandsFor(known: NewOperator | undefined, person: MarkedPerson): readonly OperatorsCommand[] {
  const { name, roles, scope, tokenSha256, expiresAt, credentials } = person;
  const scoped = scope === undefined ? {} : { scope };
  if (known === undefined) return [{ type: 'AddOperator', name, roles, tokenSha256, expiresAt, ...scoped }];
  return [
    { type: 'RotateOperatorToken', name, tokenSha256, expiresAt },
    { type: 'SetOperatorRoles', name, roles, ...scoped },
    ...(credentials === undefined ? [] : [{ type: 'EndOperatorCredentials', name, kept: credentials } as const]),
  ];
}

async function run(ctx: Context, command: OperatorsCommand): Promise<void> {
  await execute(ctx, operators, operatorsStream, command, by);
}

export async function restoreFloors(ctx: Context, floors: Readonly<Record<string, number>>): Promise<void> {
  for (const [name, floor] of Object.entries(floors)) {
    const state = await stateOf(ctx, line, lineStream(name));
    if (state.status === 'NONE' || state.rollbackFloor >= floor) continue;
    await execute(ctx, line, lineStream(name), { type: 'RaiseRollbackFloor', floor, by }, by).catch(ignoreRefusal);
  }
}

/** What the older state does not allow stays as it is. @throws every other error */
export function ignoreRefusal(error: unknown): void {
  if (!(error instanceof NusecError)) throw error;
}
