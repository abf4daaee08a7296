import { NusecError } from '../../src/errors.ts';
import type { DebugPort } from './debugPort.ts';
import { connectOpenOcd } from './openOcdPort.ts';
import { connectDebugPort } from './virtualDebugPort.ts';

/** Opens a debug port by its address: `host:port` of a virtual chip, or `openocd:host:port` of an OpenOCD's Tcl port.
 *  @throws NusecError LINK_FAILED, BAD_REQUEST */
export function openDebugPort(address: string): Promise<DebugPort> {
  const [, prefix, host = '', port] = /^(openocd:)?([^/]+):(\d{1,5})$/.exec(address) ?? [];
  if (port === undefined) throw new NusecError('BAD_REQUEST', 'the address of a debug port is host:port or openocd:host:port');
  return (prefix === undefined ? connectDebugPort : connectOpenOcd)(host, Number(port));
}
