import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openIdentities } from '../../src/cli/spdm/identities.ts';
import { openLink } from '../../src/cli/spdm/link.ts';
import { algorithmNames, capabilitiesOf } from '../../src/cli/spdm/names.ts';
import { disorderIn, runSteps } from '../../src/cli/spdm/requesterSteps.ts';
import { serveResponder } from '../../src/cli/spdm/responderServer.ts';

/** The command-line requester against the command-line responder, over a socket. */

const { hash, asym, dhe, aead } = algorithmNames;
const common = {
  host: '127.0.0.1',
  port: 0,
  transport: 'mctp',
  versions: [0x12],
  caps: capabilitiesOf('CERT,CHAL,MEAS_SIG,ENCRYPT,MAC,MUT_AUTH,KEY_EX,ENCAP,HBEAT,KEY_UPD,CHUNK,SET_CERT,CSR'),
  aead: aead.AES_256_GCM,
  pqcAsym: 0,
  reqPqcAsym: 0,
  kem: 0,
  certificates: fileURLToPath(new URL('../vectors/spdm/keys', import.meta.url)),
  slots: 1,
  transferBytes: 0x1200,
  messageBytes: 0x28000,
  psk: '00',
  quiet: true,
} as const;
const steps = ['ATTEST', 'SESSION', 'HEARTBEAT', 'KEY_UPDATE', 'MEASURE', 'CSR', 'SET_CERT', 'VENDOR', 'END'];

describe('the SPDM tools', () => {
  it.each([
    ['P-384 with SHA-256', { hash: hash.SHA_256, asym: asym.ECDSA_P384, reqAsym: asym.ECDSA_P256, dhe: dhe.SECP_256_R1 }],
    ['P-256 with SHA-384', { hash: hash.SHA_384, asym: asym.ECDSA_P256, reqAsym: asym.ECDSA_P256, dhe: dhe.SECP_384_R1 }],
  ])('%s: signatures are over the hash of the connection, whatever the curve', async (_, algorithms) => {
    const options = { ...common, ...algorithms };
    const events: string[] = [];
    const mutual = { measurements: 2, mutAuth: 'encapsulated', basicMutAuth: false, heartbeatSeconds: 20, stay: false } as const;
    const server = serveResponder({ ...options, ...mutual }, await openIdentities(options, 'responder'), event => events.push(event));
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { link, close } = await openLink({ ...options, port });
    const results: object[] = [];
    const requester = { ...options, port, steps, slot: 0, portionBytes: 1024, hint: '' };
    await runSteps(requester, await openIdentities(options, 'requester'), link, result => void results.push(result));
    await close();
    expect(results.map(result => 'step' in result && result.step)).toEqual(steps);
    expect(results[1]).toMatchObject({ version: '1.2', mutual: true });
    expect(results.at(steps.indexOf('VENDOR'))).toMatchObject({ answer: Buffer.from('NuSEC').toString('hex') });
    expect(events.filter(event => !event.startsWith('listening'))).toEqual([]);
  });

  it('1.3: key pairs, device class and measurement extension log, as the responder has them', async () => {
    const caps = capabilitiesOf('CERT,CHAL,MEAS_SIG,ENCRYPT,MAC,KEY_EX,MULTI_KEY_ONLY,GET_KEY_PAIR_INFO,SET_KEY_PAIR_INFO,EP_INFO_SIG,MEL');
    const algorithms = { hash: hash.SHA_256, asym: asym.ECDSA_P256, reqAsym: asym.ECDSA_P256, dhe: dhe.SECP_256_R1 };
    const options = { ...common, ...algorithms, versions: [0x13] as const, slots: 2 };
    const plain = { measurements: 2, mutAuth: 'none', basicMutAuth: false, heartbeatSeconds: 0, stay: false } as const;
    const server = serveResponder({ ...options, caps, ...plain }, await openIdentities(options, 'responder'), () => undefined);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { link, close } = await openLink({ ...options, port });
    const results: object[] = [];
    const asked = ['SESSION', 'KEY_PAIRS', 'ENDPOINT', 'MEL', 'END'];
    const requester = {
      ...options,
      caps: capabilitiesOf('CERT,CHAL,ENCRYPT,MAC,KEY_EX,MULTI_KEY_NEG'),
      port,
      steps: asked,
      slot: 0,
      portionBytes: 1024,
      hint: '',
    };
    await runSteps(requester, await openIdentities(options, 'requester'), link, result => void results.push(result));
    await close();
    expect(results.slice(1, 4)).toMatchObject([
      {
        keyPairs: [
          { id: 1, usage: 15, slotMask: 1 },
          { id: 2, usage: 15, slotMask: 2 },
        ],
        changed: true,
      },
      { signed: true, classes: [{ registry: 4, vendorId: 'd97e0000' }] },
      { entries: 4 },
    ]);
  });

  it('1.3: events that were subscribed to come when they are asked for', async () => {
    const algorithms = { hash: hash.SHA_256, asym: asym.ECDSA_P256, reqAsym: asym.ECDSA_P256, dhe: dhe.SECP_256_R1 };
    const options = {
      ...common,
      ...algorithms,
      versions: [0x13] as const,
      caps: capabilitiesOf('CERT,CHAL,MEAS_SIG,ENCRYPT,MAC,KEY_EX,ENCAP,SET_CERT,EVENT'),
    };
    const plain = { measurements: 2, mutAuth: 'none', basicMutAuth: false, heartbeatSeconds: 0, stay: false } as const;
    const server = serveResponder({ ...options, ...plain }, await openIdentities(options, 'responder'), () => undefined);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { link, close } = await openLink({ ...options, port });
    const results: object[] = [];
    const asked = ['SESSION', 'EVENTS', 'SET_CERT', 'EVENTS', 'END'];
    const caps = capabilitiesOf('CERT,CHAL,ENCRYPT,MAC,KEY_EX,ENCAP');
    const requester = { ...options, caps, port, steps: asked, slot: 0, portionBytes: 1024, hint: '' };
    await runSteps(requester, await openIdentities(options, 'requester'), link, result => void results.push(result));
    await close();
    expect(results[1]).toMatchObject({ types: [1, 4], events: [] });
    expect(results[3]).toMatchObject({ events: [{ kind: 'certificateChanged', slots: [1] }] });
  });

  it('1.3: both tell of events in one session, whichever step is first', async () => {
    const algorithms = { hash: hash.SHA_256, asym: asym.ECDSA_P256, reqAsym: asym.ECDSA_P256, dhe: dhe.SECP_256_R1 };
    const caps = capabilitiesOf('CERT,CHAL,MEAS_SIG,ENCRYPT,MAC,KEY_EX,ENCAP,SET_CERT,EVENT');
    const options = { ...common, ...algorithms, versions: [0x13] as const, caps };
    const plain = { measurements: 2, mutAuth: 'none', basicMutAuth: false, heartbeatSeconds: 0, stay: true } as const;
    const server = serveResponder({ ...options, ...plain }, await openIdentities(options, 'responder'), () => undefined);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const own = capabilitiesOf('CERT,CHAL,ENCRYPT,MAC,KEY_EX,ENCAP,EVENT');
    for (const asked of ['EVENTS,SET_CERT,EVENTS,NOTIFY', 'NOTIFY,EVENTS,SET_CERT,EVENTS', 'ENCAP,NOTIFY,EVENTS']) {
      const { link, close } = await openLink({ ...options, port });
      const results: object[] = [];
      const requester = {
        ...options,
        caps: own,
        port,
        steps: ['SESSION', ...asked.split(','), 'END'],
        slot: 0,
        portionBytes: 1024,
        hint: '',
      };
      await runSteps(requester, await openIdentities(options, 'requester'), link, result => void results.push(result));
      await close();
      expect(results.find(result => 'sent' in result)).toMatchObject({ isWanted: true, sent: 1 });
      expect(results.filter(result => 'events' in result).length).toBe(asked.split('EVENTS').length - 1);
    }
    server.close();
  });

  it('1.3: a requester that tells of events is asked for them, and the responder says what it has heard', async () => {
    const algorithms = { hash: hash.SHA_256, asym: asym.ECDSA_P256, reqAsym: asym.ECDSA_P256, dhe: dhe.SECP_256_R1 };
    const caps = capabilitiesOf('CERT,CHAL,MEAS_SIG,ENCRYPT,MAC,KEY_EX,ENCAP');
    const options = { ...common, ...algorithms, versions: [0x13] as const, caps };
    const plain = { measurements: 2, mutAuth: 'none', basicMutAuth: false, heartbeatSeconds: 0, stay: false } as const;
    const told: string[] = [];
    const server = serveResponder({ ...options, ...plain }, await openIdentities(options, 'responder'), event => told.push(event));
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { link, close } = await openLink({ ...options, port });
    const results: object[] = [];
    const own = capabilitiesOf('CERT,CHAL,ENCRYPT,MAC,KEY_EX,ENCAP,EVENT');
    const requester = { ...options, caps: own, port, steps: ['SESSION', 'NOTIFY', 'END'], slot: 0, portionBytes: 1024, hint: '' };
    await runSteps(requester, await openIdentities(options, 'requester'), link, result => void results.push(result));
    await close();
    expect(results[1]).toMatchObject({ isWanted: true, sent: 1 });
    expect(told.filter(event => !event.startsWith('listening'))).toEqual([
      'event 0 of the requester: {"kind":"certificateChanged","slots":[0]}',
    ]);
  });

  it('a responder without certificates is known by its key, also in a session', async () => {
    const algorithms = { hash: hash.SHA_256, asym: asym.ECDSA_P256, reqAsym: asym.ECDSA_P256, dhe: dhe.SECP_256_R1 };
    const options = { ...common, ...algorithms, caps: capabilitiesOf('CHAL,MEAS_SIG,ENCRYPT,MAC,KEY_EX,PUB_KEY_ID') };
    const plain = { measurements: 2, mutAuth: 'none', basicMutAuth: false, heartbeatSeconds: 0, stay: false } as const;
    const server = serveResponder({ ...options, ...plain }, await openIdentities(options, 'responder'), () => undefined);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { link, close } = await openLink({ ...options, port });
    const results: object[] = [];
    const own = {
      caps: capabilitiesOf('CHAL,ENCRYPT,MAC,KEY_EX,PUB_KEY_ID'),
      knownKey: true,
      steps: ['ATTEST', 'SESSION', 'MEASURE', 'END'],
    };
    const requester = { ...options, ...own, port, slot: 0, portionBytes: 1024, hint: '' };
    await runSteps(requester, await openIdentities(options, 'requester'), link, result => void results.push(result));
    await close();
    expect(results[0]).toMatchObject({ slot: 15, measurements: [1, 2, 16, 253] });
    expect(results[2]).toMatchObject({ measurements: [1, 2, 16, 253] });
  });

  it('says what is missing when steps are out of order', () => {
    expect(disorderIn(steps)).toBeUndefined();
    expect(disorderIn(['ATTEST', 'MEASURE'])).toBe('MEASURE needs a session: put SESSION or PSK before it');
    expect(disorderIn(['SESSION', 'END', 'HEARTBEAT'])).toBe('HEARTBEAT needs a session: put SESSION or PSK before it');
    expect(disorderIn(['SESSION', 'ATTEST', 'VENDOR'])).toBe('VENDOR needs a session: put SESSION or PSK before it');
    expect(disorderIn(['PSK', 'MEASURE'])).toBe('MEASURE needs a session with certificates: put SESSION before it, not PSK');
  });
});
