import type { Actor } from '../../domain/actor.ts';
import { device, deviceStream } from '../../domain/device.ts';
import { type GatewayCommand, gateway, gatewayStream, type RegisteredGateway } from '../../domain/gateway.ts';
import { NusecError } from '../../errors.ts';
import { type GatewayRow, gatewayQueries } from '../../projections/gateways.ts';
import { authorityOf } from '../authority/authority.ts';
import { type Context, execute, stateOf } from '../base/context.ts';
import type { Machine } from '../identity/machines.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { putRevocationInForce } from '../revocation/revokeDevice.ts';
import type { Attachments } from './attachments.ts';

/** Gateways and the devices behind them (R84). Who may speak for whom is an event, and in force here when these return (T20). */

export const registerGateway = (ctx: Context, gatewayId: string, name: string, by: Actor): Promise<RegisteredGateway> =>
  change(ctx, gatewayId, { type: 'RegisterGateway', gatewayId, name, by }, by);

/** @throws NusecError NOT_FOUND (gateway or device), STATE, RATE_LIMITED (full) */
export async function attachDevice(ctx: Context, attachments: Attachments, gatewayId: string, uid: string, by: Actor) {
  const state = await stateOf(ctx, device, deviceStream(uid));
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no device ${uid}`);
  const after = await change(ctx, gatewayId, { type: 'AttachDevice', uid, by }, by);
  await putInForce(ctx, attachments);
  return after;
}

export async function detachDevice(ctx: Context, attachments: Attachments, gatewayId: string, uid: string, by: Actor) {
  const after = await change(ctx, gatewayId, { type: 'DetachDevice', uid, by }, by);
  await putInForce(ctx, attachments);
  return after;
}

/** What was recorded is recorded, also when this process does not get on: it comes into force here later, and until then the process is not ready. */
const putInForce = (ctx: Context, attachments: Attachments): Promise<void> =>
  ctx.store
    .head()
    .then(attachments.caughtUp)
    .catch(error => ctx.log.warn({ error: (error as Error).message }, 'an attachment is not in force yet'));

/** Suspends, resumes or revokes: its certificate goes on hold, or becomes valid again, or ends; a live connection is cut. */
export async function moveGateway(
  ctx: Context,
  revocations: Revocations,
  gatewayId: string,
  step: { readonly type: 'SuspendGateway' | 'RevokeGateway'; readonly reason: string } | { readonly type: 'ResumeGateway' },
  by: Actor,
): Promise<RegisteredGateway> {
  const after = await change(ctx, gatewayId, { ...step, by }, by);
  await putRevocationInForce(ctx, revocations, after.certificates);
  return after;
}

/** The gateway says that it judges with this version of the trust bundle. Again: nothing more is recorded.
 *  @throws NusecError FORBIDDEN (another gateway), CONFLICT (a version that was never published, or older than what it said before) */
export async function recordAppliedBundle(ctx: Context, gatewayId: string, version: number, caller: Machine): Promise<RegisteredGateway> {
  if (caller.id !== gatewayId) throw new NusecError('FORBIDDEN', `the certificate is that of gateway ${caller.id}`);
  const { trustBundle } = await authorityOf(ctx);
  if (version > trustBundle.version) throw new NusecError('CONFLICT', `the newest trust bundle has version ${trustBundle.version}`);
  return change(ctx, gatewayId, { type: 'ApplyTrustBundle', version }, `gateway:${gatewayId}`);
}

async function change(ctx: Context, gatewayId: string, command: GatewayCommand, by: Actor): Promise<RegisteredGateway> {
  const { state } = await execute(ctx, gateway, gatewayStream(gatewayId), command, by);
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no gateway ${gatewayId}`);
  return state;
}

/** @throws NusecError NOT_FOUND */
export async function gatewayOf(ctx: Context, gatewayId: string): Promise<RegisteredGateway> {
  const state = await stateOf(ctx, gateway, gatewayStream(gatewayId));
  if (state.status === 'NONE') throw new NusecError('NOT_FOUND', `there is no gateway ${gatewayId}`);
  return state;
}

export async function listGateways(
  ctx: Context,
  page: { readonly after?: string | undefined; readonly limit: number },
): Promise<readonly (GatewayRow & { readonly devices: readonly string[] })[]> {
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['gateways'] });
  const queries = gatewayQueries(ctx.reads.db);
  const rows = await queries.page(page);
  return Promise.all(rows.map(async row => ({ ...row, devices: (await queries.devicesOf(row.gateway_id)).map(({ uid }) => uid) })));
}
