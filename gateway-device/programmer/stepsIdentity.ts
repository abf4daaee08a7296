import { concat, equalBytes, fromHex, toBase64url, toHex } from '../../src/bytes.ts';
import { rawToDer } from '../../src/ecdsa.ts';
import { NusecError } from '../../src/errors.ts';
import { checkChain } from '../../src/pki/chain.ts';
import { assembleCsr, buildCertificationRequestInfo, judgeCsr } from '../../src/pki/csr.ts';
import { scopeIn } from '../../src/pki/issuerScope.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { DevAuthError } from '../../src/production/devauth/error.ts';
import type { DevAuthHost } from '../../src/production/devauth/host.ts';
import { pieceBytesFor, putObject } from '../../src/production/devauth/transfer.ts';
import type { TrustBundle } from '../../src/production/trustBundle.ts';
import { authKeySlot, encryptionKeySlot } from '../chip/keyStore.ts';
import { recordedIn } from '../link/knownIssuers.ts';
import type { WiredIdentity } from '../link/wiredIdentity.ts';
import { fromServer } from './blame.ts';
import { readBundle, updateBundle } from './identity.ts';
import type { UnitFacts } from './nvm.ts';
import { startDevAuth } from './target.ts';
import { fact, factBytes, grantIdOf, learn, type Step, type Unit } from './unit.ts';
import { writeUnitData } from './unitData.ts';

/** Steps 3–6: the target makes its own key, and gets a certificate for it (R72–R79, RULE-2, RULE-10). */

const minEntropyBits = 256;

const loadDevAuth: Step = {
  k: 3,
  name: 'DevAuth to SRAM, hello',
  starred: false,
  run: async unit => {
    if (unit.live.devAuth) return;
    const hello = await startDevAuth(unit.target);
    if (!equalBytes(hello.uid, unit.found.uid)) throw new NusecError('DEVICE_STATE', 'serial link and debug port are of different chips');
    unit.live.devAuth = hello;
  },
};

/** The key is never made again behind our back: a chip that has one reports it again, and it must be the one of the journal. */
const keygen: Step = {
  k: 4,
  name: 'key in the KeyStore',
  starred: true,
  needs: 'devauth',
  run: async unit => {
    const { publicKey } = await unit.target.host.request('keygen', { keySlot: authKeySlot, algorithm: 'es256', minEntropyBits });
    await makeEncryptionKey(unit.target.host);
    learn(unit, { publicKey: toBase64url(concat(Uint8Array.of(0x04), publicKey)) });
  },
};

/** The key that images are encrypted for; its public half comes to the server in the receipts. A chip that has none is built all the same, unless
 *  its line accepts encrypted images only: then the server gives no application. */
export async function makeEncryptionKey(host: DevAuthHost): Promise<void> {
  const wish = { keySlot: encryptionKeySlot, algorithm: 'ecdhEs', minEntropyBits } as const;
  await host.request('keygen', wish).catch(error => {
    if (!(error instanceof DevAuthError && ['bad-arg', 'bad-cbor'].includes(error.reason))) throw error;
  });
}

const certify: Step = {
  k: 5,
  name: 'certification request',
  starred: false,
  needs: 'devauth',
  run: async unit => {
    const point = factBytes(unit, 'publicKey');
    const subject = { commonName: fact(unit, 'objId'), serialNumber: toHex(unit.found.uid) };
    const cri = buildCertificationRequestInfo({ subject, publicKeyPoint: point });
    const { signature } = await unit.target.host.request('signCri', { cri });
    const csr = assembleCsr(cri, rawToDer(signature));
    judgeCsr(csr, subject);
    const issued = await unit.server.certify(grantIdOf(unit), csr);
    await fromServer(async () => {
      await checkRoot(unit, issued);
      await checkIssued(unit, issued, point);
    });
    learn(unit, {
      certificate: toBase64url(issued.certificate),
      ica: toBase64url(issued.ica),
      root: toBase64url(issued.root),
      bundle: toBase64url(issued.bundle),
      ...policyFact(issued),
    });
  },
};

/** As it stands in the journal. */
export const policyFact = ({ spdm }: Pick<WiredIdentity, 'spdm'>): Pick<UnitFacts, 'spdm'> => {
  if (spdm === undefined) return {};
  const { leastVersion, signatures, publicKey } = spdm;
  return {
    spdm: {
      ...(leastVersion !== undefined && { leastVersion }),
      ...(signatures && { signatures }),
      ...(publicKey && { publicKey: toBase64url(publicKey) }),
    },
  };
};

/** The target's root is ours, or after a rollover one that ours names in the trust bundle. The bundle that comes along is the target's, by its root. */
async function checkRoot(
  { core: { chip }, identity, server }: Unit,
  { root, bundle }: Record<'root' | 'bundle', Uint8Array>,
): Promise<void> {
  if (equalBytes(root, identity.root)) return updateBundle(chip, identity, bundle);
  await updateBundle(chip, identity, await server.trustBundle());
  const { roots } = await readBundle(chip, identity);
  if (!roots.some(known => equalBytes(known, root))) throw new NusecError('CHAIN_REFUSED', 'the server names another root');
}

/** The certificate must be of this chip, this registration and this key, from an issuing CA of the line that the package is for. */
async function checkIssued(
  unit: Unit,
  { certificate, ica, root }: Record<'certificate' | 'ica' | 'root', Uint8Array>,
  point: Uint8Array,
): Promise<void> {
  const { core, identity, payload, found } = unit;
  const bundle = await readBundle(core.chip, identity);
  const line = lineOf(bundle, payload.icaId);
  const purpose = { purpose: 'device', recorded: recordedIn(bundle), ...(line !== undefined && { line }) } as const;
  const leaf = checkChain([certificate, ica], { roots: [root], now: undefined, uid: toHex(found.uid), ...purpose });
  if (leaf.objId !== fact(unit, 'objId') || !leaf.point || !equalBytes(leaf.point, point)) {
    throw new NusecError('CHAIN_REFUSED', 'the certificate is for another registration or key');
  }
}

/** The line that the issuing CA of a package states; undefined for one that states nothing. */
function lineOf({ issuers }: TrustBundle, icaId: string): string | undefined {
  const issuer = issuers.find(known => known.icaId === icaId);
  return issuer && scopeIn(parseCertificate(issuer.certificate))?.line;
}

const install: Step = {
  k: 6,
  name: 'certificates to flash',
  starred: true,
  needs: 'devauth',
  run: async unit => {
    const { host } = unit.target;
    const pieceBytes = pieceBytesFor(unit.live.devAuth?.maxBodyBytes ?? 0);
    await putObject(host, 'rootCertificate', factBytes(unit, 'root'), pieceBytes);
    await putObject(host, 'icaCertificate', factBytes(unit, 'ica'), pieceBytes);
    await putObject(host, 'deviceCertificate', factBytes(unit, 'certificate'), pieceBytes);
    await putObject(host, 'programmerCertificate', unit.identity.certificate, pieceBytes);
    await putObject(host, 'objId', fromHex(fact(unit, 'objId')), pieceBytes);
    await putObject(host, 'bundle', factBytes(unit, 'bundle'), pieceBytes);
    await writeUnitData(unit, host, 'plain', pieceBytes);
  },
};

export const identitySteps: readonly Step[] = [loadDevAuth, keygen, certify, install];
