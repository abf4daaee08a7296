import { afterAll, beforeAll, expect, it } from 'vitest';
import { covers } from '../../support/covers.ts';
import type { Call } from '../../support/faults.ts';
import { type OemServer, startOemServer } from './oemServer.ts';
import { freshId, newFolder, prepare, removeFolders, startProgrammer } from './programmerFixture.ts';

/** A programmer is prepared, and one call to the server is lost, or its answer is: the same command again brings it to its end. */

let server: OemServer;
/** Each call of a preparation, in its order. */
let calls: readonly Call[];

beforeAll(async () => {
  server = await startOemServer();
  const programmer = await startProgrammer(newFolder(), freshId());
  const before = server.proxy.calls.length;
  await prepare(server, programmer);
  calls = server.proxy.calls.slice(before);
  await programmer.stop();
});
afterAll(async () => {
  await server.close();
  removeFolders();
});

it.each(['lost', 'unanswered'] as const)(
  'each call %s once: the programmer is shipped by the same command again, and runs (T33, R26)',
  async fault => {
    covers('T33', 'R26');
    expect(calls.map(({ name }) => name)).toContain('locked');
    for (const place of calls.keys()) {
      const programmer = await startProgrammer(newFolder(), freshId());
      let at = 0;
      server.proxy.fail(() => (at++ === place ? fault : undefined));
      await prepare(server, programmer).catch(() => undefined);
      server.proxy.heal();
      const where = `${place}: ${calls[place]?.name}`;
      expect(await prepare(server, programmer), where).toMatchObject({ uid: programmer.uid, status: 'SHIPPED' });
      await programmer.stop();
    }
  },
);
