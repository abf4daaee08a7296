import { sign } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { concat, fromHex, toHex } from '../../src/bytes.ts';
import { issueCertificate } from '../../src/pki/certificate.ts';
import { type ChainPolicy, checkChain, checkChainAsync, maxChainCertificates } from '../../src/pki/chain.ts';
import { bitString, boolean, context, integer, integerOf, oid, sequence, time } from '../../src/pki/derWriter.ts';
import {
  caConstraints,
  extension,
  extKeyUsage,
  keyUsageOfCa,
  keyUsageOfLeaf,
  leafConstraints,
  serverNames,
} from '../../src/pki/extensions.ts';
import { signatureAlgorithms } from '../../src/pki/keys.ts';
import { encodeName } from '../../src/pki/names.ts';
import { oids } from '../../src/pki/oids.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { covers } from '../support/covers.ts';
import {
  type Authority,
  afterDays,
  codeOf,
  type Key,
  leafFields,
  makeDevice,
  makeIca,
  makeKey,
  makeLeaf,
  makeRoot,
  now,
  objId,
  organization,
  serial,
  uid,
} from './support.ts';

let root: Authority;
let ica: Authority;
let device: Uint8Array;
beforeAll(async () => {
  root = await makeRoot();
  ica = await makeIca(root);
  device = await makeDevice(ica);
});

const policy = (changes: Partial<ChainPolicy> = {}): ChainPolicy => ({ roots: [root.der], now, purpose: 'device', ...changes });

/** Code and text of a refusal; both ways of checking must agree. */
async function refusal(chain: readonly Uint8Array[], changes: Partial<ChainPolicy> = {}): Promise<string> {
  const outcomes = await Promise.all(
    [async () => checkChain(chain, policy(changes)), () => checkChainAsync(chain, policy(changes))].map(check =>
      check().then(
        () => 'accepted',
        (error: { code?: string; message: string }) => `${error.code}: ${error.message}`,
      ),
    ),
  );
  expect(outcomes[1]).toBe(outcomes[0]);
  return outcomes[0] as string;
}

type Forged = {
  subject?: Uint8Array;
  issuer?: Uint8Array;
  spki: Uint8Array;
  extensions: readonly Uint8Array[];
  signer: Key;
  notAfter?: string;
  algorithm?: Uint8Array;
};

/** A certificate with whatever is asked for, properly signed. */
function forge({
  subject = encodeName({ commonName: 'forged' }),
  issuer,
  spki,
  extensions,
  signer,
  notAfter = afterDays(30),
  algorithm = signatureAlgorithms['P-256'],
}: Forged): Uint8Array {
  const validity = sequence(time(now), time(notAfter));
  const body = [integer(concat(Uint8Array.of(1), serial())), algorithm, issuer ?? ica.certificate.subjectDer, validity, subject, spki];
  const tbs = sequence(context(0, integerOf(2)), ...body, context(3, sequence(...extensions)));
  return sequence(tbs, algorithm, bitString(sign('sha256', tbs, signer.privateKey)));
}

describe('a chain, leaf first', () => {
  it('is accepted with or without its root, at once and in the thread pool (R84)', async () => {
    covers('R84');
    for (const chain of [
      [device, ica.der],
      [device, ica.der, root.der],
    ]) {
      expect(checkChain(chain, policy({ uid }))).toMatchObject({ uid, objId, kind: 'device' });
      expect(await checkChainAsync(chain, policy({ uid }))).toMatchObject({ uid });
    }
    expect(checkChain([device, ica.der], policy({ now: Date.parse(now) })).uid).toBe(uid);
  });

  it('is checked without a date where there is no trusted clock', async () => {
    expect(await refusal([device, ica.der], { now: undefined })).toBe('accepted');
  });

  it('may hang from a P-384 root or from one of several roots', async () => {
    const big = await makeRoot('P-384');
    const below = await makeIca(big);
    expect(await refusal([await makeDevice(below), below.der], { roots: [root.der, big.der] })).toBe('accepted');
  });

  it('is told by the signature which of several roots of one name it hangs from, where no key identifier does', async () => {
    const { ski: _, ...withoutIdentifier } = root.certificate;
    const below = await makeIca({ ...root, certificate: withoutIdentifier });
    expect(below.certificate.aki).toBeUndefined();
    const [chain, foreign] = [[await makeDevice(below), below.der], await makeRoot()];
    for (const roots of [
      [foreign.der, root.der],
      [root.der, foreign.der],
    ])
      expect(await refusal(chain, { roots })).toBe('accepted');
    expect(await refusal(chain, { roots: [foreign.der, (await makeRoot()).der] })).toMatch(/a signature that its issuer did not make/);
  });

  it('is refused when it does not end in a trusted root, even one of the same name (T14)', async () => {
    covers('T14');
    const foreign = await makeRoot();
    const foreignIca = await makeIca(foreign);
    const foreignDevice = await makeDevice(foreignIca);
    expect(await refusal([foreignDevice, foreignIca.der, foreign.der])).toMatch(
      /^CHAIN_REFUSED: certificate 2 \(O=Example Metering, CN=Example Root CA 1\) has a signature that its issuer did not make/,
    );
    expect(await refusal([foreignDevice, foreignIca.der])).toMatch(/^CHAIN_REFUSED: certificate 1 .* is not issued by a trusted root/);
    expect(await refusal([device, ica.der], { roots: [] })).toMatch(/^CHAIN_REFUSED/);
    expect(await refusal([device])).toMatch(/^CHAIN_REFUSED: certificate 0 .* is not issued by a trusted root/);
    expect(await refusal([root.der])).toMatch(/^CHAIN_REFUSED/);
  });

  it('is refused when a link names another issuer or its signature is another’s', async () => {
    const sister = await makeIca(root, 'pump');
    expect(await refusal([device, sister.der])).toMatch(/certificate 0 .* names another issuer/);
    const twin = await makeIca(root);
    expect(await refusal([device, twin.der])).toMatch(/certificate 0 .* names another issuer/);
    const stranger = makeKey();
    const fake = forge({
      spki: makeKey().spki,
      extensions: [leafConstraints, keyUsageOfLeaf, extKeyUsage('clientAuth', 'spdmResponderAuth')],
      signer: stranger,
    });
    expect(await refusal([fake, ica.der])).toMatch(
      /^CHAIN_REFUSED: certificate 0 \(CN=forged\) has a signature that its issuer did not make/,
    );
    const fakeIca = forge({
      subject: ica.certificate.subjectDer,
      issuer: root.certificate.subjectDer,
      spki: stranger.spki,
      extensions: [caConstraints(0), keyUsageOfCa],
      signer: stranger,
    });
    const recorded = () => [{ use: 'device' as const }];
    expect(await refusal([fake, fakeIca], { recorded })).toMatch(
      /^CHAIN_REFUSED: certificate 1 .* has a signature that its issuer did not make/,
    );
  });

  it('is refused when a certificate says another signature algorithm than its issuer’s key has', async () => {
    const extensions = [leafConstraints, keyUsageOfLeaf, extKeyUsage('clientAuth', 'spdmResponderAuth')];
    for (const algorithm of [signatureAlgorithms['P-384'], sequence(oid('1.2.840.113549.1.1.11'), Uint8Array.of(5, 0))]) {
      const leaf = forge({ spki: makeKey().spki, extensions, signer: ica.key, algorithm });
      expect(await refusal([leaf, ica.der])).toMatch(/certificate 0 .* has a signature algorithm that is not its issuer’s/);
    }
  });

  it('is refused for every flipped byte of the leaf (T27)', () => {
    covers('T27');
    for (let at = 0; at < device.length; at += 1) {
      const flipped = device.slice();
      flipped[at] = (flipped[at] ?? 0) ^ 0x01;
      expect(() => checkChain([flipped, ica.der], policy()), `byte ${at}`).toThrow(expect.objectContaining({ name: 'NusecError' }));
    }
  });

  it('is refused when an issuer is no authority, may not sign, or has too many below it', async () => {
    const key = makeKey();
    const subject = encodeName({ commonName: 'middle' });
    const usage = [leafConstraints, keyUsageOfLeaf, extKeyUsage('clientAuth', 'spdmResponderAuth')];
    const under = (issuer: Key) => forge({ issuer: subject, spki: makeKey().spki, extensions: usage, signer: issuer });
    const middle = (extensions: readonly Uint8Array[], above = root) =>
      forge({ subject, issuer: above.certificate.subjectDer, spki: key.spki, extensions, signer: above.key });
    expect(await refusal([under(key), middle([leafConstraints, keyUsageOfCa])])).toMatch(/certificate 1 \(CN=middle\) is not an authority/);
    expect(await refusal([under(key), middle([caConstraints(), keyUsageOfLeaf])])).toMatch(/certificate 1 .* may not sign certificates/);
    expect(await refusal([under(key), middle([caConstraints()])])).toMatch(/certificate 1 .* may not sign certificates/);
    expect(await refusal([under(key), middle([caConstraints(), keyUsageOfCa], ica), ica.der])).toMatch(
      /certificate 2 .*meter.* too many authorities below it/,
    );
    const recorded = () => [{ use: 'device' as const }];
    expect(await refusal([under(key), middle([caConstraints(), keyUsageOfCa])], { recorded })).toBe('accepted');
  });

  it('is refused when an extension is critical and unknown, repeated, or a default is written out', async () => {
    const usage = [leafConstraints, keyUsageOfLeaf, extKeyUsage('clientAuth', 'spdmResponderAuth')];
    const leaf = (...extra: readonly Uint8Array[]) => forge({ spki: makeKey().spki, extensions: [...usage, ...extra], signer: ica.key });
    expect(await refusal([leaf(), ica.der])).toBe('accepted');
    expect(await refusal([leaf(extension('crlNumber', false, integerOf(1))), ica.der])).toBe('accepted');
    expect(await refusal([leaf(extension('crlNumber', true, integerOf(1))), ica.der])).toBe(
      `CHAIN_REFUSED: certificate 0: unknown critical extension ${oids.crlNumber}`,
    );
    expect(await refusal([leaf(keyUsageOfLeaf), ica.der])).toBe(`CHAIN_REFUSED: certificate 0: extension ${oids.keyUsage} twice`);
    const written = forge({
      spki: makeKey().spki,
      extensions: [extension('basicConstraints', true, sequence(boolean(false)))],
      signer: ica.key,
    });
    expect(await refusal([written, ica.der])).toBe('CHAIN_REFUSED: certificate 0: default value written out');
  });

  it('is refused before and after its time, whichever certificate it is (R86, RULE-16)', async () => {
    covers('R86', 'RULE-16');
    expect(await refusal([device, ica.der], { now: afterDays(-1) })).toMatch(/^CHAIN_REFUSED: certificate 0 .* is not valid before/);
    const old = await makeRoot('P-256', afterDays(-9130));
    const oldIca = await makeIca(old, 'meter', afterDays(-9130), 'P-256', { notAfter: afterDays(-10) });
    const leaf = await issueCertificate(
      'device',
      { ...leafFields(oldIca, makeKey().spki), notBefore: afterDays(-9000), organization, uid, objId },
      oldIca.key.signer,
    );
    expect(await refusal([leaf.der, oldIca.der], { roots: [old.der] })).toMatch(/^CERTIFICATE_EXPIRED: certificate 0/);
    const outlives = forge({
      issuer: oldIca.certificate.subjectDer,
      spki: makeKey().spki,
      extensions: [leafConstraints, keyUsageOfLeaf],
      signer: oldIca.key,
    });
    expect(await refusal([outlives, oldIca.der], { roots: [old.der] })).toMatch(/^CERTIFICATE_EXPIRED: certificate 1/);
  });

  it('is refused when a certificate of it is revoked, authorities included (R86, RULE-16)', async () => {
    covers('R86', 'RULE-16');
    const revoking = (serialHex: string) => ({ isRevoked: (candidate: string) => candidate === serialHex });
    expect(await refusal([device, ica.der], revoking(parseCertificate(device).serialHex))).toMatch(
      /^CERTIFICATE_REVOKED: certificate 0 .* is revoked or on hold/,
    );
    expect(await refusal([device, ica.der], revoking(ica.certificate.serialHex))).toMatch(
      /^CERTIFICATE_REVOKED: certificate 1 .* is revoked/,
    );
    const asked: string[] = [];
    checkChain(
      [device, ica.der],
      policy({ isRevoked: (hex, issuerKeyId) => asked.push(`${hex} ${toHex(issuerKeyId as Uint8Array)}`) === 0 }),
    );
    expect(asked).toEqual([
      `${parseCertificate(device).serialHex} ${toHex(ica.certificate.ski as Uint8Array)}`,
      `${ica.certificate.serialHex} ${toHex(root.certificate.ski as Uint8Array)}`,
    ]);
  });

  it('is refused for another UID or another purpose (T14)', async () => {
    covers('T14');
    expect(await refusal([device, ica.der], { uid: 'ff'.repeat(16) })).toMatch(/certificate 0 .* is not of ffff/);
    expect(await refusal([ica.der, root.der])).toMatch(/certificate 0 .* is an authority/);
    const purposes = ['device', 'programmer', 'gateway', 'server', 'ocspResponder', 'spdmResponder', 'spdmRequester'] as const;
    const good = {
      device: ['device', 'spdmResponder'],
      programmer: ['programmer', 'spdmRequester'],
      gateway: ['gateway', 'spdmRequester'],
      server: ['server', 'spdmResponder', 'spdmRequester'],
      ocspResponder: ['ocspResponder', 'spdmResponder', 'spdmRequester'],
    };
    for (const kind of Object.keys(good) as (keyof typeof good)[]) {
      const issuer = kind === 'device' || kind === 'ocspResponder' ? ica : await makeIca(root, kind);
      const leaf = await makeLeaf(kind, issuer);
      const accepted: string[] = [];
      for (const purpose of purposes) if ((await refusal([leaf, issuer.der], { purpose })) === 'accepted') accepted.push(purpose);
      expect(accepted).toEqual(good[kind]);
    }
    const noSignature = forge({
      spki: makeKey().spki,
      extensions: [leafConstraints, extKeyUsage('clientAuth', 'spdmResponderAuth')],
      signer: ica.key,
    });
    expect(await refusal([noSignature, ica.der])).toMatch(/may not sign \(keyUsage\)/);
  });

  it('of a server is for the host that was dialled and no other (T14)', async () => {
    covers('T14');
    const serverIca = await makeIca(root, 'server');
    const fields = {
      ...leafFields(serverIca, makeKey().spki),
      commonName: 'nusec.example',
      dnsNames: ['nusec.example'],
      ipAddresses: ['127.0.0.1', '2001:db8::7'],
    };
    const { der } = await issueCertificate('server', fields, serverIca.key.signer);
    const dialled = (host: string) => refusal([der, serverIca.der], { purpose: 'server', host });
    for (const host of ['nusec.example', 'NUSEC.example', '127.0.0.1', '2001:DB8:0:0:0:0:0:7'])
      expect(await dialled(host)).toBe('accepted');
    for (const host of ['evil.example', 'a.nusec.example', '127.0.0.2', '::1', '1.2.3', '1::2::3', ''])
      expect(await dialled(host)).toMatch(/^CHAIN_REFUSED: certificate 0 .* is not of/);
    const strange = forge({ spki: makeKey().spki, extensions: [serverNames(['a b'], [])], signer: ica.key });
    expect(await refusal([strange, ica.der], { purpose: 'server' })).toMatch(/CHAIN_REFUSED: certificate 0: name with characters/);
    const short = forge({ spki: makeKey().spki, extensions: [serverNames([], [fromHex('7f0000')])], signer: ica.key });
    expect(await refusal([short, ica.der], { purpose: 'server' })).toMatch(/CHAIN_REFUSED: certificate 0: IP address/);
  });

  it('has 1 to 5 certificates, all readable (T27)', async () => {
    covers('T27');
    expect(await refusal([])).toMatch(/^CHAIN_REFUSED/);
    expect(await refusal(Array(maxChainCertificates + 1).fill(device))).toMatch(/^CHAIN_REFUSED: a chain has 1 to 5/);
    expect(await refusal([device, new Uint8Array(3)])).toMatch(/^CHAIN_REFUSED: certificate 1:/);
    expect(await refusal([new Uint8Array(1 << 20), ica.der])).toMatch(/^CHAIN_REFUSED: certificate 0:/);
    expect(await codeOf(() => parseCertificate(new Uint8Array(1 << 20)))).toBe('CERTIFICATE_MALFORMED');
  });
});
