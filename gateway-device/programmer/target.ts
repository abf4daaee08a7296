import { randomBytes } from 'node:crypto';
import { equalBytes, toHex } from '../../src/bytes.ts';
import { NusecError } from '../../src/errors.ts';
import type { DevAuthResponse } from '../../src/production/devauth/commands.ts';
import type { DevAuthHost } from '../../src/production/devauth/host.ts';
import { openByteLink } from '../link/byteLink.ts';
import type { DebugPort } from '../link/debugPort.ts';
import { openDevAuth } from '../link/devAuthClient.ts';
import { createMctpClient, type MctpClient } from '../link/mctpLink.ts';
import { openDebugPort } from '../link/openDebugPort.ts';

/** The two wires to one unit: debug port and serial link. Opened for a run, closed after it. */
export type Target = {
  readonly debug: DebugPort;
  readonly client: MctpClient;
  /** DevAuth in the open. */
  readonly host: DevAuthHost;
  readonly close: () => Promise<void>;
};

export type TargetAddresses = { readonly serial: string; readonly debug: string };

export type Hello = DevAuthResponse<'hello'>;

/** What identifies a unit before anything is done to it. */
export type FoundTarget = {
  readonly uid: Uint8Array;
  readonly productId: number;
  readonly isLocked: boolean;
  readonly isNew: boolean;
  /** DevAuth runs on it already: both wires lead to this chip. */
  readonly devAuth?: Hello;
};

/** @param addresses `host:port` of both; the serial one may be the path of a UART, the debug port `openocd:host:port`
 *  @throws NusecError LINK_FAILED, BAD_REQUEST */
export async function connectTarget({ serial, debug: debugAddress }: TargetAddresses): Promise<Target> {
  const debug = await openDebugPort(debugAddress);
  try {
    const client = createMctpClient(await openByteLink(serial));
    const close = async (): Promise<void> => void (await Promise.all([client.close(), debug.close()]));
    return { debug, client, host: openDevAuth(client), close };
  } catch (error) {
    await debug.close();
    throw error;
  }
}

export const hello = (host: DevAuthHost): Promise<Hello> => host.request('hello', { version: 1, nonce: new Uint8Array(randomBytes(16)) });

/** Step 1: the UID over the debug port, and over the serial link from DevAuth, before anything is reserved: both must be of one chip. A locked
 *  chip, which only a unit under way can be, shows its UID over the serial link alone.
 *  @throws NusecError DEVICE_STATE when the wires are of different chips */
export async function findTarget(target: Target): Promise<FoundTarget> {
  const { debug, host } = target;
  await debug.connect();
  const { debugState } = await debug.status();
  if (debugState === 'locked') {
    const { uid, productId, debugState: own } = await hello(host);
    if (own !== 'locked') throw differentChips('a locked one', 'an open one');
    return { uid, productId, isLocked: true, isNew: false };
  }
  const { uid, productId, lifeCycle } = await debug.readUid();
  const found = { uid, productId, isLocked: false, isNew: lifeCycle === 'manufacture' };
  if (!found.isNew) return found;
  const devAuth = await startDevAuth(target).catch(silentLink);
  if (!equalBytes(devAuth.uid, uid)) throw differentChips(toHex(uid), toHex(devAuth.uid));
  return { ...found, devAuth };
}

function silentLink(error: unknown): never {
  if (!(error instanceof NusecError) || error.code !== 'LINK_TIMEOUT') throw error;
  throw new NusecError(
    'LINK_TIMEOUT',
    'the serial link is silent, though DevAuth runs behind the debug port: are both wires on this chip?',
  );
}

const differentChips = (debug: string, serial: string): NusecError =>
  new NusecError('DEVICE_STATE', `debug port and serial link are of different chips (${debug}, ${serial}): check the wires`);

/** What is on the wires now, without changing anything of it. @throws NusecError LINK_FAILED, LINK_TIMEOUT */
export async function probeTarget({ debug, host }: Target): Promise<string> {
  await debug.connect();
  const { debugState } = await debug.status();
  return toHex(debugState === 'locked' ? (await hello(host)).uid : (await debug.readUid()).uid);
}

/** Step 3: DevAuth code to SRAM, run it, say hello (R5–R7, R72–R73). @throws NusecError LINK_TIMEOUT, DEVICE_STATE */
export async function startDevAuth({ debug, host }: Target): Promise<Hello> {
  await debug.reset();
  await debug.run(await debug.loadDevAuth());
  const answer = await hello(host);
  if (answer.stage !== 'devauth') throw new NusecError('DEVICE_STATE', `the target runs ${answer.stage} instead of DevAuth`);
  return answer;
}

/** Step 11: starts BL2 and hears from it. A locked chip restarts over the serial link. @throws NusecError DEVICE_STATE when BL2 does not run */
export async function startBl2({ debug, host }: Target): Promise<Hello> {
  const { debugState } = await debug.status();
  if (debugState === 'locked') await host.request('reset', { mode: 'bootloader' });
  else await debug.reset();
  const answer = await hello(host);
  if (answer.stage !== 'bl2') throw new NusecError('DEVICE_STATE', `the target runs ${answer.stage} instead of BL2`);
  return answer;
}
