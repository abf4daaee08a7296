import { type ClientInternals, listClassOf } from './internals.ts';

/** Nothing goes through the delivery of Aedes, so no message is told from its duplicates there, and none has QoS 2. */
const noDuplicates = Object.freeze(Object.create(null) as object);
const noneInFlight: ReadonlySet<number> = new Set();

/** Lets go of what Aedes and its parser make for each connection, and what no connection here uses: a connected device needs more than a KiB less. The list
 *  of bytes that have come is a duplex stream by default (bl 6); the list alone is enough for the parser. */
export function spareMemory(client: ClientInternals): void {
  const { _parser: parser } = client;
  const { BufferList } = listClassOf(parser);
  if (BufferList !== undefined && parser._list.length === 0) parser._list = new BufferList();
  client.duplicates = noDuplicates;
  client._inboundInflight = noneInFlight;
}
