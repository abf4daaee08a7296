import { fromHex } from '../../bytes.ts';
import { authorityStream } from '../../domain/authority.ts';
import type { EventType } from '../../domain/events.ts';
import { maxRevokedTold } from '../../mqttMessages.ts';
import { certificateQueries } from '../../projections/certificates.ts';
import { authorityOf } from '../authority/authority.ts';
import { currentTrustBundle, rootForReader } from '../authority/trustBundle.ts';
import type { Context } from '../base/context.ts';
import type { Revocations } from '../revocation/revocations.ts';
import type { Attachments } from './attachments.ts';
import { gatewayOf } from './gateways.ts';

/** What each gateway must know to judge its devices (R84, RULE-16): the trust bundle of its root, and which certificates of its devices are not
 *  to be trusted. Says whose knowledge is out of date, as soon as that is so. */
export type GatewayBundles = {
  /** @returns the bundle as COSE_Sign1, and serial numbers, 16 bytes each, the newest first. @throws NusecError NOT_FOUND */
  current(gatewayId: string): Promise<{ readonly bundle: Uint8Array; readonly revoked: readonly Uint8Array[] }>;
  /** Called with the gateways concerned; undefined: all of them. */
  onChange(listener: (gatewayIds: readonly string[] | undefined) => void): void;
  close(): Promise<void>;
};

export type GatewayBundlesParts = { readonly ctx: Context; readonly revocations: Revocations; readonly attachments: Attachments };

const streamPrefix = 'gateway-';
const attachmentChanges = new Set<EventType>(['DeviceAttached', 'DeviceDetached', 'GatewayResumed']);

export function startGatewayBundles({ ctx, revocations, attachments }: GatewayBundlesParts): GatewayBundles {
  const listeners: ((gatewayIds: readonly string[] | undefined) => void)[] = [];
  const tell = (gatewayIds: readonly string[] | undefined): void => {
    for (const listener of listeners) listener(gatewayIds);
  };
  revocations.onChange(({ kind, subject, list }) => {
    // A bundle has what is in the inventory.
    if (kind === 'device' && list !== undefined) tell(attachments.gatewaysOf(subject));
  });
  const follower = ctx.followers.follow('gateway bundles', ctx.store.seen(), async events => {
    if (events.some(({ type, stream }) => type === 'TrustBundlePublished' && stream === authorityStream(ctx.project)))
      return tell(undefined);
    const changed = events.filter(({ type, stream }) => attachmentChanges.has(type) && stream.startsWith(streamPrefix));
    if (changed.length > 0) tell([...new Set(changed.map(({ stream }) => stream.slice(streamPrefix.length)))]);
  });
  return {
    async current(gatewayId) {
      const head = await ctx.store.head();
      await Promise.all([attachments.caughtUp(head), ctx.reads.waitFor(head, { projections: ['certificates'] })]);
      const serials = await certificateQueries(ctx.reads.db).revokedOf(attachments.devicesOf(gatewayId), maxRevokedTold);
      const leaf = (await gatewayOf(ctx, gatewayId)).certificates.at(-1);
      const authorities = await authorityOf(ctx);
      const root = rootForReader(authorities, leaf && (await ctx.blobs.get(leaf.certificateSha256)));
      return { bundle: await currentTrustBundle(ctx, authorities, root), revoked: serials.map(fromHex) };
    },
    onChange: listener => void listeners.push(listener),
    close: () => follower.close(),
  };
}
