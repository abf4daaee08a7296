import { z } from '@hono/zod-openapi';
import { toBase64url } from '../bytes.ts';
import type { WirePolicy } from '../services/field/attestationPolicy.ts';
import type { WiredIdentity } from '../services/field/wiredIdentity.ts';

/** Who a device on the wires of a machine is, and what its line has it asked for. */

const text = z.string();
export const wirePolicySchema = z
  .object({ leastVersion: text, signatures: z.array(text), publicKey: text.optional() })
  .openapi({ description: 'what the line asks of its devices; the key that a device without certificates is known by' });
export const wiredIdentitySchema = z.object({ certificate: text, ica: text, root: text, spdm: wirePolicySchema });

export const wiredIdentityView = ({ certificate, ica, root, spdm }: WiredIdentity) => ({
  certificate: toBase64url(certificate),
  ica: toBase64url(ica),
  root: toBase64url(root),
  spdm: wirePolicyView(spdm),
});

export const wirePolicyView = ({ leastVersion, signatures, publicKey }: WirePolicy) => ({
  leastVersion,
  signatures: [...signatures],
  ...(publicKey && { publicKey: toBase64url(publicKey) }),
});
