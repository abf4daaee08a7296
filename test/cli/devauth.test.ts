import { expect, it } from 'vitest';
import { listenTcp } from '../../gateway-device/link/byteLink.ts';
import { startCommand } from '../support/command.ts';

/** `nusec devauth check` for who has no device yet that could answer. */

it('says what to do next about a chip that runs nothing', async () => {
  const blank = await listenTcp(0, () => undefined);
  try {
    const check = await startCommand(['devauth', 'check', '--tcp', `127.0.0.1:${blank.port}`]).ended();
    expect(check.status).toBe(1);
    expect(check.err).toMatch(/LINK_TIMEOUT: nothing answers on 127\.0\.0\.1:\d+ .*a blank chip runs nothing yet: load DevAuth/);
  } finally {
    await blank.close();
  }
});
