import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NusecError } from '../../src/errors.ts';
import { signGrant, verifyGrant } from '../../src/production/grant.ts';
import { signLedgerRecord } from '../../src/production/ledger.ts';
import { signOrder, verifyOrder } from '../../src/production/order.ts';
import { signPackageAck, verifyPackageAck } from '../../src/production/packageAck.ts';
import { provesImage, provesLock, signReceipt, verifyReceipt } from '../../src/production/receipt.ts';
import { signVerdict, verifyVerdict } from '../../src/production/verdict.ts';
import { everyByteFlipped, testKey } from '../cose/keys.ts';
import { covers } from '../support/covers.ts';
import { fill, grant, ledgerSteps, now, objId, order, packageAck, receipt, uidA, verdict } from './samples.ts';

const key = testKey();
const keys = () => key.spki;
const code = (name: string) => expect.objectContaining({ code: name });

const grantAsked = { jobId: grant.jobId, uid: grant.uid, progUid: grant.progUid, ledgerHead: grant.ledgerHead, nowSeconds: now };
const receiptAsked = { publicKey: key.spki, uid: receipt.uid, nonce: receipt.nonce, objId };
const orderAsked = { operation: order.operation, uid: order.uid, objId: order.objId, nonce: order.nonce, nowSeconds: now };
const verdictAsked = {
  gateway: verdict.gateway,
  uid: verdict.uid,
  nonce: verdict.nonce,
  lastSequence: 8,
  transcriptSha256: fill(0x81, 32),
  bundleVersions: { least: 1, newest: verdict.bundleVersion },
  nowSeconds: now,
};

type Message = {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly value: object;
  readonly verify: (bytes: Uint8Array) => Promise<object>;
};

const messages: readonly Message[] = [
  { name: 'grant', bytes: await signGrant(grant, key), value: grant, verify: bytes => verifyGrant(bytes, grantAsked, keys) },
  { name: 'receipt', bytes: await signReceipt(receipt, key), value: receipt, verify: bytes => verifyReceipt(bytes, receiptAsked) },
  { name: 'order', bytes: await signOrder(order, key), value: order, verify: bytes => verifyOrder(bytes, orderAsked, keys) },
  { name: 'verdict', bytes: await signVerdict(verdict, key), value: verdict, verify: bytes => verifyVerdict(bytes, verdictAsked, keys) },
  {
    name: 'package acknowledgement',
    bytes: await signPackageAck(packageAck, key),
    value: packageAck,
    verify: b => verifyPackageAck(b, keys),
  },
];

describe.each(messages)('$name', ({ bytes, value, verify }) => {
  it('is read back as it was signed', async () => {
    expect(await verify(bytes)).toEqual(value);
  });

  it('is refused with a code for every changed byte (T19, T27)', async () => {
    covers('T19', 'T27');
    for (const changed of everyByteFlipped(bytes)) await expect(verify(changed)).rejects.toThrow(NusecError);
  });

  it('never passes for another message by the same key', async () => {
    const [step] = ledgerSteps;
    const record = await signLedgerRecord({ ...step!, number: 1, previousSha256: fill(0, 32), uptimeSeconds: 0 }, key);
    const others = messages.map(message => message.bytes).filter(other => other !== bytes);
    for (const other of [...others, record]) await expect(verify(other)).rejects.toThrow(code('COSE_MALFORMED'));
  });

  it('is refused when the bytes are cut, doubled or changed at random (T27)', async () => {
    covers('T27');
    const edits = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(edits, fc.nat(bytes.length * 2), async (list, length) => {
        const changed = new Uint8Array(Buffer.concat([bytes, bytes]).subarray(0, length));
        for (const [at, byte] of list) if (at < length) changed[at] = byte;
        fc.pre(Buffer.compare(changed, bytes) !== 0);
        await expect(verify(changed)).rejects.toThrow(NusecError);
      }),
    );
  });
});

describe('grant', () => {
  it('is good for one unit, one job, one programmer and one ledger head only (RULE-5)', async () => {
    covers('RULE-5');
    const bytes = await signGrant(grant, key);
    for (const [name, length] of [
      ['jobId', 16],
      ['uid', 16],
      ['progUid', 16],
      ['ledgerHead', 32],
    ] as const)
      await expect(verifyGrant(bytes, { ...grantAsked, [name]: fill(9, length) }, keys)).rejects.toThrow(code('GRANT_REFUSED'));
  });

  it('expires (I12)', async () => {
    covers('I12');
    const bytes = await signGrant(grant, key);
    await expect(verifyGrant(bytes, { ...grantAsked, nowSeconds: grant.expiresAtSeconds }, keys)).rejects.toThrow(code('GRANT_EXPIRED'));
    await expect(verifyGrant(bytes, grantAsked, () => undefined)).rejects.toThrow(code('COSE_SIGNATURE'));
  });
});

describe('receipt', () => {
  it('is of one unit, one registration and one question only', async () => {
    const bytes = await signReceipt(receipt, key);
    const refused = code('RECEIPT_REFUSED');
    for (const name of ['uid', 'nonce', 'objId'] as const)
      await expect(verifyReceipt(bytes, { ...receiptAsked, [name]: fill(9) })).rejects.toThrow(refused);
    const { objId: _, ...unregistered } = receipt;
    await expect(verifyReceipt(await signReceipt(unregistered, key), receiptAsked)).rejects.toThrow(refused);
    await expect(verifyReceipt(bytes, { ...receiptAsked, publicKey: testKey().spki })).rejects.toThrow(code('COSE_SIGNATURE'));
  });

  it('proves the lock only when the port is locked (T29)', () => {
    covers('T29');
    expect(provesLock(receipt)).toBe(true);
    expect(provesLock({ ...receipt, debugState: 'open' })).toBe(false);
    expect(provesLock({ ...receipt, debugState: 'unlocked' })).toBe(false);
  });

  it('proves an image by number and hash (RULE-18, I18)', () => {
    covers('RULE-18', 'I18');
    expect(provesImage(receipt, 1, fill(0x51, 32))).toBe(true);
    expect(provesImage(receipt, 2, fill(0x51, 32))).toBe(false);
    expect(provesImage(receipt, 1, fill(0x52, 32))).toBe(false);
  });
});

describe('order', () => {
  it('is refused on another device, registration, nonce or for another operation (T31)', async () => {
    covers('T31');
    const bytes = await signOrder(order, key);
    const refused = code('ORDER_REFUSED');
    for (const name of ['uid', 'objId', 'nonce'] as const)
      await expect(verifyOrder(bytes, { ...orderAsked, [name]: fill(9) }, keys)).rejects.toThrow(refused);
    await expect(verifyOrder(bytes, { ...orderAsked, operation: 'lock' }, keys)).rejects.toThrow(refused);
    await expect(verifyOrder(bytes, { ...orderAsked, nowSeconds: order.expiresAtSeconds }, keys)).rejects.toThrow(refused);
    await expect(verifyOrder(bytes, orderAsked, () => testKey().spki)).rejects.toThrow(code('COSE_SIGNATURE'));
  });

  it('unlocks the debug port only with two different approvers (I16)', async () => {
    covers('I16');
    const unlock = { ...order, operation: 'debugUnlock' as const };
    const asked = { ...orderAsked, operation: 'debugUnlock' as const };
    const twice = await signOrder({ ...unlock, approvers: ['officer', 'officer'] }, key);
    await expect(verifyOrder(twice, asked, keys)).rejects.toThrow(code('ORDER_REFUSED'));
    expect((await verifyOrder(await signOrder(unlock, key), asked, keys)).operation).toBe('debugUnlock');
  });
});

describe('verdict', () => {
  it('answers one question about one device, once, by one gateway (T20)', async () => {
    covers('T20');
    const bytes = await signVerdict(verdict, key);
    const refused = code('ATTESTATION_FAILED');
    for (const name of ['uid', 'nonce'] as const)
      await expect(verifyVerdict(bytes, { ...verdictAsked, [name]: fill(9) }, keys)).rejects.toThrow(refused);
    await expect(verifyVerdict(bytes, { ...verdictAsked, gateway: 'gw-2' }, keys)).rejects.toThrow(refused);
    await expect(verifyVerdict(bytes, { ...verdictAsked, lastSequence: 9 }, keys)).rejects.toThrow(refused);
    expect((await verifyVerdict(bytes, verdictAsked, keys)).uid).toEqual(uidA);
  });

  it('is bound to its evidence, to a trust bundle that the gateway can have, and to this day (T20)', async () => {
    covers('T20');
    const bytes = await signVerdict(verdict, key);
    const { bundleVersion, timeSeconds } = verdict;
    const day = 86_400;
    const bends: readonly Partial<typeof verdictAsked>[] = [
      { transcriptSha256: fill(0, 32) },
      { bundleVersions: { least: bundleVersion + 1, newest: bundleVersion + 1 } },
      { bundleVersions: { least: 1, newest: bundleVersion - 1 } },
      { nowSeconds: timeSeconds + day + 1 },
      { nowSeconds: timeSeconds - day - 1 },
    ];
    for (const bent of bends)
      await expect(verifyVerdict(bytes, { ...verdictAsked, ...bent }, keys)).rejects.toThrow(code('ATTESTATION_FAILED'));
    await expect(verifyVerdict(bytes, { ...verdictAsked, nowSeconds: timeSeconds + day }, keys)).resolves.toBeDefined();
    const { transcriptSha256: _, ...without } = verdict;
    await expect(verifyVerdict(await signVerdict(without, key), verdictAsked, keys)).rejects.toThrow(code('ATTESTATION_FAILED'));
  });
});
