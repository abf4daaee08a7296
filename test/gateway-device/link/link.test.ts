import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { connectTcp, listenTcp, openByteLink, openSerial } from '../../../gateway-device/link/byteLink.ts';
import { debugReply, decodeIdentity, decodeStatus, encodeIdentity, encodeStatus } from '../../../gateway-device/link/debugPort.ts';
import { createMctpClient, serveMctp } from '../../../gateway-device/link/mctpLink.ts';
import { connectDebugPort, serveDebugPort } from '../../../gateway-device/link/virtualDebugPort.ts';
import { concat, toHex, utf8 } from '../../../src/bytes.ts';
import { decodeAs } from '../../../src/cbor/schema.ts';
import { covers } from '../../support/covers.ts';
import { flippedAt, through, unchanged } from '../device/attacks.ts';
import { random } from '../programmer/factory.ts';

const code = (name: string) => expect.objectContaining({ code: name });
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** An answering side that echoes, and a client; each direction can be disturbed. */
async function echoPair({ up = unchanged, down = unchanged, timeoutMs = 500 } = {}) {
  const worked: string[] = [];
  const server = await listenTcp(0, link => {
    serveMctp(through(link, down), async (message, send) => {
      worked.push(toHex(message));
      await send(concat(message, utf8('!')));
    });
  });
  const link = await connectTcp('127.0.0.1', server.port);
  const client = createMctpClient(through(link, up), { timeoutMs: () => timeoutMs, retransmissions: 2 });
  cleanUps.push(server.close, client.close);
  return { client, worked, server };
}

const vendor = (text: string): Uint8Array => concat(Uint8Array.of(0x7f), utf8(text));

describe('messages over a TCP socket', () => {
  it('arrive whole in any length, one after the other (R81)', async () => {
    covers('R81');
    const { client } = await echoPair();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 3000 }), async body => {
        const message = concat(Uint8Array.of(0x7f), body);
        expect(toHex(await client.request(message))).toBe(toHex(concat(message, utf8('!'))));
      }),
      { numRuns: 50 },
    );
    const many = Array.from({ length: 12 }, (_, i) => client.request(vendor(`request ${i}`)));
    expect((await Promise.all(many)).map(answer => new TextDecoder().decode(answer.slice(1)))).toEqual(many.map((_, i) => `request ${i}!`));
  });

  it.each([
    ['the request is lost', { up: (frames: Uint8Array, count: number) => (count === 1 ? [] : [frames]) }],
    ['the answer is lost', { down: (frames: Uint8Array, count: number) => (count === 1 ? [] : [frames]) }],
    ['a bit of the request is flipped', { up: (frames: Uint8Array, count: number) => [count === 1 ? flippedAt(frames, 9) : frames] }],
    ['a bit of the answer is flipped', { down: (frames: Uint8Array, count: number) => [count === 1 ? flippedAt(frames, 9) : frames] }],
    ['everything comes twice', { up: (frames: Uint8Array) => [frames, frames], down: (frames: Uint8Array) => [frames, frames] }],
  ])('when %s, the answer comes and the work is done once', async (_, disturbed) => {
    const { client, worked } = await echoPair(disturbed);
    for (const text of ['first', 'second', 'third']) {
      expect(new TextDecoder().decode(await client.request(vendor(text)))).toContain(`${text}!`);
    }
    expect(worked).toEqual(['first', 'second', 'third'].map(text => toHex(vendor(text))));
  });

  it('end in LINK_TIMEOUT when nobody answers, in LINK_FAILED when the wire is cut', async () => {
    const silent = await echoPair({ down: () => [], timeoutMs: 10 });
    await expect(silent.client.request(vendor('x'))).rejects.toThrow(code('LINK_TIMEOUT'));
    const cut = await echoPair({ down: () => [], timeoutMs: 600_000 });
    const waiting = cut.client.request(vendor('y'));
    setTimeout(() => void cut.server.close(), 5);
    await expect(waiting).rejects.toThrow(code('LINK_FAILED'));
    await expect(cut.client.request(vendor('z'))).rejects.toThrow(code('LINK_FAILED'));
    await expect(connectTcp('127.0.0.1', cut.server.port)).rejects.toThrow(code('LINK_FAILED'));
  });

  it('do not pile up: too many waiting requests and too long ones are refused', async () => {
    const { client } = await echoPair({ down: () => [], timeoutMs: 600_000 });
    const all = Array.from({ length: 20 }, () => client.request(vendor('x')).catch((error: { code: string }) => error.code));
    await expect(client.request(new Uint8Array(70_000))).rejects.toThrow(code('PACKET_TOO_LARGE'));
    await cleanUps.pop()?.();
    expect((await Promise.all(all)).filter(result => result === 'RATE_LIMITED')).toHaveLength(4);
  });

  it('survive whatever bytes come before them', async () => {
    const { client } = await echoPair({ up: frames => [concat(random(300), frames)], timeoutMs: 3_000 });
    for (let n = 0; n < 10; n += 1) expect(await client.request(vendor(`${n}`))).toEqual(vendor(`${n}!`));
  });
});

describe('messages over a serial device', () => {
  it('go through a pseudo-terminal as through a UART (R81)', async () => {
    covers('R81');
    const folder = mkdtempSync(join(tmpdir(), 'nusec-link-'));
    const [host, device] = [join(folder, 'host'), join(folder, 'device')];
    const socat = spawn('socat', ['-d', '-d', `pty,raw,echo=0,link=${host}`, `pty,raw,echo=0,link=${device}`]);
    cleanUps.push(
      () => rmSync(folder, { recursive: true }),
      () => stopped(socat),
    );
    await started(socat);
    const chip = await openSerial(device);
    serveMctp(chip, async (message, send) => send(concat(message, utf8('!'))));
    const client = createMctpClient(await openByteLink(host), { timeoutMs: () => 10_000 });
    cleanUps.push(chip.close, client.close);
    for (const length of [1, 250, 251, 4096, 20_000]) {
      const message = concat(Uint8Array.of(0x7f), random(length));
      expect(toHex(await client.request(message))).toBe(toHex(concat(message, utf8('!'))));
    }
  });

  it('fail with LINK_FAILED when there is no such device', async () => {
    await expect(openByteLink('/dev/nusec-none')).rejects.toThrow(code('LINK_FAILED'));
  });
});

function started(socat: ChildProcess): Promise<void> {
  return new Promise(resolve => {
    socat.stderr?.on('data', (text: Buffer) => {
      if (text.includes('starting data transfer')) resolve();
    });
  });
}

function stopped(child: ChildProcess): Promise<void> {
  return new Promise(resolve => {
    child.once('exit', () => resolve());
    child.kill();
  });
}

describe('debug port', () => {
  it('carries identity and status in fixed bytes', () => {
    const chip = { uid: new Uint8Array(16).fill(0xab), productId: 0x2354, lifeCycle: 'deployed', debugState: 'locked' } as const;
    expect(toHex(encodeIdentity(chip))).toBe(`${'ab'.repeat(16)}000023540101`);
    expect(decodeIdentity(encodeIdentity(chip))).toEqual(chip);
    for (const stage of ['devauth', 'bl2', 'app', 'programmer', 'none'] as const) {
      const status = { lifeCycle: 'rma', debugState: 'unlocked', stage } as const;
      expect(decodeStatus(encodeStatus(status))).toEqual(status);
    }
    expect(() => decodeIdentity(new Uint8Array(21))).toThrow(code('CBOR_MALFORMED'));
  });

  it('refuses what is no request, and closes on a length above the limit (T27)', async () => {
    covers('T27');
    const server = await serveDebugPort(0, async () => ({ status: 'ok' }));
    cleanUps.push(server.close);
    const ask = (bytes: Uint8Array): Promise<Uint8Array> =>
      new Promise(resolve => {
        const parts: Buffer[] = [];
        const socket = connect(server.port, '127.0.0.1', () => socket.write(Buffer.from(bytes)));
        socket.on('data', chunk => {
          parts.push(chunk);
          socket.destroy();
        });
        socket.on('close', () => resolve(new Uint8Array(Buffer.concat(parts))));
      });
    const reply = await ask(Uint8Array.of(0, 0, 0, 2, 0xa0, 0xa0));
    expect(decodeAs(debugReply, reply.slice(4))).toEqual({ status: 'bad-request' });
    expect(await ask(Uint8Array.of(0xff, 0, 0, 0))).toHaveLength(0);
  });

  it('reads and writes memory larger than one transfer', async () => {
    const memory = new Uint8Array(200_000);
    const server = await serveDebugPort(0, async ({ op, address = 0, length = 0, data }) => {
      if (op === 'writeMemory' && data) memory.set(data, address);
      return op === 'readMemory' ? { status: 'ok', data: memory.slice(address, address + length) } : { status: 'ok' };
    });
    const port = await connectDebugPort('127.0.0.1', server.port);
    cleanUps.push(server.close, port.close);
    const content = random(150_000);
    await port.writeMemory(100, content);
    expect(toHex(await port.readMemory(100, content.length))).toBe(toHex(content));
  });

  it('ends what waits when the wire is cut', async () => {
    const server = await serveDebugPort(0, () => new Promise(() => undefined));
    const port = await connectDebugPort('127.0.0.1', server.port);
    const waiting = port.status();
    setTimeout(() => void server.close(), 20);
    await expect(waiting).rejects.toThrow(code('LINK_FAILED'));
  });
});
