import { sign } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { concat, fromHex, utf8 } from '../../src/bytes.ts';
import { checkChain } from '../../src/pki/chain.ts';
import { contextPrimitive, tags } from '../../src/pki/der.ts';
import { bitString, context, integer, integerOf, oid, sequence, setOf, text, time, tlv } from '../../src/pki/derWriter.ts';
import {
  caConstraints,
  certificatePolicies,
  extension,
  extKeyUsage,
  keyUsageOfCa,
  keyUsageOfLeaf,
  leafConstraints,
} from '../../src/pki/extensions.ts';
import { signatureAlgorithms } from '../../src/pki/keys.ts';
import { encodeName, type NameFields } from '../../src/pki/names.ts';
import { oids } from '../../src/pki/oids.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { type Authority, afterDays, codeOf, type Key, makeKey, makeRoot, now, serial } from './support.ts';

/** Constraints of authorities (RFC 5280 §4.2.1.10 to §4.2.1.12, §6.1): our own chains, each made for one rule. */

let root: Authority;
beforeAll(async () => {
  root = await makeRoot();
});

type Made = { readonly der: Uint8Array; readonly key: Key; readonly subject: Uint8Array };
type Wish = { readonly subject?: Uint8Array; readonly extensions?: readonly Uint8Array[]; readonly key?: Key };

function certificate(issuer: Made, subject: Uint8Array, key: Key, extensions: readonly Uint8Array[]): Made {
  const algorithm = signatureAlgorithms['P-256'];
  const validity = sequence(time(now), time(afterDays(30)));
  const body = [integer(concat(Uint8Array.of(1), serial())), algorithm, issuer.subject, validity, subject, key.spki];
  const tbs = sequence(context(0, integerOf(2)), ...body, context(3, sequence(...extensions)));
  return { der: sequence(tbs, algorithm, bitString(sign('sha256', tbs, issuer.key.privateKey))), key, subject };
}
const anchor = (): Made => ({ der: root.der, key: root.key, subject: root.certificate.subjectDer });
const named = (fields: NameFields) => encodeName(fields);
let count = 0;
const nextName = () => {
  count += 1;
  return named({ commonName: `CA ${count}` });
};
const ca = (issuer: Made, { subject = nextName(), extensions = [], key = makeKey() }: Wish = {}) =>
  certificate(issuer, subject, key, [caConstraints(), keyUsageOfCa, ...extensions]);
const leaf = (issuer: Made, { subject = named({ commonName: 'leaf' }), extensions = [], key = makeKey() }: Wish = {}) =>
  certificate(issuer, subject, key, [leafConstraints, keyUsageOfLeaf, extKeyUsage('serverAuth'), ...extensions]);

const judged = (...path: readonly Made[]) =>
  codeOf(() => {
    const chain = path.map(({ der }) => der);
    return checkChain(chain, { roots: [root.der], now, purpose: 'server', recorded: () => [{ use: 'server' }] }).kind;
  });
const accepted = 'server';

const dns = (name: string) => tlv(contextPrimitive(2), [utf8(name)]);
const mail = (name: string) => tlv(contextPrimitive(1), [utf8(name)]);
const uri = (name: string) => tlv(contextPrimitive(6), [utf8(name)]);
const ip = (hex: string) => tlv(contextPrimitive(7), [fromHex(hex)]);
const directory = (fields: NameFields) => context(4, encodeName(fields));
const other = context(0, oid('1.3.6.1.4.1.32473.1'), context(0, text(tags.utf8String, 'x')));

type Bases = { readonly permitted?: readonly Uint8Array[]; readonly excluded?: readonly Uint8Array[] };
function constraints({ permitted = [], excluded = [] }: Bases, critical = true): Uint8Array {
  const list = (number: number, bases: readonly Uint8Array[]) =>
    bases.length === 0 ? [] : [context(number, ...bases.map(base => sequence(base)))];
  return extension('nameConstraints', critical, sequence(...list(0, permitted), ...list(1, excluded)));
}
const names = (...all: readonly Uint8Array[]) => extension('subjectAltName', false, sequence(...all));

describe('name constraints', () => {
  const under = async (bases: Bases, ...altNames: readonly Uint8Array[]) => {
    const issuer = ca(anchor(), { extensions: [constraints(bases)] });
    return judged(leaf(issuer, { extensions: altNames.length === 0 ? [] : [names(...altNames)] }), issuer);
  };
  const refused = 'CHAIN_REFUSED';

  it.each([
    ['the name itself', { permitted: [dns('example.com')] }, [dns('example.com')], accepted],
    ['a name below, in another case', { permitted: [dns('example.com')] }, [dns('A.EXAMPLE.com')], accepted],
    ['a name that only ends alike', { permitted: [dns('example.com')] }, [dns('badexample.com')], refused],
    ['one name of two outside', { permitted: [dns('example.com')] }, [dns('a.example.com'), dns('b.test')], refused],
    ['one of two permitted', { permitted: [dns('example.com'), dns('b.test')] }, [dns('b.test')], accepted],
    ['every name', { permitted: [dns('')] }, [dns('b.test')], accepted],
    ['an excluded name', { excluded: [dns('example.com')] }, [dns('a.example.com')], refused],
    ['excluded within permitted', { permitted: [dns('example.com')], excluded: [dns('a.example.com')] }, [dns('b.a.example.com')], refused],
    ['beside the excluded', { permitted: [dns('example.com')], excluded: [dns('a.example.com')] }, [dns('c.example.com')], accepted],
    ['a wildcard that may stand for an excluded name', { excluded: [dns('a.example.com')] }, [dns('*.example.com')], refused],
    ['a name with a leading dot', { permitted: [dns('example.com')] }, [dns('.example.com')], refused],
    ['no name of that form', { permitted: [dns('example.com')] }, [], accepted],
    ['a name of another form', { permitted: [dns('example.com')] }, [ip('0a000001')], accepted],
  ] as const)('of DNS names: %s', async (_what, bases, altNames, expected) => {
    expect(await under(bases, ...altNames)).toBe(expected);
  });

  it.each([
    ['an address within', { permitted: [ip('0a000000ff000000')] }, [ip('0a010203')], accepted],
    ['an address outside', { permitted: [ip('0a000000ff000000')] }, [ip('0b010203')], refused],
    ['an excluded address', { excluded: [ip('0a000000ff000000')] }, [ip('0a010203')], refused],
    ['an IPv6 address where IPv4 is permitted', { permitted: [ip('0a000000ff000000')] }, [ip('00'.repeat(16))], refused],
    [
      'an IPv6 address within',
      { permitted: [ip(`20010db8${'00'.repeat(12)}ffffffff${'00'.repeat(12)}`)] },
      [ip(`20010db8${'11'.repeat(12)}`)],
      accepted,
    ],
  ] as const)('of addresses: %s', async (_what, bases, altNames, expected) => {
    expect(await under(bases, ...altNames)).toBe(expected);
  });

  it.each([
    ['all mailboxes of a host', [mail('example.com')], 'a@example.com', accepted],
    ['but none below it', [mail('example.com')], 'a@b.example.com', refused],
    ['all below a domain', [mail('.example.com')], 'a@b.example.com', accepted],
    ['but not on it', [mail('.example.com')], 'a@example.com', refused],
    ['one mailbox', [mail('a@example.com')], 'a@EXAMPLE.com', accepted],
    ['whose local part is as written', [mail('a@example.com')], 'A@example.com', refused],
    ['what is no mailbox', [mail('example.com')], 'example.com', refused],
  ] as const)('of mailboxes: %s', async (_what, permitted, name, expected) => {
    expect(await under({ permitted }, mail(name))).toBe(expected);
  });

  it('of mailboxes hold for an address in the subject too', async () => {
    const issuer = ca(anchor(), { extensions: [constraints({ permitted: [mail('example.com')] })] });
    const withMail = (address: string) => sequence(setOf(sequence(oid(oids.emailAddress), tlv(tags.ia5String, [utf8(address)]))));
    expect(await judged(leaf(issuer, { subject: withMail('a@example.com') }), issuer)).toBe(accepted);
    expect(await judged(leaf(issuer, { subject: withMail('a@b.test') }), issuer)).toBe(refused);
  });

  it('of directory names hold for the subject, whatever the case, spaces and string type', async () => {
    const of = (bases: Bases) => ca(anchor(), { extensions: [constraints(bases)] });
    const unit = (organization: string) => named({ organization, commonName: 'a' });
    const permitting = of({ permitted: [directory({ organization: 'Example OEM' })] });
    for (const [organization, expected] of [
      ['Example OEM', accepted],
      ['example  oem', accepted],
      ['Another', refused],
    ] as const)
      expect(await judged(leaf(permitting, { subject: unit(organization) }), permitting), organization).toBe(expected);
    const excluding = of({ excluded: [directory({ organization: 'Example OEM' })] });
    const printable = sequence(setOf(sequence(oid(oids.organization), text(tags.printableString, 'EXAMPLE OEM'))));
    expect(await judged(leaf(excluding, { subject: printable }), excluding)).toBe(refused);
    expect(await judged(leaf(excluding, { subject: unit('Another') }), excluding)).toBe(accepted);
  });

  it('of a form that is not understood refuse a certificate that has such a name, and no other', async () => {
    for (const base of [uri('example.com'), other]) {
      expect(await under({ excluded: [base] }, dns('a.test'))).toBe(accepted);
      expect(await under({ excluded: [base] }, base)).toBe(refused);
      expect(await under({ permitted: [base] }, base)).toBe(refused);
    }
  });

  it('hold for everything below, those of each authority for itself, but not for what only carries a name on to another key', async () => {
    const above = ca(anchor(), { extensions: [constraints({ permitted: [dns('example.com')] })] });
    const below = ca(above, { extensions: [constraints({ permitted: [dns('a.example.com'), dns('b.test')] })] });
    const judgedAs = (name: string) => judged(leaf(below, { extensions: [names(dns(name))] }), below, above);
    expect(await judgedAs('x.a.example.com')).toBe(accepted);
    expect(await judgedAs('x.example.com')).toBe(refused);
    expect(await judgedAs('b.test')).toBe(refused);
    const strict = ca(anchor(), { extensions: [constraints({ excluded: [directory({})] })], subject: named({ commonName: 'strict' }) });
    const carried = ca(strict, { subject: strict.subject });
    const nameless = leaf(carried, { subject: named({}), extensions: [names(dns('a.test'))] });
    expect(await judged(nameless, carried, strict)).toBe(accepted);
    expect(await judged(leaf(carried), carried, strict)).toBe(refused);
  });

  it('are refused in another form than that of RFC 5280', async () => {
    const parsed = (value: Uint8Array, isCritical = true) =>
      codeOf(() => parseCertificate(ca(anchor(), { extensions: [extension('nameConstraints', isCritical, value)] }).der).kind);
    const only = (...bases: readonly Uint8Array[]) => sequence(context(0, ...bases.map(base => sequence(base))));
    expect(await parsed(only(dns('example.com')))).toBe('ica');
    for (const [what, value] of Object.entries({
      empty: sequence(),
      'empty list': sequence(context(0)),
      'leading dot': only(dns('.example.com')),
      'address without mask': only(ip('0a000000')),
      'mask with a hole': only(ip('0a000000ff00ff00')),
      minimum: sequence(context(0, sequence(dns('a.test'), tlv(contextPrimitive(0), [Uint8Array.of(1)])))),
      'too many': only(...Array<Uint8Array>(65).fill(dns('a.test'))),
    }))
      expect(await parsed(value), what).toBe('CERTIFICATE_MALFORMED');
    expect(await parsed(only(dns('example.com')), false)).toBe('CERTIFICATE_MALFORMED');
    const onLeaf = leaf(anchor(), { extensions: [constraints({ permitted: [dns('a.test')] })] });
    expect(await codeOf(() => parseCertificate(onLeaf.der))).toBe('CERTIFICATE_MALFORMED');
  });
});

describe('policy constraints', () => {
  const policy = (name: string) => `1.3.6.1.4.1.32473.${name}`;
  const requiring = (skip: number) => extension('policyConstraints', true, sequence(tlv(contextPrimitive(0), [Uint8Array.of(skip)])));
  const policies = (...all: readonly string[]) => certificatePolicies(all);

  it.each([
    ['the same policy all the way', [[policy('1')], [policy('1'), policy('2')]], accepted],
    ['another policy', [[policy('1')], [policy('2')]], 'CHAIN_REFUSED'],
    ['none', [[policy('1')], []], 'CHAIN_REFUSED'],
    ['any policy above', [[oids.anyPolicy], [policy('2')]], accepted],
    ['any policy below', [[policy('1')], [oids.anyPolicy]], accepted],
  ] as const)('that require one: %s', async (_what, [ofCa, ofLeaf], expected) => {
    const issuer = ca(anchor(), { extensions: [requiring(0), ...(ofCa.length > 0 ? [policies(...ofCa)] : [])] });
    expect(await judged(leaf(issuer, { extensions: ofLeaf.length > 0 ? [policies(...ofLeaf)] : [] }), issuer)).toBe(expected);
  });

  it('count how far down they begin, and hold beyond an authority that has none', async () => {
    const path = (skip: number) => {
      const above = ca(anchor(), { extensions: [requiring(skip), policies(policy('1'))] });
      const below = ca(above);
      return judged(leaf(below), below, above);
    };
    for (const skip of [0, 1, 2]) expect(await path(skip), String(skip)).toBe('CHAIN_REFUSED');
    expect(await path(3)).toBe(accepted);
  });

  it('take anyPolicy from those below when it is inhibited', async () => {
    const inhibited = ca(anchor(), {
      extensions: [requiring(0), extension('inhibitAnyPolicy', true, integerOf(0)), policies(policy('1'))],
    });
    expect(await judged(leaf(inhibited, { extensions: [policies(oids.anyPolicy)] }), inhibited)).toBe('CHAIN_REFUSED');
    expect(await judged(leaf(inhibited, { extensions: [policies(policy('1'))] }), inhibited)).toBe(accepted);
  });
});

describe('an authority', () => {
  it('with an extended key usage issues for that alone, however far above the leaf', async () => {
    for (const [usage, expected] of [
      ['serverAuth', accepted],
      ['anyExtendedKeyUsage', accepted],
      ['clientAuth', 'CHAIN_REFUSED'],
    ] as const) {
      const above = ca(anchor(), { extensions: [extKeyUsage(usage)] });
      const below = ca(above);
      expect(await judged(leaf(below), below, above), usage).toBe(expected);
    }
  });

  it('counts the authorities below it without those over their own names', async () => {
    const limited = (pathLength: number) =>
      certificate(anchor(), named({ commonName: 'limited' }), makeKey(), [caConstraints(pathLength), keyUsageOfCa]);
    const [none, one] = [limited(0), limited(1)];
    const carried = ca(none, { subject: none.subject });
    expect(await judged(leaf(carried), carried, none)).toBe(accepted);
    const below = ca(none);
    expect(await judged(leaf(below), below, none)).toBe('CHAIN_REFUSED');
    const below1 = ca(one);
    const carried1 = ca(below1, { subject: below1.subject });
    expect(await judged(leaf(carried1), carried1, below1, one)).toBe(accepted);
  });

  it('has a name, and only an authority may sign certificates', async () => {
    const nameless = ca(anchor(), { subject: named({}) });
    expect(await judged(leaf(nameless), nameless)).toBe('CHAIN_REFUSED');
    const issuer = ca(anchor());
    const signing = certificate(issuer, named({ commonName: 'x' }), makeKey(), [
      leafConstraints,
      extension('keyUsage', true, tlv(tags.bitString, [Uint8Array.of(2, 0b1000_0100)])),
      extKeyUsage('serverAuth'),
    ]);
    expect(await judged(signing, issuer)).toBe('CHAIN_REFUSED');
  });
});

it('an unreadable root among several poisons nothing', async () => {
  const issuer = ca(anchor());
  const chain = [leaf(issuer).der, issuer.der];
  const critical = extension('freshestCrl', true, sequence());
  const unknown = certificate(anchor(), root.certificate.subjectDer, root.key, [caConstraints(), keyUsageOfCa, critical]);
  for (const bad of [unknown.der, Uint8Array.of(0x30, 0), new Uint8Array(), root.der.slice(1)]) {
    const policy = { now, purpose: 'server', recorded: () => [{ use: 'server' } as const] } as const;
    expect(await codeOf(() => checkChain(chain, { ...policy, roots: [bad, root.der] }).kind)).toBe(accepted);
    expect(await codeOf(() => checkChain(chain, { ...policy, roots: [bad] }))).toBe('CHAIN_REFUSED');
  }
});
