import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { agreeWithServer, withServer } from '../../../gateway-device/programmer/core.ts';
import { readBundle, readIdentity } from '../../../gateway-device/programmer/identity.ts';
import { fromBase64url, fromHex, toBase64url, toHex } from '../../../src/bytes.ts';
import { allotment, allotmentStream } from '../../../src/domain/allotment.ts';
import type { ExportedPackage } from '../../../src/domain/allotmentEvents.ts';
import type { NusecError } from '../../../src/errors.ts';
import { issueCertificate } from '../../../src/pki/certificate.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { type Grant, signGrant } from '../../../src/production/grant.ts';
import { ledgerHeadOf } from '../../../src/production/ledger.ts';
import type { Signer } from '../../../src/production/signed.ts';
import { carryOut } from '../../../src/services/administration/caGenerations.ts';
import { authorityOf, signerFor } from '../../../src/services/authority/authority.ts';
import { activeCa } from '../../../src/services/authority/issuingCa.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { execute } from '../../../src/services/base/context.ts';
import { opened } from '../../../src/services/production/packages.ts';
import { type Authority, leafFields, makeIca, makeKey, makeRoot } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { type Call, changedJson, failing } from '../../support/faults.ts';
import { signerOf } from './factory.ts';
import { endLine, startLine } from './line.ts';
import type { OemServer } from './oemServer.ts';
import { freshId, importCode, onlyJob, produce, startTarget, type TestProgrammer } from './programmerFixture.ts';

/** A server that is wrong, or is not the server: what the programmer checks although the server has said it. */

let server: OemServer;
let programmer: TestProgrammer;

beforeAll(async () => {
  ({ server, programmer } = await startLine());
});
afterAll(() => endLine({ server, programmer }));

const job = (wish?: Parameters<typeof onlyJob>[2]) => onlyJob(server, programmer, wish);
const lastUnit = async (jobId: string) => (await server.units(jobId, programmer.uid)).at(-1);

/** Builds a fresh chip while the rule holds. */
async function produceWith(rule: Parameters<OemServer['proxy']['fail']>[0]): Promise<string> {
  const target = await startTarget();
  server.proxy.fail(rule);
  const { code } = await produce(programmer.core, target.addresses);
  server.proxy.heal();
  await target.stop();
  return code;
}

/** Another package of a job, for an application that is below its floor: the server as it is exports none. */
async function withFloor(jobId: string, rollbackFloor: number): Promise<Uint8Array> {
  const newest = opened(await server.allotment(jobId, programmer.uid)).packages.at(-1) as ExportedPackage;
  const packageId = freshId();
  const sequence = newest.sequence + 1;
  const before = await server.ctx.blobs.get(newest.sha256);
  const file = await server.forge(programmer.core, before, { rollbackFloor, packageId, sequence, supersedes: fromHex(newest.packageId) });
  const exported = { ...newest, packageId: toHex(packageId), sequence, sha256: await server.ctx.blobs.put(file) };
  const stream = allotmentStream(jobId, programmer.uid);
  await execute(server.ctx, allotment, stream, { type: 'ExportPackage', after: newest.sequence, ...exported }, 'operator:pia');
  return file;
}

/** A grant for what this call asks, with changes, and not by the rules of the server. */
async function grantFor({ body }: Call, changes: Partial<Grant>, signer?: Signer) {
  const { jobId, uid, ledger } = body as { readonly jobId: string; readonly uid: string; readonly ledger: readonly string[] };
  const grant: Grant = {
    grantId: freshId(),
    jobId: fromHex(jobId),
    uid: fromHex(uid),
    objId: freshId(),
    progUid: fromHex(programmer.uid),
    number: 1,
    expiresAtSeconds: 1_900_000_000,
    ledgerHead: ledgerHeadOf(fromBase64url(ledger.at(-1) ?? '')),
    ...changes,
  };
  const signed = await signGrant(grant, signer ?? (await signerFor(server.ctx, await authorityOf(server.ctx), 'grant')));
  return { grantId: toHex(grant.grantId), objId: toHex(grant.objId), grant: toBase64url(signed), expiresAt: '2030-01-01T00:00:00.000Z' };
}

const granting = (changes: Partial<Grant>, signer?: Signer) => (call: Call) =>
  call.name === 'units' ? { instead: changedJson(() => grantFor(call, changes, signer)) } : undefined;

describe('a server that is wrong', () => {
  it('offers an application that is not in the package: refused, and the chip is not to blame (RULE-8)', async () => {
    covers('RULE-8');
    const { jobId } = await job();
    const target = await startTarget();
    const other = { bodySha256: toHex(new Uint8Array(32).fill(9)) };
    server.proxy.fail(failing('application', { instead: changedJson(offer => ({ ...offer, ...other })) }));
    expect((await produce(programmer.core, target.addresses)).code).toBe('FIRMWARE_NOT_BOUND');
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'open' });
    expect(target.chip.flash.read(target.chip.layout.primary.offset, 64)).toEqual(new Uint8Array(64).fill(0xff));
    server.proxy.heal();
    expect((await produce(programmer.core, target.addresses)).code).toBe('OK');
    await target.stop();
  });

  it('gives a grant for something else, or not signed by the package key: refused (RULE-5, I12)', async () => {
    covers('RULE-5', 'I12');
    const { jobId } = await job();
    for (const changes of [{ uid: freshId() }, { jobId: freshId() }, { progUid: freshId() }, { ledgerHead: new Uint8Array(32) }]) {
      expect(await produceWith(granting(changes))).toBe('GRANT_REFUSED');
    }
    expect(await produceWith(granting({}, signerOf(makeKey())))).toBe('COSE_SIGNATURE');
    expect(await produceWith(() => undefined)).toBe('OK');
    expect(programmer.core.nvm.state().jobs[jobId]).toMatchObject({ committed: 1, scrapped: 0, open: 0 });
  });

  it('grants a chip that is not on the list: refused, and the count comes back (RULE-7, T7)', async () => {
    covers('RULE-7', 'T7');
    const { jobId } = await job({ uids: Array.from({ length: 2001 }, () => toHex(freshId())) });
    expect(await produceWith(granting({}))).toBe('UID_NOT_LISTED');
    expect(programmer.core.nvm.state().jobs[jobId]).toMatchObject({ count: 10, committed: 0, scrapped: 0, open: 0 });
  });

  it('says that the grant has expired: it is renewed, and the unit goes on (I12)', async () => {
    covers('I12');
    const { jobId } = await job();
    let isLate = false;
    const late = ({ name }: Call) => {
      if (name === 'application' && !isLate) server.plant.moveClock(16 * 60_000);
      isLate ||= name === 'application';
      return undefined;
    };
    expect(await produceWith(late)).toBe('OK');
    expect(server.proxy.calls.filter(({ name }) => name === 'renew')).toHaveLength(1);
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'committed' });
  });

  it('shows an older trust bundle: the newer one stays (silence 11)', async () => {
    const version = async () => (await readBundle(programmer.core.chip, readIdentity(programmer.core.chip))).version;
    await job();
    const older = await withServer(programmer.core, api => api.trustBundle());
    const before = await version();
    await carryOut(server.ctx, { type: 'establishPackageKey', keyId: 'package/2' }, ['operator:alice', 'operator:bob']);
    await job();
    const newest = await version();
    expect(newest).toBeGreaterThan(before);
    server.proxy.fail(failing('trust-bundle', { instead: given => ({ ...given, body: older }) }));
    await job();
    server.proxy.heal();
    expect(await version()).toBe(newest);
  });

  it('offers an application below the rollback floor of the package: refused (RULE-11, T12)', async () => {
    covers('RULE-11', 'T12');
    const { jobId } = await job();
    expect(await importCode(programmer.core, await withFloor(jobId, 6))).toBe('OK');
    const offered = ({ name, body }: Call) => {
      const { uid, objId } = body as { readonly uid: string; readonly objId: string };
      return name === 'application' ? { instead: changedJson(() => server.signedApplication(jobId, uid, objId)) } : undefined;
    };
    expect(await produceWith(offered)).toBe('ROLLBACK');
    expect(await lastUnit(jobId)).toMatchObject({ outcome: 'open' });
  });
});

describe('somebody who is not the server', () => {
  /** What is open to everybody and asked before a server is judged: bundle and time count by signature and key, whoever brings them. */
  const beforehand = ['/v1/trust-bundle', '/v1/time'];

  /** An HTTPS server with this certificate, and the genuine bundle and time. Keeps what else it is asked. */
  async function impostor(cert: string, key: string) {
    const requests: string[] = [];
    const bundle = Buffer.from(await currentTrustBundle(server.ctx, await authorityOf(server.ctx)));
    const listening = createServer({ cert, key }, ({ url = '' }, response) => {
      const path = url.split('?')[0] ?? '';
      if (!beforehand.includes(path)) requests.push(path);
      if (path === beforehand[0]) return void response.end(bundle);
      response.end(path === beforehand[1] ? JSON.stringify({ now: new Date().toISOString() }) : '{}');
    });
    await new Promise<void>(resolve => listening.listen(0, '127.0.0.1', resolve));
    const url = `https://localhost:${(listening.address() as AddressInfo).port}`;
    const close = () => new Promise(resolve => listening.close(resolve));
    return { url, requests: () => requests.length, close };
  }

  type Forgery = { readonly dnsNames?: readonly string[]; readonly isExpired?: boolean; readonly isOurs?: boolean };

  /** @returns PEM of certificate chain and key */
  async function identity({ dnsNames = ['localhost'], isExpired = false, isOurs = true }: Forgery): Promise<readonly [string, string]> {
    const key = makeKey();
    const ours = await activeCa(server.ctx, await authorityOf(server.ctx), 'server');
    const stranger = await makeIca(await makeRoot(), 'servers');
    const ca = isOurs ? ours : { certificate: stranger.certificate, signer: stranger.key.signer };
    // Issuing CAs are backdated, so a leaf that ended right after its issuer began has ended by now.
    const { notBefore } = ca.certificate;
    const ended = { notBefore, notAfter: new Date(Date.parse(notBefore) + 1000).toISOString() };
    const fields = { ...leafFields({ certificate: ca.certificate } as Authority, key.spki), ...(isExpired && ended) };
    const { der } = await issueCertificate('server', { ...fields, commonName: 'server', dnsNames, ipAddresses: [] }, ca.signer);
    const pem = toPem('CERTIFICATE', der) + toPem('CERTIFICATE', ca.certificate.der);
    return [pem, key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string];
  }

  /** What comes of agreeing a key with an impostor, and how many requests it got. */
  async function agreeing(forgery: Forgery) {
    const fake = await impostor(...(await identity(forgery)));
    const code = await agreeWithServer(programmer.core, fake.url).then(
      () => 'OK',
      (error: NusecError) => error.code,
    );
    await fake.close();
    return { code, requests: fake.requests() };
  }

  it.each<readonly [string, Forgery]>([
    ['is of another root', { isOurs: false }],
    ['has another name', { dnsNames: ['nusec.example.com'] }],
    ['has expired', { isExpired: true }],
  ])('gets no request when its certificate %s (T14)', async (_, forgery) => {
    covers('T14');
    expect(await agreeing(forgery)).toEqual({ code: 'SERVER_UNREACHABLE', requests: 0 });
  });

  it('would get one with a certificate of ours for this name', async () => {
    expect(await agreeing({})).toEqual({ code: 'BAD_REQUEST', requests: 1 });
  });
});
