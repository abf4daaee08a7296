import { describe, expect, it } from 'vitest';
import { type AuthorityCommand, authority } from '../../src/domain/authority.ts';
import { requireActiveCa, requireSigningKey } from '../../src/domain/authorityState.ts';
import { signingUses } from '../../src/domain/signingUse.ts';
import { covers } from '../support/covers.ts';
import { codeOf, play, scenario } from './scenario.ts';

const by = 'operator:sam';
const create: AuthorityCommand = { type: 'CreateProject', project: 'p', name: 'Meters', by };
const rootData = { certificate: 'cm9vdA', sha256: 'r1', keyId: 'root', approvers: [by, 'operator:kim'] };
const root = { type: 'EstablishRootCa', ...rootData } as const;
const icaData = { icaId: 'd1', use: 'device', line: 'meter', certificate: 'aWNh', sha256: 'i1', keyId: 'ica', generation: 1 } as const;
const ica = { type: 'EstablishIssuingCa', ...icaData } as const;
const second = { ...ica, icaId: 'd2', sha256: 'i2', generation: 2 } as const;
const activate = (icaId: string): AuthorityCommand => ({ type: 'ActivateIssuingCa', icaId });
const compromise: AuthorityCommand = { type: 'CompromiseIssuingCa', icaId: 'd1', reason: 'leak', by };
const crlData = { icaId: 'd1', number: 1, sha256: 'c1', thisUpdate: '2026-01-01T00:00:00.000Z', nextUpdate: '2026-01-08T00:00:00.000Z' };
const crl = { type: 'IssueCrl', after: 0, ...crlData } as const;
const active = [create, root, ica, activate('d1')];

const on = (...commands: readonly AuthorityCommand[]) => scenario(authority).given(...play(authority, commands).events);
const state = (...commands: readonly AuthorityCommand[]) => play(authority, commands).state;

describe('the authority of a project', () => {
  it('is created once and has one root, made by two people (I16)', () => {
    covers('I16');
    on()
      .when(create)
      .givesOnce({ type: 'ProjectCreated', data: { project: 'p', name: 'Meters', by } });
    on(create).when(root).givesOnce({ type: 'RootCaEstablished', data: rootData });
    on(create)
      .when({ ...root, approvers: [by] })
      .refused('FOUR_EYES_REQUIRED');
    on(create)
      .when({ ...root, approvers: [by, by] })
      .refused('FOUR_EYES_REQUIRED');
    on(create, root)
      .when({ ...root, sha256: 'other' })
      .refused('CONFLICT');
    on().when(root).refused('STATE');
  });

  it('has roots that follow one another, overlap, and are retired when nothing active hangs on them (I16)', () => {
    covers('I16');
    const certificates = { certificate: 'bg', crossCertificate: 'Yw', backCertificate: 'ZA' };
    const rolled = { ...certificates, rootId: 'root-2', previousRootId: 'root', sha256: 'r2', keyId: 'root/2' };
    const roll = { type: 'RollRootCa', ...rolled, approvers: rootData.approvers } as const;
    const retire = { type: 'RetireRootCa', rootId: 'root' } as const;
    on(create, root)
      .when(roll)
      .givesOnce({ type: 'RootCaRolled', data: { ...rolled, approvers: rootData.approvers } });
    on(create, root)
      .when({ ...roll, approvers: [by] })
      .refused('FOUR_EYES_REQUIRED');
    on(create, root)
      .when({ ...roll, previousRootId: 'root-9' })
      .refused('CONFLICT');
    on(create, root, roll)
      .when({ ...roll, sha256: 'other' })
      .refused('CONFLICT');
    on(create, root).when(retire).refused('STATE');
    on(...active, roll)
      .when(retire)
      .refused('STATE');
    on(create, root, roll)
      .when(retire)
      .givesOnce({ type: 'RootCaRetired', data: { rootId: 'root' } });
    on(create, root, roll)
      .when({ ...retire, rootId: 'root-9' })
      .refused('NOT_FOUND');
  });

  it('knows the curve of each authority: P-256 where an older event says nothing', () => {
    const big = { ...root, curve: 'P-384' } as const;
    const bigIca = { ...ica, curve: 'P-384' } as const;
    on(create)
      .when(big)
      .givesOnce({ type: 'RootCaEstablished', data: { ...rootData, curve: 'P-384' } });
    on(create, big)
      .when(bigIca)
      .givesOnce({ type: 'IssuingCaEstablished', data: { ...icaData, curve: 'P-384' } });
    const certificates = { certificate: 'bg', crossCertificate: 'Yw', backCertificate: 'ZA' };
    const rolled = { ...certificates, rootId: 'root-2', previousRootId: 'root', sha256: 'r2', keyId: 'root/2', curve: 'P-384' } as const;
    const after = state(
      create,
      root,
      ica,
      { type: 'RollRootCa', ...rolled, approvers: rootData.approvers },
      { ...bigIca, ...second, curve: 'P-384' },
    );
    expect(after).toMatchObject({
      root: { rootId: 'root-2', curve: 'P-384' },
      roots: [
        { curve: 'P-256', icaCurve: 'P-256' },
        { curve: 'P-384', icaCurve: 'P-384' },
      ],
      issuingCas: [{ curve: 'P-256' }, { curve: 'P-384' }],
    });
  });

  it('has issuing CAs in rising generations', () => {
    on(create, root).when(ica).givesOnce({ type: 'IssuingCaEstablished', data: icaData });
    on(create).when(ica).refused('STATE');
    on(create, root, ica)
      .when({ ...ica, sha256: 'other' })
      .refused('CONFLICT');
    on(create, root, ica)
      .when({ ...second, generation: 1 })
      .refused('CONFLICT');
    on(create, root, ica)
      .when({ ...second, generation: 1, line: 'pump' })
      .gives({
        type: 'IssuingCaEstablished',
        data: { ...icaData, icaId: 'd2', sha256: 'i2', line: 'pump' },
      });
  });

  it('signs with one active CA per use and line; a new one retires the old (I10)', () => {
    covers('I10');
    on(create, root, ica)
      .when(activate('d1'))
      .givesOnce({ type: 'IssuingCaActivated', data: { icaId: 'd1' } });
    on(...active, second)
      .when(activate('d2'))
      .givesOnce({ type: 'IssuingCaRetired', data: { icaId: 'd1' } }, { type: 'IssuingCaActivated', data: { icaId: 'd2' } });
    on(...active, second, activate('d2'))
      .when(activate('d1'))
      .refused('CA_NOT_ACTIVE');
    on(create).when(activate('d1')).refused('NOT_FOUND');
    expect(requireActiveCa(state(...active), 'device', 'meter').icaId).toBe('d1');
    expect(codeOf(() => requireActiveCa(state(...active), 'device', 'pump'))).toBe('CA_NOT_ACTIVE');
    expect(codeOf(() => requireActiveCa(state(...active), 'server'))).toBe('CA_NOT_ACTIVE');
    expect(codeOf(() => requireActiveCa(state(), 'server'))).toBe('CA_NOT_ACTIVE');
  });

  it('never signs with a retired or compromised CA (I10)', () => {
    covers('I10');
    on(...active)
      .when({ type: 'RetireIssuingCa', icaId: 'd1' })
      .givesOnce({ type: 'IssuingCaRetired', data: { icaId: 'd1' } });
    on(...active)
      .when(compromise)
      .givesOnce({ type: 'IssuingCaCompromised', data: { icaId: 'd1', reason: 'leak', by } });
    on(...active, compromise)
      .when({ type: 'RetireIssuingCa', icaId: 'd1' })
      .refused('CA_NOT_ACTIVE');
    expect(codeOf(() => requireActiveCa(state(...active, compromise), 'device', 'meter'))).toBe('CA_NOT_ACTIVE');
    on(...active, compromise)
      .when(crl)
      .refused('CA_NOT_ACTIVE');
  });

  it('has a package-signing key; the newest signs (I10)', () => {
    covers('I10');
    const key = (keyId: string): AuthorityCommand => ({ type: 'EstablishPackageKey', keyId, publicKey: `pk-${keyId}`, uses: ['package'] });
    const leak: AuthorityCommand = { type: 'CompromisePackageKey', keyId: 'k1', reason: 'leak', by };
    on(create)
      .when(key('k1'))
      .givesOnce({ type: 'PackageKeyEstablished', data: { keyId: 'k1', publicKey: 'pk-k1', uses: ['package'] } });
    on(create, key('k1'))
      .when(leak)
      .givesOnce({ type: 'PackageKeyCompromised', data: { keyId: 'k1', reason: 'leak', by } });
    on(create).when(leak).refused('NOT_FOUND');
    expect(requireSigningKey(state(create, key('k1'), key('k2')), 'package').keyId).toBe('k2');
    expect(codeOf(() => requireSigningKey(state(create, key('k1'), leak), 'package'))).toBe('CA_NOT_ACTIVE');
    expect(codeOf(() => requireSigningKey(state(), 'package'))).toBe('CA_NOT_ACTIVE');
  });

  it('has a signing key for each use; one from before has all of them, until its use has its own', () => {
    const own: AuthorityCommand = { type: 'EstablishPackageKey', keyId: 'grant/2', publicKey: 'g', uses: ['grant'] };
    const old: AuthorityCommand = { type: 'EstablishPackageKey', keyId: 'package/1', publicKey: 'p' };
    expect(signingUses.map(use => requireSigningKey(state(create, old), use).keyId)).toEqual(signingUses.map(() => 'package/1'));
    const after = state(create, old, own);
    expect(requireSigningKey(after, 'grant').keyId).toBe('grant/2');
    expect(requireSigningKey(after, 'order').keyId).toBe('package/1');
    expect(codeOf(() => requireSigningKey(state(create, own), 'order'))).toBe('CA_NOT_ACTIVE');
    on(create, own)
      .when({ ...own, keyId: 'order/1', uses: ['order'] })
      .refused('CONFLICT');
    on(create)
      .when({ ...own, uses: [] })
      .refused('BAD_REQUEST');
  });

  it('publishes trust bundles and CRLs with rising numbers (R86)', () => {
    covers('R86');
    const bundle = (version: number, after = 0, sha256 = 'b') => ({ type: 'PublishTrustBundle', after, version, sha256 }) as const;
    on(create, root)
      .when(bundle(1))
      .givesOnce({ type: 'TrustBundlePublished', data: { version: 1, sha256: 'b' } });
    for (const other of [bundle(1, 1, 'x'), bundle(3, 0), bundle(3, 2)]) on(create, root, bundle(1)).when(other).refused('CONFLICT');
    on(create, root, bundle(1))
      .when(bundle(1_800_000_000, 1))
      .givesOnce({ type: 'TrustBundlePublished', data: { version: 1_800_000_000, sha256: 'b' } });
    on(create).when(bundle(1)).refused('STATE');
    on(...active)
      .when(crl)
      .givesOnce({ type: 'CrlIssued', data: crlData });
    on(...active, { ...crl, number: 5 })
      .when({ ...crl, after: 5, number: 4 })
      .refused('CONFLICT');
    on(...active, { ...crl, number: 5 })
      .when({ ...crl, number: 7 })
      .refused('CONFLICT');
    on(...active, { type: 'RetireIssuingCa', icaId: 'd1' })
      .when(crl)
      .gives({ type: 'CrlIssued', data: crlData });
    on(create, root, ica).when(crl).refused('CA_NOT_ACTIVE');
  });

  it('issues server certificates from the server CA and OCSP signers per CA', () => {
    const { line: _, ...serverIca } = { ...ica, icaId: 's1', use: 'server' } as const;
    const server = { icaId: 's1', serial: '11', sha256: 'sc', names: ['nusec.test'], notAfter: '2027-01-01T00:00:00.000Z' };
    on(...active, serverIca, activate('s1'))
      .when({ type: 'IssueServerCertificate', ...server })
      .givesOnce({ type: 'ServerCertificateIssued', data: server });
    on(...active)
      .when({ type: 'IssueServerCertificate', ...server, icaId: 'd1' })
      .refused('CA_NOT_ACTIVE');
    const signer = { icaId: 'd1', serial: '12', certificate: 'b2NzcA', sha256: 'os', keyId: 'ocsp', notAfter: '2027-01-01T00:00:00.000Z' };
    on(...active)
      .when({ type: 'EstablishOcspSigner', ...signer })
      .givesOnce({ type: 'OcspSignerEstablished', data: signer });
    on(...active, compromise)
      .when({ type: 'EstablishOcspSigner', ...signer })
      .refused('CA_NOT_ACTIVE');
  });
});
