import { type Connection, checkHead } from './connection.ts';
import { type Ask, deliver, type Wait } from './delivery.ts';

/** Where and to whom: `ask` from `sessionAsk` or `clearAsk`. */
export type Asking = { readonly ask: Ask; readonly connection: Connection; readonly wait?: Wait };

/** One request and its answer. */
export async function exchange({ ask, connection, wait }: Asking, request: Uint8Array, code: number): Promise<Uint8Array> {
  const response = await deliver(ask, connection, request, wait);
  checkHead(connection, response, code);
  return response;
}
