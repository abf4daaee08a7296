import { gatewayStream } from '../domain/gateway.ts';
import { earlierApprover, proposalIn } from '../services/administration/approvals.ts';
import type { Condition, Context } from '../services/base/context.ts';

/** Who may agree to another key for a live gateway: an officer who was one when it was proposed (T20, I16). It is an approval, whatever way it is asked.
 *  @param name of the person who asks @param confirm this request, with an authenticator where the person has one; once, though it is judged again */
export function secondOfficer(ctx: Context, name: string, gatewayId: string, confirm: () => Promise<void>) {
  let confirmed: Promise<void> | undefined;
  return (proposalId: string): Condition => {
    const isEarlier = earlierApprover(
      ctx,
      name,
      ['securityOfficer'],
      proposalIn(gatewayStream(gatewayId), 'GatewayKeyProposed', proposalId),
    );
    return async read => {
      await isEarlier(read);
      confirmed ??= confirm();
      await confirmed;
    };
  };
}
