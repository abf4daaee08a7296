import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { Core } from '../../../gateway-device/programmer/core.ts';
import { oemKeys, readIdentity } from '../../../gateway-device/programmer/identity.ts';
import { endWhenRevoked } from '../../../src/api/liveConnections.ts';
import { closeServer, createApiServer } from '../../../src/api/server.ts';
import { fromHex, toBase64url } from '../../../src/bytes.ts';
import { sha256 } from '../../../src/digest.ts';
import { allotment, allotmentStream } from '../../../src/domain/allotment.ts';
import type { ImageKind, UnitDataField } from '../../../src/domain/jobEvents.ts';
import { requireBoundFirmware } from '../../../src/domain/jobState.ts';
import { programmer, programmerStream } from '../../../src/domain/programmer.ts';
import { bootKeyId } from '../../../src/keystore/bootKeys.ts';
import { listenOn } from '../../../src/listening.ts';
import { deviceTrailer } from '../../../src/ota/build.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { type ContentSeal, openPackage, type PackagePayload, sealPackage } from '../../../src/production/package.ts';
import type { Signer } from '../../../src/production/signed.ts';
import { authorityOf, rootDer, signerFor } from '../../../src/services/authority/authority.ts';
import { type Context, stateOf } from '../../../src/services/base/context.ts';
import { jobOf } from '../../../src/services/production/jobs.ts';
import { programmerOf } from '../../../src/services/production/programmers.ts';
import { defineProduct, releasedJob } from '../../services/production/factory.ts';
import { openPlant } from '../../services/production/plant.ts';
import { startFaultProxy } from '../../support/faultProxy.ts';
import { newTlsIdentity } from '../../support/tlsIdentity.ts';
import { ledgerOf, unitsOf } from './serverView.ts';

/** The OEM's server as programmers meet it: the real services and API over TLS in this process, behind a proxy that can make any call go
 *  wrong. Beside it what a test wants to see or to sign in the server's name. */
export type OemServer = Awaited<ReturnType<typeof startOemServer>>;

type JobWish = {
  /** Of the programmer's share. */
  readonly count?: number;
  /** Of the whole job; default: the same. */
  readonly planned?: number;
  readonly scrapAllowance?: number;
  /** 32 hex each. */
  readonly uids?: readonly string[];
  readonly unitData?: readonly UnitDataField[];
  readonly configWords?: readonly number[];
};

/** In memory where there is such a place: these tests write durably a few thousand times. */
export const temporary = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const line = 'meter';

/** @param wrap what the server works with instead of its own parts */
export async function startOemServer(wrap: (ctx: Context) => Context = ctx => ctx) {
  const proxy = await startFaultProxy();
  const plant = await openPlant(wrap, { folder: temporary, httpsPort: proxy.port });
  const { ctx, services } = plant;
  const api = createApiServer(plant.api, await newTlsIdentity(ctx, ['localhost']));
  endWhenRevoked(api, services.revocations, services.trust);
  const port = await listenOn(api, { port: 0, host: '127.0.0.1' });
  const rootPem = toPem('CERTIFICATE', rootDer(await authorityOf(ctx)));
  proxy.open({ port, ca: rootPem, identity: await newTlsIdentity(ctx, ['localhost']) });
  await defineProduct(plant, line);

  const exportPackage = async (jobId: string, uid: string, replace = false): Promise<Uint8Array> =>
    (await plant.call('pia', 'POST', `/v1/jobs/${jobId}/allotments/${uid}/export`, { replace })).bytes;
  const allot = (jobId: string, uid: string, count: number, scrapAllowance = 10) =>
    plant.ask('pia', 'POST', `/v1/jobs/${jobId}/allotments`, { programmer: uid, count, scrapAllowance });

  return {
    plant,
    ctx,
    proxy,
    url: proxy.url,
    rootPem,
    /** A released job and the package of this programmer's share, all of it. */
    async newJob(uid: string, { count = 10, planned = count, scrapAllowance = 10, uids, unitData, configWords }: JobWish = {}) {
      const wish = {
        plannedCount: planned,
        scrapAllowance,
        ...(uids && { uids }),
        ...(unitData && { unitData }),
        ...(configWords && { configWords }),
      };
      const jobId = await releasedJob(plant, line, wish);
      await allot(jobId, uid, count, scrapAllowance);
      return { jobId, file: await exportPackage(jobId, uid) };
    },
    allot,
    exportPackage,
    suspend: (jobId: string) => plant.ask('paul', 'POST', `/v1/jobs/${jobId}/suspend`, { reason: 'test' }),
    resume: (jobId: string) => plant.ask('paul', 'POST', `/v1/jobs/${jobId}/resume`),
    /** Body of an image that is bound to the job. */
    image: async (jobId: string, image: ImageKind) => ctx.blobs.get((await jobOf(ctx, jobId))[image]?.bodySha256 ?? ''),
    programmer: (uid: string) => stateOf(ctx, programmer, programmerStream(uid)),
    allotment: (jobId: string, uid: string) => stateOf(ctx, allotment, allotmentStream(jobId, uid)),
    units: (jobId: string, uid: string) => unitsOf(ctx, jobId, uid),
    ledger: (jobId: string, uid: string) => ledgerOf(ctx, jobId, uid),
    /** A package with another content, sealed under the AES_NuLink3 of this programmer: what somebody who has that key, or the server itself,
     *  could make. @param signer the package-signing key unless told */
    async forge(core: Core, file: Uint8Array, changes: Partial<PackagePayload>, signer?: Signer): Promise<Uint8Array> {
      const identity = readIdentity(core.chip);
      const payload = await openPackage(file, {
        contentOpenOf: core.keks.contentOpenOf,
        progUid: identity.uid,
        packageKeys: await oemKeys(core.chip, identity, 'package'),
        lastSequence: () => undefined,
      });
      const { kek } = await programmerOf(ctx, identity.uidHex);
      const seal: ContentSeal = (kdf, iv, aad, plain) => ctx.keystore.seal(kek?.keyId ?? '', kdf, iv, aad, plain);
      const content = { payload: { ...payload, ...changes }, epoch: kek?.epoch ?? 0, iv: ctx.randomBytes(12) };
      return sealPackage(content, signer ?? (await signerFor(ctx, await authorityOf(ctx), 'package')), seal);
    },
    /** The application as it is offered to one unit, by none of the server's rules. */
    async signedApplication(jobId: string, unitUid: string, objId: string) {
      const bound = requireBoundFirmware(await jobOf(ctx, jobId), 'app');
      const keyId = bootKeyId(fromHex(unitUid), fromHex(objId), 'app');
      const publicKey = await ctx.bootKeys.ensure(keyId);
      const signature = await ctx.bootKeys.sign(keyId, sha256(await ctx.blobs.get(bound.bodySha256)));
      const trailer = deviceTrailer({ imageHash: fromHex(bound.imageHash), publicKey, keyForm: 'whole', signature });
      const { bodySha256, size: bodyBytes, imageHash, version, securityCounter } = bound;
      return {
        publicKey: toBase64url(publicKey),
        bodySha256,
        bodyBytes,
        imageHash,
        trailer: toBase64url(trailer),
        version,
        securityCounter,
      };
    },
    async close() {
      await proxy.close();
      await closeServer(api);
      await plant.close();
    },
  };
}
