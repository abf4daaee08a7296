import { expect, it } from 'vitest';
import { listenTcp } from '../../../gateway-device/link/byteLink.ts';
import { connectProgrammer } from '../../../gateway-device/programmer/client.ts';

/** What the tool of a contract manufacturer says when it loses the programmer. */

it('says that a unit goes on and what to do, when the link ends while an answer is waited for and after', async () => {
  const programmer = await listenTcp(0, link => {
    link.onData(() => void link.close());
  });
  const client = await connectProgrammer(`127.0.0.1:${programmer.port}`);
  try {
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
