import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EventType } from '../../src/domain/events.ts';
import { schemaVersionOf, upcast } from '../../src/domain/upcasters.ts';

type Stored = { readonly type: EventType; readonly data: { readonly [name: string]: unknown } };

const ca = { certificate: 'MIIB', sha256: 'aa'.repeat(32), keyId: 'k' };
const approvers = ['operator:ann', 'operator:bob'];
const job = { jobId: '0f'.repeat(16), line: 'sensor', plannedCount: 10, scrapAllowance: 1, createdBy: 'operator:ann' };
const ica = { ...ca, icaId: 'device-1', use: 'device', line: 'sensor', generation: 1 };
const rolled = { ...ca, rootId: 'root-2', previousRootId: 'root', crossCertificate: 'MIIC', backCertificate: 'MIID', approvers };
const bundle = { version: 1, sha256: 'bb'.repeat(32) };
const looseBits = { lockDebug: true, deployedLifeCycle: true, requireSpdm: true, verifyBootBeforeLock: true };

/** As older versions have stored them, with version 1, and what today's readers get. */
const storedEvents: readonly { readonly what: string; readonly stored: Stored; readonly today: Stored['data'] }[] = [
  {
    what: 'a job with all bits of the policy',
    stored: { type: 'JobCreated', data: { ...job, policy: { requireUidList: true, ...looseBits } } },
    today: { ...job, policy: { requireUidList: true } },
  },
  {
    what: 'a job with all bits of the policy and without UID list',
    stored: { type: 'JobCreated', data: { ...job, policy: { requireUidList: false, ...looseBits } } },
    today: { ...job, policy: { requireUidList: false } },
  },
  {
    what: 'a root from before there was a choice of curves',
    stored: { type: 'RootCaEstablished', data: { ...ca, approvers } },
    today: { ...ca, approvers, curve: 'P-256' },
  },
  {
    what: 'a root whose curve was chosen, stored before versions were counted',
    stored: { type: 'RootCaEstablished', data: { ...ca, approvers, curve: 'P-384', icaCurve: 'P-256' } },
    today: { ...ca, approvers, curve: 'P-384', icaCurve: 'P-256' },
  },
  {
    what: 'a second root from before there was a choice of curves',
    stored: { type: 'RootCaRolled', data: rolled },
    today: { ...rolled, curve: 'P-256' },
  },
  {
    what: 'an issuing CA from before roots could follow each other',
    stored: { type: 'IssuingCaEstablished', data: ica },
    today: { ...ica, curve: 'P-256', rootId: 'root' },
  },
  {
    what: 'an issuing CA of a second root',
    stored: { type: 'IssuingCaEstablished', data: { ...ica, rootId: 'root-2', curve: 'P-384' } },
    today: { ...ica, rootId: 'root-2', curve: 'P-384' },
  },
  {
    what: 'a trust bundle signed by the only root',
    stored: { type: 'TrustBundlePublished', data: bundle },
    today: { ...bundle, byRoot: { root: bundle.sha256 } },
  },
];

describe('upcast', () => {
  it.each(storedEvents)('gives $what the shape of today', ({ stored, today }) => {
    expect(upcast({ ...stored, v: 1 })).toEqual({ type: stored.type, v: schemaVersionOf(stored.type), data: today });
  });

  it.each(storedEvents)('leaves $what as it is once it is of today', ({ stored, today }) => {
    const event = { type: stored.type, v: schemaVersionOf(stored.type), data: today };
    expect(upcast(event)).toBe(event);
  });

  it('leaves events without steps as they are, whatever their type is called', () => {
    for (const type of ['DeviceMinted', 'NeverHeardOf', 'toString', 'constructor', '__proto__']) {
      const event = { type, v: 1, data: { uid: '00' } };
      expect(upcast(event)).toBe(event);
      expect(schemaVersionOf(type)).toBe(1);
    }
  });

  it('never throws and never changes what it is given, whatever is in the log', () => {
    const types = fc.constantFrom(...storedEvents.map(({ stored }) => stored.type));
    const data = fc.dictionary(fc.constantFrom('policy', 'curve', 'rootId', 'sha256', 'x'), fc.jsonValue());
    fc.assert(
      fc.property(types, fc.integer({ min: 1, max: 9 }), data, (type, v, found) => {
        const before = JSON.stringify(found);
        const event = upcast({ type, v, data: found });
        expect(JSON.stringify(found)).toBe(before);
        expect(event.v).toBe(Math.max(v, schemaVersionOf(type)));
      }),
    );
  });
});
