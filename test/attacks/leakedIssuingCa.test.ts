import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { createHttpClient } from '../../gateway-device/link/httpClient.ts';
import { connectMqtt, type MqttIdentity } from '../../gateway-device/link/mqttClient.ts';
import { fromBase64url } from '../../src/bytes.ts';
import { signer } from '../../src/keystore/signer.ts';
import { type IssuerUse, issuerUses } from '../../src/pki/issuerScope.ts';
import { parseCertificate } from '../../src/pki/parse.ts';
import { fromPem, toPem } from '../../src/pki/pem.ts';
import { authorityOf } from '../../src/services/authority/authority.ts';
import type { Context } from '../../src/services/base/context.ts';
import { registerGateway } from '../../src/services/field/gateways.ts';
import { defineLine } from '../../src/services/firmware/lines.ts';
import { registerProgrammer } from '../../src/services/production/programmers.ts';
import { people, seedFleet } from '../gateway/fieldKit.ts';
import { type Key, makeKey, makeLeaf } from '../pki/support.ts';
import { agentTrust } from '../support/agentTrust.ts';
import { covers } from '../support/covers.ts';
import { exchange } from '../support/http.ts';
import { startTestServer, type TestServer } from '../support/server.ts';

/** The private key of one issuing CA is in other hands. Whatever is signed with it for another use or line is refused by everybody; for its own use
 *  by the server, which knows what it issued. */

const programmerUid = '4e4c3300000000000000000000000009';
const gatewayId = 'hall-9';
const icaIds = ['device-meter-1', 'device-heater-1', 'programmer-1', 'gateway-1', 'server-1'] as const;
type Forged = { readonly key: Key; readonly leaf: Uint8Array; readonly ica: Uint8Array };

let server: TestServer;
let uid: string;
/** By issuing CA and by what the leaf claims to be. */
const forged = {} as Record<(typeof icaIds)[number], Record<IssuerUse, Forged>>;

async function forgeAll(ctx: Context): Promise<void> {
  const { issuingCas } = await authorityOf(ctx);
  const names = { device: uid, programmer: programmerUid, gateway: gatewayId, server: 'localhost' };
  for (const { icaId, keyId, certificate } of issuingCas) {
    const der = fromBase64url(certificate);
    const stolen = { der, certificate: parseCertificate(der), key: { signer: await signer(ctx.keystore, keyId) } };
    const leaves = issuerUses.map(async use => {
      const key = makeKey();
      return [use, { key, leaf: await makeLeaf(use, stolen, { key, name: names[use] }), ica: der }] as const;
    });
    forged[icaId as (typeof icaIds)[number]] = Object.fromEntries(await Promise.all(leaves)) as Record<IssuerUse, Forged>;
  }
}

beforeAll(async () => {
  server = await startTestServer(async ctx => {
    const fleet = await seedFleet(ctx, 1);
    uid = fleet.units[0]!.uid;
    await defineLine(ctx, { line: 'heater' }, 'operator:rita');
    await registerProgrammer(ctx, programmerUid, 'NuLink3', 'operator:rita');
    await registerGateway(ctx, gatewayId, gatewayId, 'operator:rita');
    await forgeAll(ctx);
  });
});
afterAll(() => server?.close());

const pemOf = ({ key, leaf, ica }: Forged) => ({
  key: key.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  cert: toPem('CERTIFICATE', leaf) + toPem('CERTIFICATE', ica),
});

/** A cloud with this identity, which gives everybody the genuine trust bundle and says yes to everything. */
async function fakeCloud(identity: Forged): Promise<{ readonly port: number; readonly heard: string[] }> {
  const heard: string[] = [];
  const bundle = await people(server).bytes('GET', '/v1/trust-bundle');
  const cloud = createServer({ ...pemOf(identity), minVersion: 'TLSv1.3' }, (request, response) => {
    if (request.url?.startsWith('/v1/trust-bundle')) return void response.end(bundle);
    heard.push(request.headers.authorization ?? '');
    response.setHeader('Content-Type', 'application/json');
    response.end('{"evil":true}');
  });
  await new Promise<void>(resolve => cloud.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void cloud.close());
  return { port: (cloud.address() as AddressInfo).port, heard };
}

const requests = {
  device: ['/.well-known/est/ldevid/simplereenroll', ''],
  programmer: [`/v1/programmers/${programmerUid}/check-in`, '{}'],
  gateway: [`/v1/gateways/${gatewayId}/trust-bundle`, '{"version":1}'],
} as const;

describe.each(icaIds)('whoever has the key of %s', icaId => {
  const own = icaId.split('-')[0] as IssuerUse;

  it('is no device, programmer or gateway over HTTPS (T8, T15, T20)', async () => {
    covers('T8', 'T15', 'T20');
    for (const kind of ['device', 'programmer', 'gateway'] as const) {
      const [path, body] = requests[kind];
      const headers = { 'Content-Type': kind === 'device' ? 'application/pkcs10' : 'application/json' };
      const { json } = await exchange(server.url + path, {
        method: 'POST',
        ca: server.rootPem,
        headers,
        body,
        ...pemOf(forged[icaId][kind]),
      });
      expect(json, kind).toMatchObject({ code: 'CHAIN_REFUSED' });
    }
  });

  it('is no device or gateway over MQTT (T8, T20)', async () => {
    covers('T8', 'T20');
    for (const identity of [
      { kind: 'device', uid },
      { kind: 'gateway', gatewayId },
    ] as const satisfies readonly MqttIdentity[]) {
      const outcome = await new Promise<string>(resolve => {
        const client = connectMqtt({
          host: '127.0.0.1',
          port: server.mqttPort,
          servername: 'localhost',
          identity,
          tls: { ...pemOf(forged[icaId][identity.kind]), ca: server.rootPem },
          onOnline: () => resolve('online'),
          onOffline: (_, isRefused) => resolve(isRefused ? 'refused' : 'unreachable'),
        });
        onTestFinished(() => client.close());
      });
      expect(outcome, identity.kind).toBe('refused');
    }
  });

  it(`is ${own === 'server' ? 'a' : 'no'} server for the command line, programmers, gateways and devices (T14)`, async () => {
    covers('T14');
    const { port, heard } = await fakeCloud(forged[icaId].server);
    const http = createHttpClient({ baseUrl: `https://localhost:${port}`, ca: server.rootPem, token: 'secret' });
    const answer = await http.json('GET', '/v1/authority').catch(error => error.code);
    http.close();
    expect(answer).toEqual(own === 'server' ? { evil: true } : 'SERVER_UNREACHABLE');
    expect(heard).toHaveLength(own === 'server' ? 1 : 0);
    const text = await new Promise<string>(resolve => {
      const tls = { ...pemOf(forged[icaId].device), ca: server.rootPem };
      const onOffline = (error: Error) => resolve(error.message);
      const client = connectMqtt({ host: '127.0.0.1', port, servername: 'localhost', identity: { kind: 'device', uid }, tls, onOffline });
      onTestFinished(() => client.close());
    });
    const isRefused = /unsuitable certificate purpose|the certificate of the server is refused/.test(text);
    expect(isRefused, text).toBe(own !== 'server');
  });

  it(`makes ${own === 'device' ? '' : 'no '}devices that a gateway takes for genuine (T8)`, async () => {
    covers('T8');
    const [root] = fromPem('CERTIFICATE', server.rootPem) as [Uint8Array];
    const trust = await agentTrust(() => ({ tls: { key: '', cert: '', ca: server.rootPem }, root }), server.url);
    const { leaf, ica } = forged[icaId].device;
    const judged = trust.judge([root, ica, leaf], uid);
    if (own === 'device') await expect(judged).resolves.toBeDefined();
    else await expect(judged).rejects.toMatchObject({ code: 'CHAIN_REFUSED' });
  });

  it('is noticed (T17)', async () => {
    covers('T17');
    const { alarms } = await people(server).json<{ alarms: readonly { code: string; subject: string }[] }>('GET', '/v1/alarms?limit=500');
    expect(alarms).toContainEqual(expect.objectContaining({ code: 'CA_MISUSED', subject: icaId }));
  });
});

describe('an issuing CA of servers that was declared compromised', () => {
  it('makes no server any more for whoever has the newest trust bundle (T14, I10)', async () => {
    covers('T14', 'I10');
    const [alice, bob] = [people(server), people(server, server.bob)];
    const ceremony = async (wish: object) => {
      const { id } = await alice.json<{ id: string }>('POST', '/v1/authority/ceremonies', wish);
      await bob.json('POST', `/v1/authority/ceremonies/${id}/approve`, {});
    };
    await ceremony({ type: 'establishIssuingCa', use: 'server' });
    await ceremony({ type: 'activateIssuingCa', icaId: 'server-2' });
    const retired = await fakeCloud(forged['server-1'].server);
    const client = () => createHttpClient({ baseUrl: `https://localhost:${retired.port}`, ca: server.rootPem, token: 'secret' });
    await expect(client().json('GET', '/v1/authority')).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' });
    await ceremony({ type: 'compromiseIssuingCa', icaId: 'server-1', reason: 'its key was seen elsewhere' });
    await expect(client().json('GET', '/v1/authority')).rejects.toMatchObject({ code: 'SERVER_UNREACHABLE' });
    expect(retired.heard).toEqual([]);
    // The client has the newest bundle and waits for the server to have its new certificate.
    expect(await alice.json('GET', '/v1/authority')).toMatchObject({ project: 'nusec' });
  });
});
