import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openByteLink } from '../../../gateway-device/link/byteLink.ts';
import { checkDevAuth } from '../../../gateway-device/link/devAuthCheck.ts';
import { createMctpClient } from '../../../gateway-device/link/mctpLink.ts';
import { connectTarget, startDevAuth } from '../../../gateway-device/programmer/target.ts';
import { toHex } from '../../../src/bytes.ts';
import { decodeMessage, encodeMessage } from '../../../src/production/devauth/header.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../../src/production/devauth/vendor.ts';
import { startTarget, type TestTarget } from '../programmer/programmerFixture.ts';
import { type Alter, interpose } from './interposer.ts';

let target: TestTarget;
beforeAll(async () => {
  target = await startTarget();
  const wires = await connectTarget(target.addresses);
  await startDevAuth(wires);
  await wires.close();
});
afterAll(() => target.stop());

async function checked(alter: Alter = body => [body]) {
  const wire = await interpose(target.addresses.serial, alter);
  const client = createMctpClient(await openByteLink(wire.address));
  try {
    return await checkDevAuth(client);
  } finally {
    await client.close();
    await wire.close();
  }
}

describe('a conformance check', () => {
  it('passes a device of ours and changes nothing of it', async () => {
    const before = target.chip.keyStore.publicKey(0);
    const report = await checked();
    expect(report.results.filter(({ result }) => result === 'failed')).toEqual([]);
    expect(report).toMatchObject({ uid: toHex(target.uid), stage: 'devauth', passed: true });
    expect(target.chip.keyStore.publicKey(0)).toEqual(before);
  });

  it('names what a device does not keep: here one that answers everything with ok', async () => {
    const report = await checked((body, direction) => {
      if (direction === 'down') return [body];
      const answer = decodeMessage(decodeVendorMessage(body).message);
      if (answer.body.length > 8) return [body];
      return [encodeVendorMessage(encodeMessage({ ...answer, body: Uint8Array.of(0xa1, 0, 0) }), { integrityCheck: true })];
    });
    expect(report.passed).toBe(false);
    expect(report.results.filter(({ result }) => result === 'failed').map(({ name }) => name)).toContain('an unknown command is refused');
  });
});
