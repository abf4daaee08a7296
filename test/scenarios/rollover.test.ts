import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Life, newLife, steps } from '../../scripts/demo/steps.ts';
import { createWorld } from '../../scripts/demo/world.ts';
import { utf8 } from '../../src/bytes.ts';
import { covers } from '../support/covers.ts';
import { pollMs } from '../support/limits.ts';

/** Lives of devices that begin under a root on one curve and go on under its successor on the other: everything that was provisioned before
 *  keeps its old root and follows. Every part is a process of its own. */

const uses = ['server', 'programmer', 'gateway', 'device'] as const;
type Authorities = {
  readonly roots: readonly { readonly rootId: string; readonly curve: string }[];
  readonly issuingCas: readonly { readonly icaId: string; readonly curve: string; readonly status: string }[];
  readonly trustBundle: { readonly version: number };
};

describe.each([
  ['P-384', 'P-256'],
  ['P-256', 'P-384'],
] as const)('a life that begins on %s and goes on with %s', (from, to) => {
  let life: Life;
  beforeAll(async () => {
    life = newLife(await createWorld({ curve: from }));
  });
  afterAll(() => {
    for (const server of life?.world.servers() ?? []) if (server.errors()) console.error(server.errors());
    return life?.world.close();
  });

  const authorities = () => life.world.alice.json<Authorities>('GET', '/v1/authority');
  const ceremony = async (wish: object): Promise<Record<string, string>> => {
    const { alice, bob } = life.world;
    const { id } = await alice.json<{ id: string }>('POST', '/v1/authority/ceremonies', wish);
    const { action } = await bob.json<{ action: Record<string, string> }>('POST', `/v1/authority/ceremonies/${id}/approve`, {});
    return action;
  };
  /** Again while the device comes back with its next certificate. */
  const attest = async (index: number, wish: { via?: 'gateway' } = {}) => {
    const { uid } = life.units[index]!;
    const ask = () => life.world.alice.json<{ result: string; via: string }>('POST', `/v1/devices/${uid}/attest`, wish);
    return vi.waitFor(ask, { timeout: pollMs, interval: 200 });
  };
  const runStages = (...stages: readonly string[]) => {
    for (const step of steps.filter(({ stage }) => stages.includes(stage)))
      it(step.name, async () => expect((await step.run(life)).event.position).toBeGreaterThan(0));
  };

  runStages('manufacture', 'deployment');

  it('all authorities are on the first curve, until the next root and its issuing CAs are on the other', async () => {
    covers('R2');
    const before = await authorities();
    expect(new Set([...before.roots, ...before.issuingCas].map(({ curve }) => curve))).toEqual(new Set([from]));
    await ceremony({ type: 'rollRoot', curve: to });
    for (const use of uses) {
      const { icaId } = await ceremony({ type: 'establishIssuingCa', use, ...(use === 'device' && { line: life.line }) });
      await ceremony({ type: 'activateIssuingCa', icaId });
    }
    // What is signed from here on is signed by a key that the devices must first learn of.
    await ceremony({ type: 'establishPackageKey' });
    const { roots, issuingCas } = await authorities();
    expect(roots.map(({ curve }) => curve)).toEqual([from, to]);
    expect(issuingCas.filter(({ status }) => status === 'ACTIVE').map(({ curve }) => curve)).toEqual([to, to, to, to]);
  });

  it('devices and gateway come back to a server whose certificate hangs on the new root', async () => {
    const { gateway, units, world } = life;
    const devices = units.slice(0, 2).map(({ mcu }) => mcu);
    const parts = gateway === undefined ? devices : [...devices, gateway];
    const seen = new Map(parts.map(part => [part, part.lines.length]));
    await world.restartServer('SIGTERM');
    const again = (part: (typeof parts)[number], event: string) =>
      part.until(line => line.event === event && part.lines.indexOf(line) >= (seen.get(part) ?? 0), event, pollMs);
    // A gateway is told the trust bundle on each connection.
    await Promise.all(parts.map(part => again(part, part === gateway ? 'trust' : 'connected')));
  });

  it('the gateway, which knows the old root, attests a device; so does the cloud', async () => {
    expect(await attest(0, { via: 'gateway' })).toMatchObject({ result: 'passed', via: 'gateway' });
    expect(await attest(1)).toMatchObject({ result: 'passed', via: 'mqtt' });
  });

  it('a gateway that knows only the new root attests a device of the old one', async () => {
    const { world, units } = life;
    const [{ uid, mcu } = { uid: '', mcu: undefined }] = units;
    const ca = world.file('new-root.pem', await world.alice.bytes('GET', '/v1/authority/root.pem'));
    for (const args of [
      ['register', '--id', 'gateway-2'],
      ['attach', '--id', 'gateway-2', '--device', uid],
    ])
      expect((await world.nusec('gateway', ...args)).status).toBe(0);
    const own = ['--data', `${world.dir}/gateway-2`, '--id', 'gateway-2', '--ca', ca, '--mqtt', world.mqtt];
    await life.gateway?.stop();
    await world.start('gateway-2', 'gateway', 'run', ...own, '--device', `${uid}=127.0.0.1:${mcu?.ready.serialPort}`, '--json');
    expect(await attest(0, { via: 'gateway' })).toMatchObject({ result: 'passed', via: 'gateway' });
  });

  it('EST gives curl and openssl the authorities, and a certificate under the new root', async () => {
    const { dir, url, env, alice, tokenFile } = life.world;
    await alice.json('POST', '/v1/gateways', { id: 'foreign' });
    const run = async (command: string) => (await promisify(execFile)('sh', ['-ec', command], { cwd: dir })).stdout;
    const est = `${url}/.well-known/est`;
    await run('openssl ecparam -name prime256v1 -genkey -noout -out est.key');
    await run('openssl req -new -key est.key -subj /CN=foreign -outform DER | openssl base64 -A > est.csr');
    const post = `curl -sSf --cacert ${env.NUSEC_CA} -H 'Content-Type: application/pkcs10' --data-binary @est.csr`;
    const pem = 'openssl base64 -d | openssl pkcs7 -inform DER -print_certs';
    await run(`${post} -H "Authorization: Bearer $(cat ${tokenFile})" ${est}/gateway/simpleenroll | ${pem} -out est.pem`);
    await run(`curl -sSf --cacert ${env.NUSEC_CA} ${est}/cacerts | ${pem} -out est-ca.pem`);
    expect(await run(`openssl verify -x509_strict -CAfile est-ca.pem est.pem`)).toBe('est.pem: OK\n');
    const digest = { 'P-256': 'SHA256', 'P-384': 'SHA384' }[to];
    expect(await run('openssl x509 -in est.pem -noout -text')).toContain(`ecdsa-with-${digest}`);
    const again = await run(`${post} --cert est.pem --key est.key ${est}/gateway/simplereenroll | ${pem}`);
    expect(again.trim()).toBe((await run('cat est.pem')).trim());
  });

  it('the programmer, which knows the old root, builds a device under the new one', async () => {
    const { world, programmer, programmerUid, releases, line } = life;
    const { alice, bob } = world;
    const { jobId } = await alice.json<{ jobId: string }>('POST', '/v1/jobs', { line, plannedCount: 1 });
    for (const name of ['bl2', 'app']) await alice.json('POST', `/v1/jobs/${jobId}/firmware`, { releaseId: releases[name] });
    await bob.json('POST', `/v1/jobs/${jobId}/release`, {});
    await alice.json('POST', `/v1/jobs/${jobId}/allotments`, { programmer: programmerUid, count: 1 });
    const file = await alice.bytes('POST', `/v1/jobs/${jobId}/allotments/${programmerUid}/export`, utf8('{}'), 'application/json');
    const at = `127.0.0.1:${programmer?.ready.serialPort}`;
    expect(await world.nusec('package', 'import', world.file('second.njp', file), '--programmer', at)).toMatchObject({ status: 0 });
    const { uid, mcu } = life.units[2]!;
    const wires = ['--target-serial', `127.0.0.1:${mcu.ready.serialPort}`, '--target-debug', `127.0.0.1:${mcu.ready.debugPort}`];
    expect(await world.nusec('produce', '--programmer', at, ...wires, '--job', jobId)).toMatchObject({ status: 0 });
    await world.event(({ type, stream }) => type === 'DevicePutInService' && stream === `device-${uid}`, 'in service');
    const { icaId } = (await world.event(({ type, stream }) => type === 'DeviceCertified' && stream === `device-${uid}`, 'certified')).data;
    expect(icaId).toBe(`device-${line}-2`);
    expect(await attest(2)).toMatchObject({ result: 'passed', via: 'mqtt' });
  });

  runStages('maintenance', 'decommission');
});
