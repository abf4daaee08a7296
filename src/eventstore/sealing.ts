import { NusecError } from '../errors.ts';
import type { Edge } from '../merkle/edge.ts';
import { loadEdge } from './logTree.ts';
import type { Seal, Sealer } from './seal.ts';
import type { Storage } from './storage.ts';
import { damaged } from './storeError.ts';

/** What the writer does with the seal of the log (seal.ts): checks it when the store is opened and after every commit of another process. */

export type Sealing = {
  readonly sealer: Sealer;
  /** The key is new: a store without a seal is an older store, and is sealed now. Otherwise somebody removed the seal. */
  readonly isNew: boolean;
};

/** Checks the seal of a store that is opened. @throws NusecError STORE_DAMAGED */
export function checkFirstSeal(storage: Storage, { sealer, isNew }: Sealing, edge: Edge, seal: Seal | undefined): void {
  const size = edge.size();
  if (seal === undefined && size > 0 && isNew) sealNow(storage, sealer, edge);
  if (seal === undefined && (size === 0 || isNew)) return;
  if (seal === undefined) throw damaged('the seal of the event store is missing');
  if (seal.size > size) throw damaged(`the events from position ${size + 1} to ${seal.size} are missing`);
  if (seal.size < size && sealer.holds(seal, loadEdge(storage, seal.size))) throw notSealed(seal.size + 1);
  if (!sealer.holds(seal, edge)) throw damaged('the events are not those that this project has sealed');
}

function sealNow(storage: Storage, sealer: Sealer, edge: Edge): void {
  if (!storage.begin()) throw new NusecError('STORE_UNAVAILABLE', 'another process holds the write lock of the event store');
  storage.setSeal(sealer.seal(edge));
  storage.commit();
}

/** Checks that what was taken in from another process is sealed. Nothing is sealed before the first event.
 *  @param known events that were known before @throws NusecError STORE_DAMAGED */
export function requireSeal({ sealer }: Sealing, edge: Edge, seal: Seal | undefined, known: number): void {
  const isSealed = seal === undefined ? edge.size() === 0 : sealer.holds(seal, edge);
  if (!isSealed) throw notSealed(known + 1);
}

/** A process that cannot seal must not write into a store that others seal. @throws NusecError STORE_UNAVAILABLE */
export function requireSealing(storage: Storage, sealing: Sealing | undefined): void {
  if (sealing === undefined && storage.seal() !== undefined)
    throw new NusecError('STORE_UNAVAILABLE', 'the event store is sealed: it is written only with the keystore of its project');
}

const notSealed = (position: number): NusecError =>
  damaged(`the events from position ${position} on were not written by this project: they are not sealed`);
