import { device, deviceStream } from '../../domain/device.ts';
import { gateway, gatewayStream } from '../../domain/gateway.ts';
import { programmer, programmerStream } from '../../domain/programmer.ts';
import { type Context, stateOf } from '../base/context.ts';
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
  const state = await stateOfMachine(ctx, kind, id);
  if (!('certificates' in state)) return undefined;
  const isIssued = state.certificates.some(({ serial, certificateSha256: known }) => serial === serialHex && known === certificateSha256);
  return isIssued ? { ...(state.line !== undefined && { line: state.line }) } : undefined;
}

function stateOfMachine(ctx: Context, kind: Machine['kind'], id: string): Promise<Known> {
  switch (kind) {
    case 'device':
      return stateOf(ctx, device, deviceStream(id));
    case 'programmer':
      return stateOf(ctx, programmer, programmerStream(id));
    case 'gateway':
      return stateOf(ctx, gateway, gatewayStream(id));
  }
}
