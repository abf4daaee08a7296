import { equalBytes } from '../../src/bytes.ts';
import type { IssuerRecord } from '../../src/pki/issuerRecord.ts';
import { type IssuerScope, issuerUses } from '../../src/pki/issuerScope.ts';
import type { Certificate } from '../../src/pki/parse.ts';
import type { TrustBundle } from '../../src/production/trustBundle.ts';

/** What a machine knows of issuing CAs from its trust bundle (RULE-16, I10): for `checkChain`. */

/** The uses the bundle names an issuing CA for. One that it does not name is unknown when it is younger than the bundle, and was taken out of use
 *  when it is older. @param bundle undefined before a machine has one */
export const recordedIn =
  (bundle: Pick<TrustBundle, 'version' | 'issuedAtSeconds' | 'issuers'> | undefined) =>
  (ica: Certificate): IssuerRecord => {
    if (!bundle) return [];
    const named = bundle.issuers.filter(({ certificate }) => equalBytes(certificate, ica.der));
    if (named.length === 0) return isYounger(ica, bundle) ? [] : 'removed';
    return named.flatMap(({ use }): readonly IssuerScope[] => issuerUses.filter(known => known === use).map(known => ({ use: known })));
  };

/** An issuing CA names the newest bundle of the time when it was made. An older CA without that field is placed by its date. */
function isYounger(
  { bundleBefore, notBefore }: Certificate,
  { version, issuedAtSeconds }: Pick<TrustBundle, 'version' | 'issuedAtSeconds'>,
) {
  return bundleBefore === undefined ? Date.parse(notBefore) / 1000 > issuedAtSeconds : bundleBefore >= version;
}
