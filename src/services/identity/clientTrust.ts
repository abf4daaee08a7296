import { authorityStream } from '../../domain/authority.ts';
import type { EventType } from '../../domain/events.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { trustedIssuers, trustedRoots } from '../authority/authority.ts';
import { retiredRoots } from '../authority/olderRoots.ts';
import type { Context } from '../base/context.ts';
import type { Revocations } from '../revocation/revocations.ts';
import { identifyMachine, type Machine, type TrustAnchors } from './machines.ts';

/** Judges client certificates with what is trusted now: roots and issuers are read again whenever the authority's stream grows. */
export type ClientTrust = {
  /** @param leaf DER @throws NusecError as identifyMachine */
  identify(leaf: Uint8Array): Machine;
  /** Called when issuers came or went: whatever was judged before must be judged again. @returns what ends that */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
};

export async function startClientTrust(ctx: Context, revocations: Revocations): Promise<ClientTrust> {
  const read = async (): Promise<TrustAnchors> => ({
    roots: await trustedRoots(ctx),
    retiredRoots: await retiredRoots(ctx),
    issuers: (await trustedIssuers(ctx)).map(parseCertificate),
  });
  let anchors = await read();
  const listeners = new Set<() => void>();
  const stream = authorityStream(ctx.project);
  const changes = new Set<EventType>([
    'IssuingCaActivated',
    'IssuingCaEstablished',
    'IssuingCaCompromised',
    'RootCaRolled',
    'RootCaRetired',
  ]);
  const follower = ctx.followers.follow('client trust', ctx.store.head(), async events => {
    if (!events.some(event => event.stream === stream && changes.has(event.type))) return;
    anchors = await read();
    for (const listener of listeners) listener();
  });
  return {
    identify: leaf => identifyMachine(leaf, anchors, ctx.clock().toISOString(), revocations.isRevoked),
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: () => follower.close(),
  };
}
