import { equalBytes } from '../../bytes.ts';
import { NusecError } from '../../errors.ts';
import { checkChainAsync } from '../../pki/chain.ts';
import { parseCertificate } from '../../pki/parse.ts';
import { certificateQueries } from '../../projections/certificates.ts';
import { dayMs } from '../../times.ts';
import { authorityOf, recordedIssuers, trustedRoots } from '../authority/authority.ts';
import type { Context } from '../base/context.ts';
import type { Revocations } from '../revocation/revocations.ts';

/** Judges the certificate that one server shows another. */

/** Clocks of servers may differ by so much: what one has issued a moment ago counts for the other. */
const maxSkewMs = dayMs;

/** The log has issued this very certificate, to a server, by an issuing CA of servers, and it is not revoked. The name in it does not matter: every server
 *  of a project has the same keys and the same rights.
 *  @param leaf DER @throws NusecError CHAIN_REFUSED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, PROJECTION_BEHIND */
export async function requireServerCertificate(ctx: Context, revocations: Revocations, leaf: Uint8Array): Promise<void> {
  const certificate = parseCertificate(leaf);
  const authorities = await authorityOf(ctx);
  const issuer = recordedIssuers(authorities).find(each => equalBytes(each.certificate.subjectDer, certificate.issuerDer));
  if (issuer === undefined) throw new NusecError('CHAIN_REFUSED', 'not from an issuing CA of this project');
  const [nowMs, fromMs] = [ctx.clock().getTime(), Date.parse(certificate.notBefore)];
  const now = new Date(fromMs - nowMs < maxSkewMs ? Math.max(nowMs, fromMs) : nowMs).toISOString();
  const { isRevoked } = revocations;
  await checkChainAsync([leaf, issuer.certificate.der], {
    roots: trustedRoots(authorities),
    now,
    isRevoked,
    purpose: 'server',
    recorded: () => [issuer],
  });
  await ctx.reads.waitFor(await ctx.store.head(), { projections: ['certificates'] });
  const { bySerial } = certificateQueries(ctx.reads.db);
  if ((await bySerial(certificate.serialHex))?.kind !== 'server')
    throw new NusecError('CHAIN_REFUSED', `the log has no server certificate ${certificate.serialHex}`);
}
