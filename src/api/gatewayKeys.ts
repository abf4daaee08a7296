import { gatewayStream } from '../domain/gateway.ts';
import { earlierApprover, proposalIn } from '../services/administration/approvals.ts';
import type { Condition, Context } from '../services/base/context.ts';

/** Who may agree to another key for a live gateway: an officer who was one when it was proposed (T20, I16). @param name of the person who asks */
export const secondOfficer =
  (ctx: Context, name: string, gatewayId: string) =>
  (proposalId: string): Condition =>
    earlierApprover(ctx, name, ['securityOfficer'], proposalIn(gatewayStream(gatewayId), 'GatewayKeyProposed', proposalId));
