import { createAlarms } from '../../src/services/base/alarms.ts';
import type { Context } from '../../src/services/base/context.ts';
import { serverIdentity, type TlsIdentity } from '../../src/services/identity/serverCertificate.ts';

/** A new TLS identity that is kept in no file. */
export const newTlsIdentity = (ctx: Context, names: readonly string[]): Promise<TlsIdentity> =>
  serverIdentity({ ctx, alarms: createAlarms(ctx), file: { load: async () => undefined, save: async () => undefined } }, names);
