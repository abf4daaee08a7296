import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { covers } from '../../support/covers.ts';
import { type Credentials, pkiWithDevice, serverName } from '../certificates.ts';
import { endings, type Harness, reasons, startBroker, uidOf, until } from './harness.ts';
import { connectPacket, openMqtt, openTls, publishPacket, type Wire } from './wire.ts';

const uid = uidOf(1);
const { pki, device } = pkiWithDevice(uid);
let harness: Harness;
let clock = 0;

beforeEach(async () => {
  clock = 0;
  harness = await startBroker(pki, { now: () => Date.now() + clock });
});
afterEach(() => harness.broker.close());

async function refusedAtHandshake(credentials: Credentials | undefined): Promise<string[]> {
  const wire = await openTls(pki, harness.port, credentials);
  wire.send(connectPacket(uid));
  // A standard client sees "not authorized" and not a closed socket.
  expect((await wire.next(2)).body[1]).toBe(5);
  await wire.closed;
  expect(wire.packets).toEqual([]);
  await until(() => endings(harness).length > 0);
  return endings(harness);
}

describe('any certificate can be any client id', () => {
  it('lets a device connect only as the uid of its certificate, else CONNACK 2', async () => {
    for (const clientId of [uidOf(2), '', 'gateway-x', uid.slice(1), `${uid}0`]) {
      const wire = await openTls(pki, harness.port, device);
      wire.send(connectPacket(clientId));
      expect((await wire.next(2)).body[1]).toBe(2);
      await wire.closed;
    }
    await until(() => harness.presence.length === 5);
    expect(endings(harness)).toEqual(Array(5).fill('AUTH_ERROR: client id is not the one of the certificate'));
    expect(harness.broker.stats().online).toBe(0);
  });

  it('lets a gateway connect only as itself, never as a device (T20)', async () => {
    covers('T20');
    const gateway = pki.gateway('g1');
    await expect(openMqtt(pki, harness.port, gateway, uid)).rejects.toThrow('CONNACK 2');
    await openMqtt(pki, harness.port, gateway, 'gateway-g1');
  });
});

describe('certificate refused without a word in the log', () => {
  it('refuses a connection without certificate (RULE-9)', async () => {
    covers('RULE-9');
    expect(await refusedAtHandshake(undefined)).toEqual(['AUTH_ERROR: CLIENT_CERTIFICATE_REQUIRED: no client certificate']);
  });

  it('refuses a self-made CA', async () => {
    const foreign = pki.leaf({ subject: `/CN=device/serialNumber=${uid}`, issuer: 'foreign' });
    expect(await refusedAtHandshake(foreign)).toEqual(['AUTH_ERROR: CHAIN_REFUSED: not from this ICA']);
  });

  it('refuses an expired certificate', async () => {
    const expired = pki.leaf({ subject: `/CN=device/serialNumber=${uid}`, end: '20210101000000Z' });
    expect(await refusedAtHandshake(expired)).toEqual(['AUTH_ERROR: CLIENT_CERTIFICATE_REFUSED: CERT_HAS_EXPIRED']);
  });

  it('looks at the validity itself, by its own clock', async () => {
    clock = Date.parse('2041-01-01') - Date.now();
    expect(await refusedAtHandshake(device)).toEqual(['AUTH_ERROR: CERTIFICATE_EXPIRED: outside the validity of the certificate']);
  });

  it('refuses a certificate without clientAuth', async () => {
    const server = pki.leaf({ subject: `/CN=device/serialNumber=${uid}`, eku: 'serverAuth' });
    expect(await refusedAtHandshake(server)).toEqual([expect.stringMatching(/^AUTH_ERROR: CLIENT_CERTIFICATE_REFUSED: /)]);
  });

  it('refuses a certificate whose subject is no uid', async () => {
    const nameless = pki.leaf({ subject: '/CN=device/serialNumber=0000000000000000000000000000000G' });
    expect(await refusedAtHandshake(nameless)).toEqual(['AUTH_ERROR: CLIENT_CERTIFICATE_REFUSED: no uid in the certificate']);
  });

  it('tells nothing of an unexpected error of the check', async () => {
    await harness.broker.close();
    harness = await startBroker(pki, {
      trust: {
        checkClient: () => {
          throw new Error('secret detail');
        },
      },
    });
    expect(await refusedAtHandshake(device)).toEqual(['AUTH_ERROR: certificate check failed']);
  });

  it('speaks TLS 1.3 only and records who offers less', async () => {
    await expect(openTls(pki, harness.port, device, { maxVersion: 'TLSv1.2' })).rejects.toThrow();
    await until(() => harness.presence.length === 1);
    expect(endings(harness)).toEqual([expect.stringMatching(/^AUTH_ERROR: TLS: ERR_SSL/)]);
  });
});

describe('revocation does not touch live or resumed connections', () => {
  it('refuses a revoked certificate at the handshake and raises an alarm (T23, I11)', async () => {
    covers('T23', 'I11');
    harness.revoked.add(device.serialHex);
    expect(await refusedAtHandshake(device)).toEqual(['REVOKED: certificate revoked']);
    expect(harness.alarms).toMatchObject([{ kind: 'REVOKED_CONNECT', identity: { uid } }]);
  });

  it('says so in answer to its CONNECT, and ends the connection (T23)', async () => {
    covers('T23');
    harness.revoked.add(device.serialHex);
    const revoked = await openTls(pki, harness.port, device);
    revoked.send(connectPacket(uid));
    const { body } = await revoked.next(2);
    expect([...body]).toEqual([0, 5]);
    await revoked.closed;
  });

  it('refuses it when the TLS session is resumed (T23, I11)', async () => {
    covers('T23', 'I11');
    const session = await sessionOf(device);
    const resumed = await openTls(pki, harness.port, device, { session });
    expect(resumed.socket.isSessionReused()).toBe(true);
    resumed.send(connectPacket(uid));
    expect((await resumed.next(2)).body[1]).toBe(0);

    harness.revoked.add(device.serialHex);
    const again = await openTls(pki, harness.port, device, { session });
    expect(again.socket.isSessionReused()).toBe(true);
    await again.closed;
    await until(() => reasons(harness).includes('REVOKED'));
  });

  it('refuses a resumed session whose certificate has expired meanwhile', async () => {
    const session = await sessionOf(device);
    clock = Date.parse('2041-01-01') - Date.now();
    const resumed = await openTls(pki, harness.port, device, { session });
    expect(resumed.socket.isSessionReused()).toBe(true);
    await resumed.closed;
    await until(() => endings(harness).some(ending => ending.includes('CERTIFICATE_EXPIRED')));
  });

  it('ends live connections and does not let it back (T23, I11)', async () => {
    covers('T23', 'I11');
    for (let count = 0; count < 5; count += 1) {
      const wire = await openMqtt(pki, harness.port, device, uid);
      expect(harness.broker.disconnectBySerial(device.serialHex)).toBe(1);
      await wire.closed;
    }
    await until(() => reasons(harness).filter(reason => reason === 'REVOKED').length === 5);
    harness.revoked.add(device.serialHex);
    await expect(openMqtt(pki, harness.port, device, uid)).rejects.toThrow();
  });

  it('looks again at CONNECT: revoked after the handshake (T23)', async () => {
    covers('T23');
    const wire = await openTls(pki, harness.port, device);
    await until(() => harness.broker.stats().handshakes === 1);
    harness.revoked.add(device.serialHex);
    wire.send(connectPacket(uid));
    expect((await wire.next(2)).body[1]).toBe(5);
    await wire.closed;
    expect(wire.packets).toEqual([]);
    await until(() => endings(harness).includes('REVOKED: certificate revoked'));
  });

  it('ends a connection that has not sent CONNECT yet (T23)', async () => {
    covers('T23');
    const wire = await openTls(pki, harness.port, device);
    await until(() => harness.broker.disconnectBySerial(device.serialHex) === 1);
    await wire.closed;
    await until(() => endings(harness).length > 0);
    expect(endings(harness)).toContain('REVOKED: disconnected by the server');
  });

  it('handles nothing that a revoked device sent before it was cut, and not its will (I11)', async () => {
    covers('I11');
    const heard: string[] = [];
    await harness.broker.close();
    const hold = Promise.withResolvers<void>();
    harness = await startBroker(pki, {
      handlers: {
        hello: async ({ payload }) => {
          heard.push(Buffer.from(payload).toString());
          await hold.promise;
        },
        lwt: async () => {
          heard.push('will');
        },
      },
    });
    const wire = await openMqtt(pki, harness.port, device, uid, { will: { topic: `n1/${uid}/up/lwt`, payload: 'x' } });
    wire.send(publishPacket(`n1/${uid}/up/hello`, 'first'), publishPacket(`n1/${uid}/up/hello`, 'second', { id: 2 }));
    await until(() => heard.length === 1);
    harness.broker.disconnectBySerial(device.serialHex);
    hold.resolve();
    await until(() => reasons(harness).includes('REVOKED'));
    await new Promise(resolve => setTimeout(resolve, 50));
    expect(heard).toEqual(['first']);
  });

  it('judges every connection anew when the trust has changed', async () => {
    let trusted = true;
    await harness.broker.close();
    harness = await startBroker(pki, {
      trust: {
        checkClient: (leaf, isVerified) => {
          if (!trusted) throw new Error('ICA compromised');
          return pki.checkClient(leaf, isVerified);
        },
      },
    });
    const wire = await openMqtt(pki, harness.port, device, uid);
    harness.broker.trustChanged();
    await until(() => harness.broker.isConnected(uid));
    trusted = false;
    harness.broker.trustChanged();
    await wire.closed;
    await expect(openMqtt(pki, harness.port, device, uid)).rejects.toThrow();
  });

  it('tells the judge whether TLS has verified the chain, and a resumed session carries what was so when it began (T17)', async () => {
    covers('T17');
    const heard: boolean[] = [];
    await harness.broker.close();
    harness = await startBroker(pki, {
      limits: { maxCachedCertificates: 0 },
      trust: {
        checkClient: (leaf, isVerified) => {
          heard.push(isVerified);
          return pki.checkClient(leaf, isVerified);
        },
      },
    });
    const [leafOnly = ''] = device.cert.split(/(?<=-----END CERTIFICATE-----\n)/);
    for (const cert of [device.cert, leafOnly]) {
      const shown = { ...device, cert };
      const session = await sessionOf(shown);
      const judged = heard.length;
      const { socket } = await openTls(pki, harness.port, shown, { session });
      expect(socket.isSessionReused()).toBe(true);
      // Ended sooner, the handshake would not be over at the broker.
      await until(() => heard.length > judged);
      socket.destroy();
    }
    expect(heard).toEqual([true, true, false, false]);
  });

  it('resumes at another process that shares the ticket keys, and no longer after they were replaced', async () => {
    const [one, other] = [await startBroker(pki), await startBroker(pki)];
    for (const { broker } of [one, other]) broker.setTicketKeys(Buffer.alloc(48, 1));
    // Another certificate of the server changes nothing about it.
    other.broker.setTls({ key: pki.server.key, cert: pki.server.cert, ca: pki.rootPem });
    const session = await sessionOf(device, one);
    const resumed = await openTls(pki, other.port, device, { session });
    expect(resumed.socket.isSessionReused()).toBe(true);
    resumed.send(connectPacket(uid));
    expect((await resumed.next(2)).body[1]).toBe(0);
    other.broker.setTicketKeys(Buffer.alloc(48, 2));
    expect((await openTls(pki, other.port, device, { session })).socket.isSessionReused()).toBe(false);
    await Promise.all([one.broker.close(), other.broker.close()]);
  });
});

describe('certificates of the server and its CAs', () => {
  it('are replaced without an end of the connections', async () => {
    const wire = await openMqtt(pki, harness.port, device, uid);
    const renewed = pki.leaf({ subject: '/CN=renewed', eku: 'serverAuth', san: `DNS:${serverName}` });
    harness.broker.setTls({ key: renewed.key, cert: renewed.cert, ca: [pki.foreignPem, pki.rootPem] });
    const probe = await openTls(pki, harness.port, pki.device(uidOf(2)));
    expect(probe.socket.getPeerX509Certificate()?.subject).toBe('CN=renewed');
    expect(wire.socket.destroyed).toBe(false);
    const foreign = pki.leaf({ subject: `/CN=device/serialNumber=${uidOf(3)}`, issuer: 'foreign' });
    expect(await refusedAtHandshake(foreign)).toContainEqual('AUTH_ERROR: CHAIN_REFUSED: not from this ICA');
  });
});

async function sessionOf(credentials: Credentials, at: Harness = harness): Promise<Buffer> {
  const ticket = Promise.withResolvers<Buffer>();
  const wire: Wire = await openTls(pki, at.port, credentials);
  wire.socket.once('session', ticket.resolve);
  wire.send(connectPacket(uid));
  const session = await ticket.promise;
  wire.destroy();
  await wire.closed;
  return session;
}
