import { device, deviceStream } from '../../domain/device.ts';
import { gateway, gatewayStream } from '../../domain/gateway.ts';
import { programmer, programmerStream } from '../../domain/programmer.ts';
import { loadState } from '../../eventstore/handle.ts';
import type { Context } from '../base/context.ts';
import type { Machine } from './machines.ts';

/** What the log has of a certificate that was shown: a valid signature alone does not make it ours (T17). */
export type IssuedRecord = {
  /** Of a device. */
  readonly line?: string;
};

type Recorded = { readonly serial: string; readonly certificateSha256: string };
type Known = { readonly status: 'NONE' } | { readonly certificates: readonly Recorded[]; readonly line?: string };

/** @returns undefined when this very certificate, by serial number and hash, was never issued to this machine */
export async function issuedTo(ctx: Context, { kind, id, serialHex, certificateSha256 }: Machine): Promise<IssuedRecord | undefined> {
  // What was issued stays issued: only for what is not known here is it looked at what other processes have stored.
  for (const asKnown of [true, false]) {
    const state = await stateOfMachine(ctx, kind, id, asKnown);
    if (!('certificates' in state)) continue;
    const isIssued = state.certificates.some(({ serial, certificateSha256: known }) => serial === serialHex && known === certificateSha256);
    if (isIssued) return { ...(state.line !== undefined && { line: state.line }) };
  }
  return undefined;
}

async function stateOfMachine({ store }: Context, kind: Machine['kind'], id: string, asKnown: boolean): Promise<Known> {
  switch (kind) {
    case 'device':
      return (await loadState(store, device, deviceStream(id), asKnown)).state;
    case 'programmer':
      return (await loadState(store, programmer, programmerStream(id), asKnown)).state;
    case 'gateway':
      return (await loadState(store, gateway, gatewayStream(id), asKnown)).state;
  }
}
