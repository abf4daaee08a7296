import { fromHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import { serveWire } from '../link/bridge.ts';
import { createBridgeServer } from '../link/bridgeServer.ts';
import { openByteLink } from '../link/byteLink.ts';
import { createMctpClient } from '../link/mctpLink.ts';
import { type Core, withConnection } from './core.ts';
import { certSlotUnder, oemKeys, readIdentity, updateBundle } from './identity.ts';
import type { Report } from './produce.ts';

/** The programmer as bridge (R87): the device on the serial link gets the upgrade, or the order to wipe, that is outstanding for it at the server. The body of an
 *  image is fetched once and kept for the next device. */

/** @returns what became of the device @throws as serveWire, and NusecError STATE before a server was named */
export async function upgradeDevice(
  core: Core,
  serial: string,
  report: Report,
): Promise<{ uid: string; outcome: string; version?: string }> {
  const identity = readIdentity(core.chip);
  const client = createMctpClient(await openByteLink(serial));
  let step = 0;
  let name = '';
  const tell = (next: string): void => {
    if (step > 0) report(step, name, 'done');
    step += 1;
    name = next;
    report(step, name, 'begin');
  };
  try {
    const done = await withConnection(core, async http => {
      await updateBundle(core.chip, identity, await http.bytes('GET', '/v1/trust-bundle'));
      return serveWire(
        {
          server: createBridgeServer(http, 'programmer'),
          slotUnder: root => certSlotUnder(core.chip, identity, root),
          jobKeys: () => oemKeys(core.chip, identity, 'otaJob'),
          body: (sha256, fetch) => core.images.body(fromHex(sha256), fetch),
          report: tell,
        },
        client,
      );
    });
    report(step, name, 'done', done.outcome === 'nothing' ? 'nothing stands for this device' : `${done.uid} ${done.outcome}`);
    return done;
  } catch (error) {
    if (error instanceof NusecError) report(step, name, 'failed', `${error.code}: ${error.message}`);
    throw error;
  } finally {
    await client.close();
  }
}
