import { describe, expect, it } from 'vitest';
import { createAddressGuard } from '../../../src/services/integration/addresses.ts';
import { signatureOf } from '../../../src/services/integration/webhookRequest.ts';
import { codeOf } from '../../domain/scenario.ts';

describe('the signature of a message', () => {
  it('is that of the example of Standard Webhooks', () => {
    const message = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', body: '{"test": 2432232314}' };
    const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
    const expected = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=';
    expect(signatureOf([secret], message, 1_614_265_330)).toBe(expected);
    expect(signatureOf(['whsec_AAAA', secret], message, 1_614_265_330).split(' ')[1]).toBe(expected);
  });
});

describe('addresses that the server may connect to', () => {
  const own = [
    ...['127.0.0.1', '10.1.2.3', '172.31.0.1', '192.168.0.1', '169.254.169.254', '100.64.0.1', '0.0.0.0', '224.0.0.1', '255.255.255.255'],
    ...[
      '[::1]',
      '[::]',
      '[fe80::1]',
      '[fd00::1]',
      '[ff02::1]',
      '[::ffff:127.0.0.1]',
      '[::ffff:10.0.0.1]',
      '[64:ff9b::7f00:1]',
      '[2002:7f00:1::]',
    ],
  ];

  it.each(own)('%s is none of the Internet', host => {
    expect(codeOf(() => createAddressGuard([]).requireHost(host))).toBe('FORBIDDEN');
  });

  it('addresses of the Internet are allowed, and networks that somebody has named', () => {
    for (const host of ['93.184.216.34', '[2606:2800:220:1::1]', 'mes.example.com'])
      expect(codeOf(() => createAddressGuard([]).requireHost(host))).toBeUndefined();
    const guard = createAddressGuard(['10.20.0.0/16', 'fd00::/8']);
    expect(codeOf(() => guard.requireHost('10.20.3.4'))).toBeUndefined();
    expect(codeOf(() => guard.requireHost('[fd12::1]'))).toBeUndefined();
    expect(codeOf(() => guard.requireHost('10.21.0.1'))).toBe('FORBIDDEN');
    for (const wrong of ['10.0.0.0', '10.0.0.0/33', 'hall/8']) expect(codeOf(() => createAddressGuard([wrong]))).toBe('BAD_REQUEST');
  });

  it.each([true, false])('a name that resolves to this machine is refused when the connection is made (all addresses: %s)', async all => {
    const resolve = (guard: ReturnType<typeof createAddressGuard>) =>
      new Promise<unknown>(done => guard.lookup('localhost', { all }, (error, found) => done(error ?? found)));
    expect(await resolve(createAddressGuard([]))).toMatchObject({ code: 'FORBIDDEN' });
    const found = await resolve(createAddressGuard(['127.0.0.0/8']));
    expect(found).toEqual(all ? [{ address: '127.0.0.1', family: 4 }] : '127.0.0.1');
  });
});
