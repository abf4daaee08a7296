import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { fromBase64url } from '../../../src/bytes.ts';
import { readSettings } from '../../../src/config.ts';
import { type Curve, importKey } from '../../../src/ecKey.ts';
import { checkChain } from '../../../src/pki/chain.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import { signingKeysOf, signTrustBundle, verifyTrustBundle } from '../../../src/production/trustBundle.ts';
import { approveCeremony, type CeremonyWish, ceremonyRecord, proposeCeremony } from '../../../src/services/administration/ceremonies.ts';
import { initialiseProject } from '../../../src/services/administration/initialise.ts';
import { authorityOf, crossCertificates, signerFor } from '../../../src/services/authority/authority.ts';
import { establishIssuingCa } from '../../../src/services/authority/issuingCa.ts';
import { currentTrustBundle } from '../../../src/services/authority/trustBundle.ts';
import { openContext } from '../../../src/services/dataFolder/open.ts';
import { currentCrl, issueCrl } from '../../../src/services/revocation/crl.ts';
import { testKey } from '../../cose/keys.ts';
import { label, makeToken, softHsm } from '../../keystore/softToken.ts';
import { temporaryFolder } from '../../keystore/temporary.ts';
import { covers } from '../../support/covers.ts';
import { openProject, type Project, type TestDevice } from '../project.ts';

/** Projects whose root and issuing CAs have P-384 keys, and root rollovers between the curves: what foreign tools and our own readers say. */

const [alice, bob] = ['operator:alice', 'operator:bob'];
async function ceremony({ ctx, alarms }: Project, wish: CeremonyWish) {
  const { id } = await proposeCeremony(ctx, wish, alice);
  return approveCeremony(ctx, alarms, id, bob);
}

async function run(files: Readonly<Record<string, string>>, command: string, ...args: readonly string[]): Promise<string> {
  const cwd = temporaryFolder();
  for (const [name, text] of Object.entries(files)) writeFileSync(join(cwd, name), text);
  const { stdout, stderr } = await promisify(execFile)(command, [...args], { cwd }).catch(error => error);
  return `${stdout}${stderr}`;
}
const pem = (...ders: readonly Uint8Array[]): string => ders.map(der => toPem('CERTIFICATE', der)).join('');

const tokenFolder = mkdtempSync(join(tmpdir(), 'nusec-token-'));
afterAll(() => rmSync(tokenFolder, { recursive: true }));
const drivers = {
  software: () => ({}),
  pkcs11: () => {
    const { pinFile } = makeToken(tokenFolder);
    return { NUSEC_KEYSTORE: 'pkcs11', NUSEC_PKCS11_MODULE: softHsm, NUSEC_PKCS11_TOKEN: label, NUSEC_PKCS11_PIN_FILE: pinFile };
  },
};

describe.each(['software', 'pkcs11'] as const)('a project on P-384 with its keys in the %s keystore', driver => {
  let project: Project;
  let good: TestDevice;
  let revoked: TestDevice;
  beforeAll(async () => {
    project = await openProject(undefined, { curve: 'P-384' }, drivers[driver]());
    [good, revoked] = [await project.newDevice(), await project.newDevice()];
    await issueCrl(project.ctx, 'device-meter-1', true);
    await project.revoke(revoked);
    await issueCrl(project.ctx, 'device-meter-1');
  });
  afterAll(() => project?.close());

  it('has P-384 authorities, recorded as such, above P-256 leaves of at most 2000 bytes (R2, I15)', async () => {
    covers('R2', 'I15');
    const { root, issuingCas } = await authorityOf(project.ctx);
    expect(issuingCas.map(({ use }) => use)).toEqual(['server', 'programmer', 'gateway', 'device']);
    for (const { curve, certificate } of [root, ...issuingCas])
      expect([curve, parseCertificate(fromBase64url(certificate)).curve]).toEqual(['P-384', 'P-384']);
    expect((await project.eventsOf('RootCaEstablished')).map(({ data }) => data.curve)).toEqual(['P-384']);
    expect([good.parsed.curve, good.parsed.signatureCurve]).toEqual(['P-256', 'P-384']);
    expect(good.certificate.length).toBeLessThan(1000);
    expect(good.certificate.length + good.ica.length + good.root.length).toBeLessThan(2200);
    expect(await ceremonyRecord(project.ctx, 'root')).toMatch(/^curve +P-384$/m);
  });

  it('is believed by openssl and GnuTLS, and a revoked device is not: chain, full and delta list, authorities included', async () => {
    const [root, ica] = [await currentCrl(project.ctx, 'root'), await currentCrl(project.ctx, 'device-meter-1')];
    const lists = [root.full, ica.full, ica.deltaList];
    const files = {
      ca: pem(good.root, good.ica),
      chain: pem(good.certificate, good.ica, good.root),
      ica: pem(good.ica),
      good: pem(good.certificate),
      revoked: pem(revoked.certificate),
      crls: lists.map(der => toPem('X509 CRL', der)).join(''),
      crl: toPem('X509 CRL', ica.full),
    };
    const checks = ['-x509_strict', '-crl_check_all', '-extended_crl', '-use_deltas', '-CRLfile', 'crls', '-CAfile', 'ca'];
    expect(await run(files, 'openssl', 'verify', ...checks, 'good')).toBe('good: OK\n');
    expect(await run(files, 'openssl', 'verify', ...checks, 'revoked')).toContain('certificate revoked');
    expect(await run(files, 'certtool', '--verify-chain', '--infile', 'chain')).toContain('Chain verification output: Verified.');
    expect(await run(files, 'certtool', '--verify-crl', '--load-ca-certificate', 'ica', '--infile', 'crl')).toContain('Verified.');
    for (const der of lists)
      expect(await run({ crl: toPem('X509 CRL', der) }, 'openssl', 'crl', '-text', '-noout', '-in', 'crl')).toContain('ecdsa-with-SHA384');
  });

  it('answers OCSP of openssl and GnuTLS by a P-256 signer under the P-384 CA', async () => {
    const files = { ica: pem(good.ica), root: pem(good.root), good: pem(good.certificate), revoked: pem(revoked.certificate) };
    const asked = [
      '-issuer',
      'ica',
      '-CAfile',
      'root',
      '-verify_other',
      'ica',
      '-url',
      `${project.url}/ocsp`,
      '-cert',
      'good',
      '-cert',
      'revoked',
    ];
    const told = await run(files, 'openssl', 'ocsp', ...asked);
    for (const text of ['Response verify OK', 'good: good', 'revoked: revoked']) expect(told).toContain(text);
    const tool = ['--load-issuer', 'ica', '--load-cert', 'good', '--load-trust', 'ica', '--nonce'];
    expect(await run(files, 'ocsptool', `--ask=${project.url}/ocsp`, ...tool)).toMatch(/Verifying OCSP Response: Success/);
  });

  it('signs the trust bundle with ES384; package keys in it are P-256', async () => {
    const { spki } = parseCertificate(good.root);
    const bundle = await verifyTrustBundle(await currentTrustBundle(project.ctx, await authorityOf(project.ctx)), spki);
    const { kid, curve } = await signerFor(project.ctx, await authorityOf(project.ctx), 'package');
    expect([await signingKeysOf(bundle, 'package')(kid), curve]).toEqual([bundle.signingKeys[0]?.point, 'P-256']);
    const stranger = testKey('P-384');
    const forged = await signTrustBundle(bundle, {
      ...stranger,
      kid: (await signerFor(project.ctx, await authorityOf(project.ctx), 'package')).kid,
    });
    await expect(verifyTrustBundle(forged, spki)).rejects.toMatchObject({ code: 'COSE_SIGNATURE' });
  });

  it('makes the next generation as its root, or as the ceremony says', async () => {
    const { ctx } = project;
    const asRoot = await ceremony(project, { type: 'establishIssuingCa', use: 'gateway' });
    expect([asRoot.action, asRoot.outcome]).toMatchObject([{ icaId: 'gateway-2', curve: 'P-384' }, { curve: 'P-384' }]);
    const { id, outcome } = await ceremony(project, { type: 'establishIssuingCa', use: 'gateway', curve: 'P-256' });
    expect(outcome).toMatchObject({ curve: 'P-256' });
    expect(await ceremonyRecord(ctx, id)).toMatch(/^curve +P-256$/m);
    expect((await authorityOf(ctx)).issuingCas.find(({ icaId }) => icaId === 'gateway-3')?.curve).toBe('P-256');
  });

  it('never makes one authority on two curves', async () => {
    const { ctx } = project;
    await proposeCeremony(ctx, { type: 'establishIssuingCa', use: 'server' }, alice);
    await expect(proposeCeremony(ctx, { type: 'establishIssuingCa', use: 'server', curve: 'P-256' }, bob)).rejects.toMatchObject({
      code: 'CONFLICT',
    });
    await ctx.keystore.generate('ica/device-pump-1', 'P-256');
    expect((await establishIssuingCa(ctx, 'device', 'pump')).curve).toBe('P-256');
    await ctx.keystore.generate('root/2', 'P-256');
    await expect(ceremony(project, { type: 'rollRoot' })).rejects.toMatchObject({ code: 'CONFLICT' });
  });
});

describe('a P-384 root over P-256 issuing CAs', () => {
  it('is chosen at the beginning, holds for lines to come, and for a root to come is chosen anew (R2)', async () => {
    covers('R2');
    const project = await openProject(undefined, { curve: 'P-384', icaCurve: 'P-256' });
    onTestFinished(() => project.close());
    const { ctx } = project;
    const curves = async () => {
      const { roots, issuingCas } = await authorityOf(ctx);
      return [roots.map(({ curve }) => curve), issuingCas.map(({ curve }) => curve)];
    };
    expect(await curves()).toEqual([['P-384'], ['P-256', 'P-256', 'P-256', 'P-256']]);
    expect((await project.newDevice()).parsed.signatureCurve).toBe('P-256');
    expect(await ceremonyRecord(ctx, 'root')).toMatch(/^curve +P-384$[\s\S]*^icaCurve +P-256$/m);
    expect((await establishIssuingCa(ctx, 'device', 'pump')).curve).toBe('P-256');
    const wish = { administrators: ['alice', 'bob'], organization: 'Example OEM' } as const;
    await expect(initialiseProject(ctx, wish)).rejects.toMatchObject({ code: 'STATE' });
    const { action } = await ceremony(project, { type: 'rollRoot', curve: 'P-256', icaCurve: 'P-384' });
    expect(action).toMatchObject({ curve: 'P-256', icaCurve: 'P-384' });
    expect((await establishIssuingCa(ctx, 'device', 'valve')).curve).toBe('P-384');
    expect((await ceremony(project, { type: 'rollRoot' })).action).toMatchObject({ curve: 'P-256', icaCurve: 'P-256' });
  });

  it('is not begun with one choice and finished with another', async () => {
    const settings = readSettings(temporaryFolder(), { NUSEC_LOG_LEVEL: 'silent' });
    const { ctx, close } = await openContext(settings, { https: 0, crl: 0 }, true);
    onTestFinished(close);
    let left = 3;
    const append: typeof ctx.store.append = (...args) => {
      left -= 1;
      return left < 0 ? Promise.reject(new Error('killed')) : ctx.store.append(...args);
    };
    const people = { organization: 'Example OEM', administrators: ['alice', 'bob'] } as const;
    const chosen = { ...people, curve: 'P-384', icaCurve: 'P-256' } as const;
    await expect(initialiseProject({ ...ctx, store: { ...ctx.store, append } }, chosen)).rejects.toThrow('killed');
    for (const other of [people, { ...people, curve: 'P-384' }] as const)
      await expect(initialiseProject(ctx, other)).rejects.toMatchObject({ code: 'CONFLICT' });
    await initialiseProject(ctx, chosen);
    expect(new Set((await authorityOf(ctx)).issuingCas.map(({ curve }) => curve))).toEqual(new Set(['P-256']));
  });
});

describe.each([
  ['P-256', 'P-384'],
  ['P-384', 'P-256'],
] as const)('a root rollover from %s to %s', (from, to) => {
  let project: Project;
  let before: TestDevice;
  let after: TestDevice;
  beforeAll(async () => {
    project = await openProject(undefined, { curve: from });
    before = await project.newDevice();
    await ceremony(project, { type: 'rollRoot', curve: to });
    await ceremony(project, { type: 'establishIssuingCa', use: 'device', line: 'meter' });
    await ceremony(project, { type: 'activateIssuingCa', icaId: 'device-meter-2' });
    after = await project.newDevice();
  });
  afterAll(() => project?.close());

  it('makes the root on the new curve, and issuing CAs follow it', async () => {
    covers('R2');
    const curves = (der: Uint8Array): (Curve | undefined)[] => [parseCertificate(der).curve, parseCertificate(der).signatureCurve];
    expect([before.root, before.ica, after.root, after.ica].map(curves)).toEqual([from, from, to, to].map(curve => [curve, curve]));
    const [cross = new Uint8Array(), back = new Uint8Array()] = crossCertificates(await authorityOf(project.ctx));
    expect([cross, back].map(curves)).toEqual([
      [to, from],
      [from, to],
    ]);
  });

  it('makes whoever trusts one root believe what hangs on the other: openssl, GnuTLS, our own reader', async () => {
    const [cross = new Uint8Array(), back = new Uint8Array()] = crossCertificates(await authorityOf(project.ctx));
    for (const [leaf, link, trusted] of [
      [after, cross, before.root],
      [before, back, after.root],
    ] as const) {
      const files = { leaf: pem(leaf.certificate), between: pem(leaf.ica, link), trusted: pem(trusted) };
      expect(await run(files, 'openssl', 'verify', '-x509_strict', '-CAfile', 'trusted', '-untrusted', 'between', 'leaf')).toBe(
        'leaf: OK\n',
      );
      const chain = pem(leaf.certificate, leaf.ica, link, trusted);
      expect(await run({ chain }, 'certtool', '--verify-chain', '--infile', 'chain')).toContain('Verified.');
      const policy = { roots: [trusted], now: Date.now(), purpose: 'device' } as const;
      expect(checkChain([leaf.certificate, leaf.ica, link], policy).uid).toBe(leaf.uid);
      expect(() => checkChain([leaf.certificate, leaf.ica], policy)).toThrow(expect.objectContaining({ code: 'CHAIN_REFUSED' }));
    }
  });

  it('signs one trust bundle by both roots, each with the algorithm of its key', async () => {
    const [old, young] = [parseCertificate(before.root).spki, parseCertificate(after.root).spki];
    const [byOld, byYoung] = [
      await currentTrustBundle(project.ctx, await authorityOf(project.ctx), 'root'),
      await currentTrustBundle(project.ctx, await authorityOf(project.ctx), 'root-2'),
    ];
    expect(await verifyTrustBundle(byOld, old)).toEqual(await verifyTrustBundle(byYoung, young));
    expect((await verifyTrustBundle(byOld, old)).roots).toEqual([before.root, after.root]);
    await expect(verifyTrustBundle(byOld, young)).rejects.toMatchObject({ code: 'COSE_SIGNATURE' });
    await expect(verifyTrustBundle(byYoung, old)).rejects.toMatchObject({ code: 'COSE_SIGNATURE' });
    expect(importKey(old).asymmetricKeyDetails?.namedCurve).not.toBe(importKey(young).asymmetricKeyDetails?.namedCurve);
  });
});
