import koffi from 'koffi';
import { describe, expect, it } from 'vitest';
import { createPool } from '../../src/keystore/pkcs11/pool.ts';
import type { Session } from '../../src/keystore/pkcs11/session.ts';
import { failureOf, openTokenApi } from '../../src/keystore/pkcs11/tokenApi.ts';
import { label, makeToken, pin, softHsm } from './softToken.ts';

/** The token process's parts, without the process around them. */

describe('sessions of a token', () => {
  it('serve one operation at a time each, in the order asked for', async () => {
    const sessions = [1n, 2n].map(handle => ({ handle }) as Session);
    const pool = createPool(sessions);
    const busy = new Set<bigint>();
    const order: number[] = [];
    const work = (number: number) =>
      pool.lease(async ({ handle }) => {
        expect(busy.has(handle)).toBe(false);
        busy.add(handle);
        order.push(number);
        await new Promise(resolve => setTimeout(resolve, number % 3));
        busy.delete(handle);
        if (number === 4) throw new Error('fails and gives its session back');
      });
    const outcomes = await Promise.allSettled(Array.from({ length: 12 }, (_, number) => work(number)));
    expect(outcomes.filter(each => each.status === 'rejected')).toHaveLength(1);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  });

  it('are reported lost when the token closes them, so that a fresh process logs in and finds the keys again', async () => {
    makeToken();
    const api = await openTokenApi({ module: softHsm, label, pin, sessions: 2 });
    await api.generate('ica/1', 'P-256', '2026-01-02T03:04:05.678Z');
    expect(await api.sign('ica/1', new Uint8Array(32))).toHaveLength(64);
    expect((await api.list())[0]?.createdAt).toBe('2026-01-02T03:04:05.678Z');

    const library = koffi.load(softHsm);
    const slots = Buffer.from(new BigUint64Array(8).buffer);
    library.func('C_GetSlotList', 'unsigned long', ['uint8_t', 'void *', 'void *'])(1, slots, Buffer.from(BigUint64Array.of(8n).buffer));
    library.func('C_CloseAllSessions', 'unsigned long', ['unsigned long'])(slots.readBigUInt64LE());
    const error = await api.sign('ica/1', new Uint8Array(32)).catch(each => each);
    expect(failureOf(error)).toEqual({
      code: 'KEYSTORE_UNAVAILABLE',
      detail: 'C_SignInit answered CKR_SESSION_HANDLE_INVALID',
      lost: true,
    });
  });
});
