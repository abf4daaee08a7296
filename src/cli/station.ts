import { z } from 'zod';
import { NusecError } from '../errors.ts';
import { readText } from './client.ts';

/** What a production station is: a programmer, the targets on its wires, and who gets a report of each unit. */

/** Sockets of a gang programmer. */
const maxTargets = 16;
const address = z.string().min(1).max(128);
const target = z.strictObject({ name: z.string().min(1).max(32), serial: address, debug: address });
const station = z.strictObject({
  programmer: address,
  targets: z.array(target).min(1).max(maxTargets),
  job: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .optional(),
  /** Units in all; without it until the count of the programmer is used up. */
  count: z.number().int().min(1).max(0xffff_ffff).optional(),
  /** `chip`: a unit begins when a chip is there; `command`: when the handler says {"start": "name of the target"} on the socket. */
  start: z.enum(['chip', 'command']).default('chip'),
  /** TCP port on loopback: the same JSON lines for a handler or MES; 0 is any free one. */
  listen: z.number().int().min(0).max(0xffff).optional(),
  /** Each result is posted there, as JSON. */
  webhook: z.url({ protocol: /^https?$/ }).optional(),
});
export type Station = z.infer<typeof station>;
export type StationTarget = Station['targets'][number];

/** @throws NusecError BAD_REQUEST naming what is wrong, NOT_FOUND */
export function readStation(file: string): Station {
  return parsed(file, () => JSON.parse(readText(file, 'station file')));
}

/** `serial,debug` for each target, named 1, 2, 3 … @throws NusecError BAD_REQUEST */
export function stationOf(programmer: string, wires: readonly string[], rest: Partial<Station>): Station {
  const targets = wires.map((pair, index) => {
    const [serial, debug, more] = pair.split(',');
    if (!serial || !debug || more !== undefined) throw new NusecError('BAD_REQUEST', `${pair} is not SERIAL,DEBUG`);
    return { name: String(index + 1), serial, debug };
  });
  return parsed('targets', () => ({ programmer, targets, ...rest }));
}

function parsed(what: string, read: () => unknown): Station {
  let result: ReturnType<typeof station.safeParse>;
  try {
    result = station.safeParse(read());
  } catch (cause) {
    if (cause instanceof NusecError) throw cause;
    throw new NusecError('BAD_REQUEST', `${what} is not JSON`, { cause });
  }
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new NusecError('BAD_REQUEST', `${what}: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const places = result.data.targets.flatMap(({ name, serial, debug }) => [name, serial, debug]);
  if (new Set(places).size < places.length) throw new NusecError('BAD_REQUEST', `${what}: two targets share a name or a wire`);
  return result.data;
}
