import { expect, it } from 'vitest';
import { listenTcp } from '../../../gateway-device/link/byteLink.ts';
import { serveMctp } from '../../../gateway-device/link/mctpLink.ts';
import { connectProgrammer } from '../../../gateway-device/programmer/client.ts';
import { programmerCommands, programmerGroup } from '../../../gateway-device/programmer/protocol.ts';
import { encodeOk } from '../../../src/production/devauth/body.ts';
import { decodeMessage, encodeMessage, responseTo } from '../../../src/production/devauth/header.ts';
import { decodeVendorMessage, encodeVendorMessage } from '../../../src/production/devauth/vendor.ts';

/** What the tool of a contract manufacturer says when it loses the programmer. */

it('says where it looked, when what is there has never answered as a programmer does', async () => {
  const other = await listenTcp(0, link => {
    link.onData(() => void link.close());
  });
  const address = `127.0.0.1:${other.port}`;
  const client = await connectProgrammer(address);
  try {
    const message = expect.stringContaining(`no programmer answers at ${address}`);
    await expect(client.request('status', {})).rejects.toMatchObject({ code: 'LINK_FAILED', message });
  } finally {
    await client.close();
    await other.close();
  }
});

it('says that a unit goes on and what to do, when the link ends while an answer is waited for and after', async () => {
  const { status } = programmerCommands;
  let asked = 0;
  const programmer = await listenTcp(0, link =>
    serveMctp(link, async (bytes, send) => {
      asked += 1;
      if (asked > 1) return link.close();
      const { sequence } = decodeMessage(decodeVendorMessage(bytes).message, programmerGroup);
      const idle = { stage: 'programmer', uid: new Uint8Array(16), jobs: [], kekEpoch: 1, ledgerHeads: [] } as const;
      const body = encodeOk(status.response, idle);
      const answer = encodeMessage({ op: responseTo(status.op), sequence, command: status.id, body }, programmerGroup);
      await send(encodeVendorMessage(answer, { integrityCheck: true }));
    }),
  );
  const client = await connectProgrammer(`127.0.0.1:${programmer.port}`);
  try {
    expect(await client.request('status', {})).toMatchObject({ kekEpoch: 1 });
    for (const name of ['status', 'status'] as const)
      await expect(client.request(name, {})).rejects.toMatchObject({
        code: 'LINK_FAILED',
        message: expect.stringMatching(
          /the programmer cannot be reached any more .*goes on by itself, a unit too; .* run the same command/,
        ),
      });
  } finally {
    await client.close();
    await programmer.close();
  }
});
