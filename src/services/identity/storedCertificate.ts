import { lru } from '../../lru.ts';
import { type Certificate, parseCertificate } from '../../pki/parse.ts';
import type { Context } from '../base/context.ts';

/** Certificates of units in production are asked for at every step. */
const maxKnown = 1024;
/** By SHA-256 of the certificate, so what was read once stays true. */
const known = lru<Certificate>(maxKnown);

/** A certificate that the blob store has. @param sha256 of it, hex @throws NusecError as BlobStore.get */
export async function storedCertificate(ctx: Context, sha256: string): Promise<Certificate> {
  const found = known.get(sha256);
  if (found !== undefined) return found;
  const certificate = parseCertificate(await ctx.blobs.get(sha256));
  known.set(sha256, certificate);
  return certificate;
}
