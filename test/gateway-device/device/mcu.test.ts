import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openByteLink } from '../../../gateway-device/link/byteLink.ts';
import { openDevAuth } from '../../../gateway-device/link/devAuthClient.ts';
import { createMctpClient } from '../../../gateway-device/link/mctpLink.ts';
import { connectDebugPort } from '../../../gateway-device/link/virtualDebugPort.ts';
import { toHex } from '../../../src/bytes.ts';
import { sendFirmware } from '../../../src/production/devauth/transfer.ts';
import { covers } from '../../support/covers.ts';
import {
  hello,
  installBl2,
  makeIdentity,
  makeImage,
  makeOem,
  type Oem,
  openSession,
  provision,
  startDevAuth,
  transferOf,
  uid,
} from '../programmer/factory.ts';

/** The virtual MCU as a process of its own, killed as a power cut would. */

type Line = Record<string, unknown>;
let oem: Oem;
beforeAll(async () => {
  oem = await makeOem();
});
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'nusec-mcu-'));
  cleanUps.push(() => rmSync(made, { recursive: true }));
  return made;
}

async function start(data: string, ...more: string[]) {
  const child = spawn(process.execPath, ['src/cli/main.ts', 'mcu', 'run', '--data', data, ...more], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: Line[] = [];
  const first = Promise.withResolvers<Line>();
  createInterface({ input: child.stdout }).on('line', text => {
    lines.push(JSON.parse(text) as Line);
    first.resolve(lines[0] as Line);
  });
  child.once('exit', code => first.reject(new Error(`ended with ${code}`)));
  cleanUps.push(() => killed(child));
  const ready = await first.promise;
  const debug = await connectDebugPort('127.0.0.1', ready.debugPort as number);
  const client = createMctpClient(await openByteLink(`127.0.0.1:${ready.serialPort}`));
  return { child, ready, lines, debug, client, devAuth: openDevAuth(client) };
}

function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise(resolve => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}

describe('nusec mcu run', () => {
  it('tells where it is in its first line, and keeps its UID', async () => {
    const data = folder();
    const { ready, child } = await start(data, '--uid', toHex(uid), '--json');
    expect(ready).toMatchObject({
      ready: true,
      uid: toHex(uid),
      serialPort: expect.any(Number),
      debugPort: expect.any(Number),
      stage: 'none',
    });
    await killed(child);
    const again = await start(data);
    expect(again.ready.uid).toBe(toHex(uid));
    await killed(again.child);
    await expect(start(data, '--uid', 'ff'.repeat(16))).rejects.toThrow('ended with 2');
  });

  it('killed after any irreversible step, has done it, once (T33, R74)', async () => {
    covers('T33', 'R74');
    const data = folder();
    let mcu = await start(data, '--uid', toHex(uid));
    const again = async (): Promise<void> => {
      await killed(mcu.child);
      mcu = await start(data);
    };
    const keygen = () => mcu.devAuth.request('keygen', { keySlot: 0, algorithm: 'es256', minEntropyBits: 256 });
    await startDevAuth(mcu.debug);
    const { publicKey } = await keygen();
    await again();
    await startDevAuth(mcu.debug);
    expect(toHex((await keygen()).publicKey)).toBe(toHex(publicKey));

    await makeIdentity(mcu.devAuth, oem);
    await installBl2(mcu, oem);
    await again();
    expect((await hello(mcu.devAuth)).otpMask).toBe(0b11111);
    await mcu.devAuth.request('lock', { debugState: 'locked', lifeCycle: 'deployed' });
    await again();
    expect(await mcu.debug.status()).toEqual({ debugState: 'locked', lifeCycle: 'deployed', stage: 'bl2' });

    const { sealed } = await openSession(mcu.client, oem);
    await sendFirmware(sealed, transferOf(makeImage(oem.appKey, '1.2.3', 5)), 4096);
    await again();
    expect(mcu.ready.stage).toBe('app');
    expect(await hello(mcu.devAuth)).toMatchObject({ stage: 'app', securityCounter: 5 });
  });

  it('keeps its private key in its own folder, readable by nobody else, and tells it nowhere (RULE-2, R110)', async () => {
    covers('RULE-2', 'R110');
    const data = folder();
    const mcu = await start(data, '--uid', toHex(uid));
    await provision(mcu, oem);
    expect(statSync(data).mode & 0o077).toBe(0);
    for (const file of readdirSync(data)) expect(statSync(join(data, file)).mode & 0o077).toBe(0);
    const { keys } = JSON.parse(readFileSync(join(data, 'keystore.json'), 'utf8')) as { keys: Record<string, string> };
    const secret = Buffer.from(keys['0'] as string, 'base64url').subarray(36, 68);
    for (const file of ['flash.bin', 'otp.bin']) expect(readFileSync(join(data, file)).includes(secret)).toBe(false);
    expect(JSON.stringify(mcu.lines)).not.toContain(secret.toString('hex'));
  });

  it('is made whole through a serial device as through TCP (R81)', async () => {
    covers('R81');
    const data = folder();
    const [host, device] = [join(data, 'host'), join(data, 'device')];
    const socat = spawn('socat', ['-d', '-d', `pty,raw,echo=0,link=${host}`, `pty,raw,echo=0,link=${device}`]);
    cleanUps.push(() => killed(socat));
    await new Promise<void>(resolve => {
      socat.stderr.on('data', (text: Buffer) => {
        if (text.includes('starting data transfer')) resolve();
      });
    });
    const mcu = await start(join(data, 'chip'), '--uid', toHex(uid), '--serial-device', device);
    const client = createMctpClient(await openByteLink(host));
    cleanUps.push(client.close);
    const wired = { debug: mcu.debug, client, devAuth: openDevAuth(client) };
    await provision(wired, oem);
    expect(await hello(wired.devAuth)).toMatchObject({ stage: 'app', debugState: 'locked' });
  });
});
