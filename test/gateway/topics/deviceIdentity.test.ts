import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { BoardEvent } from '../../../gateway-device/chip/board.ts';
import type { HttpClient } from '../../../gateway-device/link/httpClient.ts';
import { connectMqtt } from '../../../gateway-device/link/mqttClient.ts';
import { decodeCbor } from '../../../src/cbor/decode.ts';
import { array, bytesUpTo, decodeAs, encodeAs, field, record, uint } from '../../../src/cbor/schema.ts';
import type { CborMap } from '../../../src/cbor/value.ts';
import { sha256Hex } from '../../../src/digest.ts';
import { csrLimits } from '../../../src/gateway/topics/certificates.ts';
import { certificateMessage, csrMessage } from '../../../src/mqttMessages.ts';
import { parseCertificate } from '../../../src/pki/parse.ts';
import { toPem } from '../../../src/pki/pem.ts';
import type { Context } from '../../../src/services/base/context.ts';
import { registerGateway } from '../../../src/services/field/gateways.ts';
import { defineLine } from '../../../src/services/firmware/lines.ts';
import { certifyGateway } from '../../../src/services/identity/enrolment.ts';
import { certifyOperational } from '../../../src/services/identity/operational.ts';
import { codeOf, type Key, makeCsr, makeKey } from '../../pki/support.ts';
import { covers } from '../../support/covers.ts';
import { agedBy, startTestServer, type TestServer } from '../../support/server.ts';
import { build, connectDevice, eventually, type Fleet, line, people, seedFleet, show, typesOf, type Unit } from '../fieldKit.ts';
import { buildMcu, type Mcu, open, runMcu } from './virtualMcu.ts';

/** Operational certificates over MQTT (up/csr, dn/crt): a real server, real broker and virtual MCUs. */

const dayMs = 86_400_000;
let server: TestServer;
let http: HttpClient;
let fleet: Fleet;
const mcus: Record<'fresh' | 'due' | 'ended' | 'cut' | 'unused' | 'fallen' | 'revoked' | 'held', Mcu> = {} as never;
const raw: Unit[] = [];
const gateway = { id: 'hall-9', key: makeKey(), chain: '' };

/** Gives a unit an operational certificate that is so old already. @returns key and chain */
async function operationalOf(ctx: Context, { unit }: Mcu, ageDays: number) {
  const then = { ...ctx, clock: () => new Date(Date.now() - ageDays * dayMs) };
  const key = makeKey();
  const { certificate, ica } = await certifyOperational(
    then,
    { uid: unit.uid, certificateSha256: sha256Hex(unit.certificate) },
    makeCsr(key, {}),
  );
  return { key, chain: [certificate, ica] };
}
const kept = record({ slot: field(1, uint()), chain: field(2, array(bytesUpTo(2000), 2)) });
function install(mcu: Mcu, { key, chain }: { key: Key; chain: readonly Uint8Array[] }, as = 'ldevid'): void {
  const vault = JSON.parse(new TextDecoder().decode(mcu.storage.keys.load())) as { keys: Record<string, string> };
  vault.keys[1] = key.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64url');
  mcu.storage.keys.save(Buffer.from(JSON.stringify(vault)));
  open(mcu).data.put(as, encodeAs(kept, { slot: 1, chain }));
}

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    await defineLine(agedBy(ctx, 200), { line }, 'operator:rita');
    fleet = await seedFleet(ctx, 0);
    for (const name of ['fresh', 'due', 'ended', 'cut', 'unused', 'fallen', 'revoked', 'held'] as const) mcus[name] = await buildMcu(ctx);
    install(mcus.unused, await operationalOf(ctx, mcus.unused, 0), 'ldevidNext');
    install(mcus.due, await operationalOf(ctx, mcus.due, 65));
    install(mcus.ended, await operationalOf(ctx, mcus.ended, 100));
    for (let i = 0; i < 4; i += 1) raw.push(await build(ctx, fleet.bl2, fleet.app));
    await registerGateway(ctx, gateway.id, gateway.id, 'operator:alice');
    const { certificate, ica } = await certifyGateway(ctx, gateway.id, makeCsr(gateway.key, { commonName: gateway.id }), 'operator:alice');
    gateway.chain = toPem('CERTIFICATE', certificate) + toPem('CERTIFICATE', ica);
  }, 400);
  http = people(server);
});
afterAll(async () => {
  http.close();
  await server.close();
});

const issuedTo = async (uid: string): Promise<number> =>
  (await typesOf(http, uid)).filter(type => type === 'OperationalCertificateIssued').length;
const has = (told: readonly BoardEvent[], event: string): boolean => told.some(each => each.event === event);
const countOf = (told: readonly BoardEvent[], event: string): number => told.filter(each => each.event === event).length;
const leafOf = (mcu: Mcu) =>
  parseCertificate(decodeAs(kept, open(mcu).data.get('ldevid') ?? new Uint8Array()).chain[0] ?? new Uint8Array());
const run = async (mcu: Mcu) => {
  const running = await runMcu(server, mcu);
  onTestFinished(() => running.stop());
  return running;
};

async function opensslVerify(leaf: Uint8Array, ica: Uint8Array, root: Uint8Array): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'nusec-ldevid-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const [name, der] of Object.entries({ leaf, ica, root })) writeFileSync(join(folder, name), toPem('CERTIFICATE', der));
  const args = ['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', 'root', '-untrusted', 'ica', 'leaf'];
  const { stdout, stderr } = await promisify(execFile)('openssl', args, { cwd: folder }).catch(error => error);
  return `${stdout}${stderr}`;
}

/** The MQTT port behind a door that loses connections after the TLS handshake, as a server in trouble does. */
async function troubledDoor(port: number) {
  let lost = 0;
  const open = new Set<Socket>();
  const door = createServer(socket => {
    const inner = connect(port, '127.0.0.1');
    const isLost = lost > 0;
    lost = Math.max(0, lost - 1);
    let flights = 0;
    open.add(socket);
    for (const end of [socket, inner]) end.on('error', () => undefined);
    socket.on('close', () => inner.destroy());
    inner.on('close', () => socket.destroy());
    inner.on('data', bytes => socket.write(bytes));
    socket.on('data', bytes => {
      flights += 1;
      if (!isLost || flights === 1) inner.write(bytes);
      else socket.destroy();
    });
  });
  await new Promise<void>(resolve => door.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => new Promise(resolve => door.close(() => resolve())));
  return {
    port: (door.address() as AddressInfo).port,
    troubleFor(connections: number): void {
      lost = connections;
      for (const socket of open) socket.destroy();
      open.clear();
    },
  };
}

describe('a device with a virtual MCU', () => {
  it('given only its IDevID, gets an LDevID over MQTT and goes on with it, also after a restart (R85)', async () => {
    covers('R85');
    const { unit } = mcus.fresh;
    const first = await run(mcus.fresh);
    await eventually(() => has(first.told, 'renewed'));
    const leaf = leafOf(mcus.fresh);
    expect(leaf.subject).toMatchObject({ organizationalUnit: 'LDevID', commonName: unit.objId, serialNumber: unit.uid });
    expect(leaf.spki).not.toEqual(unit.key.spki);
    expect(await opensslVerify(leaf.der, unit.ica, unit.root)).toMatch(/: OK\n$/);
    await eventually(() => countOf(first.told, 'connected') === 2);
    await eventually(async () => (await show(http, unit.uid)).attestation === 'passed');
    const attested = () => http.json<{ result: string }>('POST', `/v1/devices/${unit.uid}/attest`, { via: 'mqtt' });
    expect(await attested()).toMatchObject({ result: 'passed' });
    await first.stop();

    const again = await run(mcus.fresh);
    await eventually(() => has(again.told, 'connected'));
    expect(await attested()).toMatchObject({ result: 'passed' });
    expect(await issuedTo(unit.uid)).toBe(1);
    expect(leafOf(mcus.fresh).serialHex).toBe(leaf.serialHex);
    const { certificates } = await http.json<{ certificates: { serial: string; kind: string }[] }>('GET', '/v1/certificates?limit=500');
    expect(certificates.map(({ serial }) => serial)).toContain(leaf.serialHex);
  });

  it('given an LDevID in the last third of its life, renews it for a new key and lets the old one go', async () => {
    const before = leafOf(mcus.due);
    const { told } = await run(mcus.due);
    await eventually(() => has(told, 'renewed'));
    const after = leafOf(mcus.due);
    expect(after.spki).not.toEqual(before.spki);
    expect(Date.parse(after.notAfter) - Date.now()).toBeGreaterThan(89 * dayMs);
    expect(open(mcus.due).keyStore.publicKey(1)).toBeUndefined();
    expect(await issuedTo(mcus.due.unit.uid)).toBe(2);
  });

  it('given an LDevID that ended while it was off, falls back to its IDevID and gets the next', async () => {
    const { told } = await run(mcus.ended);
    await eventually(() => has(told, 'renewed'));
    expect(Date.parse(leafOf(mcus.ended).notAfter)).toBeGreaterThan(Date.now());
    expect(await issuedTo(mcus.ended.unit.uid)).toBe(2);
  });

  it('given a server that was in trouble, falls back and returns to the LDevID it has: no other is issued', async () => {
    const door = await troubledDoor(server.mqttPort);
    const { told, stop } = await runMcu({ mqttPort: door.port }, mcus.fallen);
    onTestFinished(stop);
    await eventually(() => countOf(told, 'connected') === 2);
    // The first connection, then as the LDevID.
    const before = leafOf(mcus.fallen).serialHex;
    door.troubleFor(2);
    await eventually(() => countOf(told, 'connected') === 4);
    await new Promise(resolve => setTimeout(resolve, 200));
    expect(await issuedTo(mcus.fallen.unit.uid)).toBe(1);
    expect(leafOf(mcus.fallen).serialHex).toBe(before);
  });

  it('given a certificate that it has not tried yet, goes over to it without asking again', async () => {
    const { told } = await run(mcus.unused);
    await eventually(() => has(told, 'renewed'));
    expect(leafOf(mcus.unused).subject.organizationalUnit).toBe('LDevID');
    expect(open(mcus.unused).data.get('ldevidNext')).toBeUndefined();
    expect(await issuedTo(mcus.unused.unit.uid)).toBe(1);
  });

  it('given a power cut as soon as the server has issued, takes the certificate into use at the next start: one certificate (T33)', async () => {
    covers('T33');
    const first = await runMcu(server, mcus.cut);
    await eventually(async () => (await issuedTo(mcus.cut.unit.uid)) === 1);
    await first.stop();
    const second = await run(mcus.cut);
    await eventually(async () => has(second.told, 'connected') && open(mcus.cut).data.get('ldevid') !== undefined);
    expect(await issuedTo(mcus.cut.unit.uid)).toBe(1);
  });

  it('is off when it is revoked, with both of its certificates (T23, RULE-16)', async () => {
    covers('T23', 'RULE-16');
    const { told } = await run(mcus.revoked);
    await eventually(() => countOf(told, 'connected') === 2);
    const { revoked } = await http.json<{ revoked: string[] }>('POST', `/v1/devices/${mcus.revoked.unit.uid}/revoke`, {
      reason: 'keyCompromise',
    });
    await eventually(() => has(told, 'disconnected'));
    expect(revoked).toHaveLength(2);
    await new Promise(resolve => setTimeout(resolve, 500));
    expect(countOf(told, 'connected')).toBe(2);
  });

  it('is off while it is suspended, as LDevID and as IDevID, and back when it is resumed', async () => {
    const { told } = await run(mcus.held);
    const { uid } = mcus.held.unit;
    await eventually(() => countOf(told, 'connected') === 2);
    await http.json('POST', `/v1/devices/${uid}/suspend`, { reason: 'lost' });
    await eventually(() => has(told, 'disconnected'));
    await new Promise(resolve => setTimeout(resolve, 500));
    expect(countOf(told, 'connected')).toBe(2);
    expect(await issuedTo(uid)).toBe(1);
    await http.json('POST', `/v1/devices/${uid}/resume`, {});
    await eventually(() => countOf(told, 'connected') > 2);
  });
});

describe('a request on up/csr', () => {
  const ask = async (unit: Unit) => {
    const device = await connectDevice(server, unit);
    onTestFinished(() => device.close());
    await device.hello();
    await eventually(async () => (await show(http, unit.uid)).status === 'IN_SERVICE');
    return async (csr: Uint8Array) => {
      const answer = await device.client.request({ up: 'csr', down: 'crt', fields: new Map([[1, csr]]) });
      return (certificateMessage.decode(answer, 'crt').chain ?? [])[0];
    };
  };

  it('that comes twice gets the same answer and one certificate, by cid and by key', async () => {
    const [unit] = raw as [Unit];
    const device = await connectDevice(server, unit);
    onTestFinished(() => device.close());
    await device.hello();
    await eventually(async () => (await show(http, unit.uid)).status === 'IN_SERVICE');
    const answers: Uint8Array[] = [];
    device.client.on('crt', payload => {
      if ((decodeCbor(payload) as CborMap).get(0) !== undefined) answers.push(payload);
    });
    const key = makeKey();
    const question = (cid: number) => encodeAs(csrMessage, { cid, csr: makeCsr(key, {}) });
    const same = question(7);
    // More often than a device may ask.
    const repeats = Array.from({ length: csrLimits.burst + 2 }, () => same);
    for (const payload of [...repeats, question(8)]) await device.client.publish('csr', payload);
    await eventually(() => answers.length === repeats.length + 1);
    const chains = answers.map(answer => decodeAs(certificateMessage, answer).chain);
    for (const chain of chains) expect(chain).toEqual(chains[0]);
    expect(await issuedTo(unit.uid)).toBe(1);
  });

  it('is refused with a code and the connection stays (I4, T26)', async () => {
    covers('I4', 'T26');
    const unit = raw[1]!;
    const send = await ask(unit);
    const good = makeCsr(makeKey(), {});
    expect(await codeOf(() => send(makeCsr(raw[0]!.key, {})))).toBe('WEAK_OR_CLONED_KEY');
    const { alarms } = await http.json<{ alarms: { code: string; subject: string }[] }>('GET', '/v1/alarms');
    expect(alarms).toContainEqual(expect.objectContaining({ code: 'WEAK_OR_CLONED_KEY', subject: `device-${unit.uid}` }));
    expect(await codeOf(() => send(makeCsr(makeKey(), { serialNumber: raw[0]!.uid })))).toBe('CSR_SUBJECT');
    expect(await codeOf(() => send(good.slice(0, -1)))).toBe('CSR_MALFORMED');
    expect(await codeOf(() => send(new Uint8Array(2049)))).toBe('CSR_TOO_LARGE');
    expect(await send(good)).toBeInstanceOf(Uint8Array);
    expect(await issuedTo(unit.uid)).toBe(1);
  });

  it('of a device that asks too often is refused; repeats are not counted', async () => {
    const send = await ask(raw[2]!);
    const csr = makeCsr(makeKey(), {});
    for (let i = 0; i < csrLimits.burst; i += 1) await send(csr);
    expect(await codeOf(() => send(csr))).toBe('RATE_LIMITED');
    expect(await issuedTo(raw[2]!.uid)).toBe(1);
  });

  it('of a device in quarantine is refused before anything is signed', async () => {
    const unit = raw[3]!;
    const send = await ask(unit);
    await http.json('POST', `/v1/devices/${unit.uid}/quarantine`, { reason: 'looked odd' });
    expect(await codeOf(() => send(makeCsr(makeKey(), {})))).toBe('DEVICE_STATE');
    const { events } = await http.json<{ events: { stream: string }[] }>('GET', '/v1/events?limit=500');
    const requestsOf = ({ uid }: Unit) => events.filter(({ stream }) => stream === `certification-ldevid-${uid}`);
    expect(requestsOf(unit)).toEqual([]);
    expect(requestsOf(raw[2]!)).not.toEqual([]);
  });

  it('of a gateway for a device behind it is refused: the certificate of the connection says who asks (T20)', async () => {
    covers('T20');
    const { uid } = raw[0]!;
    await http.json('POST', `/v1/gateways/${gateway.id}/devices`, { uid });
    const client = connectMqtt({
      host: '127.0.0.1',
      port: server.mqttPort,
      servername: 'localhost',
      identity: { kind: 'gateway', gatewayId: gateway.id },
      tls: {
        key: gateway.key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
        cert: gateway.chain,
        ca: server.rootPem,
      },
    });
    onTestFinished(() => client.close());
    const before = await issuedTo(uid);
    const csr = makeCsr(makeKey(), {});
    expect(await codeOf(() => client.request({ up: 'csr', down: 'crt', uid, fields: new Map([[1, csr]]) }))).toBe('FORBIDDEN');
    expect(await issuedTo(uid)).toBe(before);
  });
});
