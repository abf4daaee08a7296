import { sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { closeServer, createCrlServer } from '../../src/api/server.ts';
import { fromBase64url, toBase64url } from '../../src/bytes.ts';
import { readSettings } from '../../src/config.ts';
import { sha256Hex } from '../../src/digest.ts';
import { authority, authorityStream } from '../../src/domain/authority.ts';
import { device, deviceStream } from '../../src/domain/device.ts';
import type { RevocationReason } from '../../src/domain/deviceEvents.ts';
import type { Curve } from '../../src/ecKey.ts';
import { signer } from '../../src/keystore/signer.ts';
import { listenOn } from '../../src/listening.ts';
import { issueCertificate } from '../../src/pki/certificate.ts';
import { assembleCsr, buildCertificationRequestInfo } from '../../src/pki/csr.ts';
import type { NameFields } from '../../src/pki/names.ts';
import { type Certificate, parseCertificate } from '../../src/pki/parse.ts';
import { initialiseProject } from '../../src/services/administration/initialise.ts';
import { authorityOf } from '../../src/services/authority/authority.ts';
import { ensureSigningKey, establishIssuingCa } from '../../src/services/authority/issuingCa.ts';
import { createAlarms } from '../../src/services/base/alarms.ts';
import { type Context, execute } from '../../src/services/base/context.ts';
import { openContext } from '../../src/services/dataFolder/open.ts';
import { startClientTrust } from '../../src/services/identity/clientTrust.ts';
import { certifyDevice } from '../../src/services/identity/enrolment.ts';
import type { Enrolment } from '../../src/services/identity/issuance.ts';
import { startOcsp } from '../../src/services/revocation/ocsp.ts';
import { startRevocations } from '../../src/services/revocation/revocations.ts';
import type { Issuing } from '../pki/support.ts';
import { watchWrites } from '../support/watchedStore.ts';
import { csrOf, newParty, newUid, type Party } from './parties.ts';

/** An initialised project with one device CA (line `meter`), its revocations, OCSP responder and CRL port; no other server. Time can be moved. */

export type Project = Awaited<ReturnType<typeof openProject>>;
export type TestDevice = Party & Enrolment & { readonly objId: string; readonly parsed: Certificate };

const by = 'operator:alice';

/** @param settings of the server besides the silent log, such as its keystore */
export async function openProject(
  wrap: (ctx: Context) => Context = ctx => ctx,
  curves: { readonly curve?: Curve; readonly icaCurve?: Curve } = {},
  settingsOf: NodeJS.ProcessEnv = {},
) {
  const dataDir = mkdtempSync(join(tmpdir(), 'nusec-project-'));
  const settings = readSettings(dataDir, { NUSEC_LOG_LEVEL: 'silent', ...settingsOf });
  const opened = await openContext(settings, { https: 8443, crl: 8080 }, true);
  let aheadMs = 0;
  const ctx = wrap({ ...opened.ctx, clock: () => new Date(Date.now() + aheadMs) });
  const { tokens } = await initialiseProject(ctx, {
    organization: 'Example OEM',
    administrators: ['alice', 'bob'],
    ...curves,
  });
  await establishIssuingCa(ctx, 'device', 'meter');
  const revocations = await startRevocations(ctx);
  const trust = await startClientTrust(ctx, revocations);
  const ocsp = await startOcsp(ctx, revocations);
  const server: Server = createCrlServer(ctx, ocsp);
  const port = await listenOn(server, { port: 0, host: '127.0.0.1' });

  async function newDevice(party = newParty(), line = 'meter'): Promise<TestDevice> {
    const objId = newUid();
    await mint(ctx, party.uid, objId, line);
    const enrolment = await certifyDevice(ctx, party.uid, fromBase64url(csrOf(party, objId)), by);
    return { ...party, ...enrolment, objId, parsed: parseCertificate(enrolment.certificate) };
  }
  return {
    ctx,
    dataDir,
    tokens,
    revocations,
    trust,
    ocsp,
    alarms: createAlarms(ctx),
    url: `http://127.0.0.1:${port}`,
    newDevice,
    async revoke({ uid, parsed }: TestDevice, reason: RevocationReason = 'keyCompromise') {
      await execute(ctx, device, deviceStream(uid), { type: 'RevokeCertificate', serial: parsed.serialHex, reason, by }, by);
      await revocations.caughtUp(await ctx.store.head());
    },
    moveClock(ms: number) {
      aheadMs += ms;
    },
    eventsOf: async (type: string) => (await ctx.store.readAll(0, 1_000_000)).filter(event => event.type === type),
    async close() {
      await closeServer(server);
      await ocsp.close();
      await trust.close();
      await revocations.close();
      await opened.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** Commits that can be made to fail, as a kill before them does: `killer.at` counts down to the first that does, of `killer.times`. */
export const killer = { at: Number.POSITIVE_INFINITY, times: 1 };
export const withKills = (ctx: Context): Context => ({
  ...ctx,
  store: watchWrites(ctx.store, () => {
    killer.at -= 1;
    if (killer.at <= 0 && killer.at > -killer.times) throw new Error('killed');
  }),
});

export async function mint(ctx: Context, uid: string, objId: string, line = 'meter'): Promise<void> {
  const unit = { uid, objId, line, jobId: newUid(), programmer: newUid(), grantId: newUid() };
  await execute(ctx, device, deviceStream(uid), { type: 'MintDevice', ...unit }, by);
}

/** A request of this key for any subject, DER. */
export function requestOf(party: Party, subject: NameFields): Uint8Array {
  const cri = buildCertificationRequestInfo({ subject, publicKeyPoint: party.spki.slice(-65) });
  return assembleCsr(cri, new Uint8Array(sign('sha256', cri, party.key)));
}

/** Makes a certified device one that is in stock, as a finished production does. */
export async function putInStock(ctx: Context, uid: string): Promise<void> {
  const data = { grantId: newUid(), receiptSha256: '00'.repeat(32) };
  const event = { type: 'ProvisioningCompleted', id: ctx.newId(), at: ctx.clock().toISOString(), by, data };
  await ctx.store.append(deviceStream(uid), 'any', [event]);
}

/** An issuing CA of devices as they were made once: for ten years, and without a statement of what it issues. */
export async function establishOldCa(ctx: Context, line: string): Promise<Issuing> {
  const icaId = `device-${line}-1`;
  const keyId = `ica/${icaId}`;
  const { root } = await authorityOf(ctx);
  const startMs = ctx.clock().getTime();
  const validity = { notBefore: new Date(startMs).toISOString(), notAfter: new Date(startMs + 3652 * 86_400_000).toISOString() };
  const common = {
    publicKey: await ensureSigningKey(ctx, keyId),
    serial: ctx.randomBytes(16),
    crlUrl: 'http://localhost:8080/crl/root.crl',
  };
  const names = { issuer: parseCertificate(fromBase64url(root.certificate)), organization: 'Example OEM', line, commonName: icaId };
  const { der } = await issueCertificate('ica', { ...common, ...validity, ...names }, await signer(ctx.keystore, root.keyId));
  const stream = authorityStream(ctx.project);
  const facts = { icaId, use: 'device', line, generation: 1, keyId, certificate: toBase64url(der), sha256: sha256Hex(der) } as const;
  await execute(ctx, authority, stream, { type: 'EstablishIssuingCa', ...facts }, by);
  await execute(ctx, authority, stream, { type: 'ActivateIssuingCa', icaId }, by);
  return { der, certificate: parseCertificate(der), key: { signer: await signer(ctx.keystore, keyId) } };
}
