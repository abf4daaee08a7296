import { sha256Hex } from '../../digest.ts';
import { gateway, gatewayStream } from '../../domain/gateway.ts';
import type { Alarms } from '../base/alarms.ts';
import { type Context, execute, nowIso, oneCommit } from '../base/context.ts';

/** What only the messenger can be blamed for is booked on the messenger (T20): an event in the gateway's stream and an alarm that names it. */

export type GatewayFault = {
  readonly uid: string;
  readonly code: string;
  readonly detail: string;
  /** What it brought, to be kept. */
  readonly evidence?: Uint8Array | undefined;
  readonly verdict?: Uint8Array | undefined;
};

const by = 'system:attestation';
const alarmCodes = { evidence: 'GATEWAY_EVIDENCE', verdict: 'GATEWAY_VERDICT', hello: 'GATEWAY_HELLO' } as const;

/** What it brought is kept with the event that names it, and only then.
 *  @param what of the gateway does not hold */
export async function blameGateway(
  { ctx, alarms }: { readonly ctx: Context; readonly alarms: Alarms },
  gatewayId: string,
  what: keyof typeof alarmCodes,
  { uid, code, detail, evidence, verdict }: GatewayFault,
): Promise<void> {
  const day = nowIso(ctx).slice(0, 10);
  const kept = [evidence, verdict].filter(bytes => bytes !== undefined);
  const names = { ...(evidence && { evidenceSha256: sha256Hex(evidence) }), ...(verdict && { verdictSha256: sha256Hex(verdict) }) };
  await oneCommit(ctx, async inner => {
    const command = { type: 'RefuseGatewayEvidence', uid, code, reason: detail, day, ...names } as const;
    const { events } = await execute(inner, gateway, gatewayStream(gatewayId), command, by);
    if (events.length > 0) await Promise.all(kept.map(inner.blobs.put));
  });
  await alarms.raise({ code: alarmCodes[what], subject: gatewayId, detail: `of ${uid}: ${code}: ${detail}` });
}
