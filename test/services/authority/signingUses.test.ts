import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StageContext } from '../../../gateway-device/chip/board.ts';
import { checkedOrder } from '../../../gateway-device/chip/orders.ts';
import { takeBundle } from '../../../gateway-device/chip/trust.ts';
import { readJob } from '../../../gateway-device/device/app/judgement.ts';
import { verifiedBy } from '../../../gateway-device/link/trustBundles.ts';
import { oemKeys, type ProgrammerIdentity, updateBundle } from '../../../gateway-device/programmer/identity.ts';
import { type SigningUse, signingUses } from '../../../src/domain/signingUse.ts';
import { NusecError } from '../../../src/errors.ts';
import { coseSigner } from '../../../src/keystore/signer.ts';
import { type OtaJob, signJob } from '../../../src/ota/otaJob.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { contentOpenWith } from '../../../src/production/contentKey.ts';
import { signGrant, verifyGrant } from '../../../src/production/grant.ts';
import { signOrder } from '../../../src/production/order.ts';
import { openPackage, sealPackage } from '../../../src/production/package.ts';
import { signReport, verifyReport } from '../../../src/production/report.ts';
import type { Signer } from '../../../src/production/signed.ts';
import { signingKeysOf, signTrustBundle, type TrustBundle, verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { authorityOf, ownKeysFor, rootDer, signerFor } from '../../../src/services/authority/authority.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { newChip } from '../../gateway-device/programmer/factory.ts';
import { fill, grant, now, order, payload, sealWith } from '../../production/samples.ts';
import { openProject, type Project } from '../project.ts';

/** Every use of a signature × everybody who verifies one: the keys are those of a project, the verifiers those of devices, programmers, gateways,
 *  the command line and the server. */

let project: Project;
let bundle: TrustBundle;
let root: Uint8Array;
beforeAll(async () => {
  project = await openProject();
  root = rootDer(await authorityOf(project.ctx));
  bundle = await verifyTrustBundle(await currentTrustBundle(project.ctx, await authorityOf(project.ctx)), parseCertificate(root).spki);
});
afterAll(() => project.close());

type Use = SigningUse | 'trustBundle';
const uses: readonly Use[] = [...signingUses, 'trustBundle'];
const signerOf = async (use: Use): Promise<Signer> =>
  use === 'trustBundle' ? coseSigner(project.ctx.keystore, 'root/1') : signerFor(project.ctx, await authorityOf(project.ctx), use);

/** A chip that has the project's root and trust bundle, as devices and programmers do. */
async function machine() {
  const chip = newChip();
  chip.data.put('rootCertificate', root);
  chip.data.put('objId', order.objId);
  await takeBundle(chip, await currentTrustBundle(project.ctx, await authorityOf(project.ctx)));
  const identity = { rootSpki: parseCertificate(root).spki } as ProgrammerIdentity;
  return { chip, identity, context: { chip } as StageContext };
}

const aesKey = fill(0x11, 32);
const job: OtaJob = {
  format: 1,
  otaJobId: fill(1),
  uid: fill(2),
  imageHash: fill(3, 32),
  imageBytes: 1000,
  version: { major: 2, minor: 0, revision: 1, build: 77 },
  securityCounter: 6,
  blockBytes: 1024,
  blockHashes: fill(4, 32),
  expiresAtSeconds: 2_000_000_000,
  sequence: 12,
  dependencies: [],
  vendorUuid: fill(5),
  classUuid: fill(6),
};
const grantSigned = (signer: Signer) => signGrant(grant, signer);
const nextBundle = (signer: Signer) => signTrustBundle({ ...bundle, version: bundle.version + 1 }, signer);
const refused = (error: unknown) => {
  if (error instanceof NusecError) return false;
  throw error;
};
const taken = (work: Promise<unknown>) => work.then(value => value !== undefined, refused);

/** Who verifies what: signs the message with a key and asks the verifier whether it takes it. */
const verifiers: Readonly<Record<string, { readonly use: Use; readonly takes: (signer: Signer) => Promise<boolean> }>> = {
  'a device, an order': {
    use: 'order',
    async takes(signer) {
      const { context } = await machine();
      const signed = await signOrder({ ...order, uid: context.chip.uid }, signer);
      return taken(checkedOrder(context, signed, { operation: 'wipe', nonce: order.nonce }));
    },
  },
  'a device, an OTA job': {
    use: 'otaJob',
    takes: async ({ kid, sign }) => taken(readJob((await machine()).context, await signJob(job, kid, sign))),
  },
  'a device, a trust bundle': {
    use: 'trustBundle',
    takes: async signer => taken(takeBundle((await machine()).chip, await nextBundle(signer))),
  },
  'a programmer, a package': {
    use: 'package',
    async takes(signer) {
      const { chip, identity } = await machine();
      const file = await sealPackage({ payload, epoch: 1, iv: fill(0x22, 12) }, signer, sealWith(aesKey));
      const packageKeys = await oemKeys(chip, identity, 'package');
      const reader = { contentOpenOf: () => contentOpenWith(aesKey), progUid: payload.progUid, packageKeys, nowSeconds: now };
      return taken(openPackage(file, { ...reader, lastSequence: () => 0 }));
    },
  },
  'a programmer, a grant': {
    use: 'grant',
    async takes(signer) {
      const { chip, identity } = await machine();
      return taken(verifyGrant(await grantSigned(signer), grant, await oemKeys(chip, identity, 'grant')));
    },
  },
  'a programmer, a trust bundle': {
    use: 'trustBundle',
    async takes(signer) {
      const { chip, identity } = await machine();
      return taken(updateBundle(chip, identity, await nextBundle(signer)).then(() => true));
    },
  },
  'a gateway or the command line, a trust bundle': {
    use: 'trustBundle',
    takes: async signer => taken(verifiedBy(await nextBundle(signer), [root])),
  },
  'the command line, a report': {
    use: 'report',
    takes: async signer => taken(verifyReport(await signReport('{}', signer), signingKeysOf(bundle, 'report'))),
  },
  'the server, its own order': {
    use: 'order',
    async takes(signer) {
      const { verifyOrder } = await import('../../../src/production/order.ts');
      return taken(verifyOrder(await signOrder(order, signer), order, ownKeysFor(await authorityOf(project.ctx), 'order')));
    },
  },
};

describe('a signature', () => {
  it.each(Object.entries(verifiers))('is taken by %s, only from a key made for that', async (_who, { use, takes }) => {
    for (const made of uses) expect(await takes(await signerOf(made)), `signed by the key for ${made}`).toBe(made === use);
  });

  it('of every use comes from a key of its own', async () => {
    const kids = await Promise.all(uses.map(async use => Buffer.from((await signerOf(use)).kid).toString('hex')));
    expect(new Set(kids).size).toBe(uses.length);
    expect(bundle.signingKeys.map(({ uses: named }) => named)).toEqual(signingUses.map(use => [use]));
  });
});
