import { type AuthorityCommand, authority, authorityStream } from '../../domain/authority.ts';
import { authorityOf } from '../authority/authority.ts';
import { type Context, execute } from '../base/context.ts';
import type { MarkFacts } from '../revocation/markFile.ts';
import { ignoreRefusal } from './restorePeople.ts';

/** Brings back what a store has forgotten of its own authorities: keys and roots that ended since. Issuing CAs are certificates like others. */

const by = 'system:restore';

export async function restoreAuthority(
  ctx: Context,
  { compromisedKeys, retiredRoots }: Pick<MarkFacts, 'compromisedKeys' | 'retiredRoots'>,
): Promise<void> {
  const { packageKeys, roots } = await authorityOf(ctx);
  const reason = 'it was so before an older store was put back';
  for (const { keyId, publicKey } of packageKeys)
    if (compromisedKeys.includes(publicKey)) await run(ctx, { type: 'CompromisePackageKey', keyId, reason, by });
  for (const { rootId, sha256 } of roots) if (retiredRoots.includes(sha256)) await run(ctx, { type: 'RetireRootCa', rootId });
}

const run = async (ctx: Context, command: AuthorityCommand): Promise<void> =>
  void (await execute(ctx, authority, authorityStream(ctx.project), command, by).catch(ignoreRefusal));
