import { describe, expect, it } from 'vitest';
import { fromBase64url, toBase64url, toHex } from '../../src/bytes.ts';
import type { KeyResolver } from '../../src/cose/sign1.ts';
import { type SigningUse, signingUses } from '../../src/domain/signingUse.ts';
import { type OtaJob, signJob, verifyJob } from '../../src/ota/otaJob.ts';
import { contentOpenWith } from '../../src/production/contentKey.ts';
import { signGrant, verifyGrant } from '../../src/production/grant.ts';
import { signOrder, verifyOrder } from '../../src/production/order.ts';
import { openPackage, sealPackage } from '../../src/production/package.ts';
import { signReport, verifyReport } from '../../src/production/report.ts';
import { signingKeysOf, signTrustBundle, type TrustBundle, verifyTrustBundle } from '../../src/production/trustBundle.ts';
import { type TestKey, testKey } from '../cose/keys.ts';
import { fill, grant, now, order, payload, progUid, sealWith } from '../production/samples.ts';
import { covers } from '../support/covers.ts';

/** Somebody has one of the project's signing keys, or a message that it has signed, and shows it where another use is meant: a message of every use,
 *  signed by the key of every use, before every verifier (T17, T19). */

type Use = SigningUse | 'trustBundle';
const uses: readonly Use[] = [...signingUses, 'trustBundle'];

const job: OtaJob = {
  format: 1,
  otaJobId: fill(1),
  uid: fill(2),
  imageHash: fill(3, 32),
  imageBytes: 300,
  version: { major: 2, minor: 0, revision: 1, build: 77 },
  securityCounter: 6,
  blockBytes: 1024,
  blockHashes: fill(4, 32),
  expiresAtSeconds: now + 60,
  sequence: 12,
  dependencies: [],
  vendorUuid: fill(5),
  classUuid: fill(6),
};
const kek = fill(0x11, 32);
const keys = Object.fromEntries(uses.map(use => [use, testKey()])) as Record<Use, TestKey>;
const bundle: TrustBundle = {
  version: 1,
  issuedAtSeconds: now,
  roots: [Uint8Array.of(1)],
  issuers: [],
  signingKeys: signingUses.map(use => ({ kid: keys[use].kid, point: keys[use].spki.slice(-65), uses: [use] })),
};
const published = await verifyTrustBundle(await signTrustBundle(bundle, keys.trustBundle), keys.trustBundle.spki);

/** A package whose sealed content is this. What was sealed goes to `seen`. */
const packageOf = (signer: TestKey, content?: Uint8Array, seen: (signed: Uint8Array) => void = () => {}): Promise<Uint8Array> =>
  sealPackage({ payload, epoch: 1, iv: fill(0x22, 12) }, signer, (kdf, iv, aad, signed) => {
    seen(signed);
    return sealWith(kek)(kdf, iv, aad, content ?? signed);
  });

/** The COSE_Sign1 of each kind. */
const signed: Record<Use, (signer: TestKey) => Promise<Uint8Array>> = {
  grant: signer => signGrant(grant, signer),
  order: signer => signOrder(order, signer),
  otaJob: ({ kid, sign }) => signJob(job, kid, sign),
  report: async signer => fromBase64url((await signReport('{}', signer)).signed ?? ''),
  trustBundle: signer => signTrustBundle(bundle, signer),
  async package(signer) {
    let content = new Uint8Array();
    await packageOf(signer, undefined, bytes => {
      content = new Uint8Array(bytes);
    });
    return content;
  },
};

/** Every verifier, and what it trusts. @param trusted in the place of the keys of its use */
const verified: Record<Use, (bytes: Uint8Array, trusted: KeyResolver, root: Uint8Array) => Promise<unknown>> = {
  grant: (bytes, trusted) => verifyGrant(bytes, { ...grant, nowSeconds: now }, trusted),
  order: (bytes, trusted) => verifyOrder(bytes, { ...order, nowSeconds: now }, trusted),
  otaJob: (bytes, trusted) => verifyJob(bytes, trusted),
  report: (bytes, trusted) => verifyReport({ report: '{}', kid: toHex(keys.report.kid), signed: toBase64url(bytes) }, trusted),
  trustBundle: (bytes, _, root) => verifyTrustBundle(bytes, root),
  package: async (bytes, trusted) =>
    openPackage(await packageOf(keys.package, bytes), {
      contentOpenOf: () => contentOpenWith(kek),
      progUid,
      packageKeys: trusted,
      nowSeconds: now,
      lastSequence: () => undefined,
    }),
};
const keysFor = (use: Use): KeyResolver => (use === 'trustBundle' ? () => undefined : signingKeysOf(published, use));
/** As `verified` says it: a package tells nobody what is wrong with it. */
const refusal = (verifier: Use, code: string) => ({ code: verifier === 'package' ? 'PACKAGE_REFUSED' : code });

describe.each(uses)('the verifier of a %s', verifier => {
  const verify = verified[verifier];

  it('takes its own message by a key of its own use (T19)', async () => {
    covers('T19');
    await expect(verify(await signed[verifier](keys[verifier]), keysFor(verifier), keys.trustBundle.spki)).resolves.toBeDefined();
  });

  it('refuses its own message by the key of any other use (T17)', async () => {
    covers('T17');
    for (const use of uses.filter(other => other !== verifier))
      await expect(
        verify(await signed[verifier](keys[use]), keysFor(verifier), keys.trustBundle.spki),
        `signed by the key of a ${use}`,
      ).rejects.toMatchObject(refusal(verifier, 'COSE_SIGNATURE'));
  });

  it('refuses the message of any other use, also when it trusts the key (T19)', async () => {
    covers('T19');
    for (const use of uses.filter(other => other !== verifier)) {
      const { spki } = keys[use];
      await expect(
        verify(await signed[use](keys[use]), () => spki.slice(-65), spki),
        `a ${use}`,
      ).rejects.toMatchObject(refusal(verifier, 'COSE_MALFORMED'));
    }
  });
});
