/** Runs tasks one after another per client, and settles the results in the order of arrival over all queues.
 *
 *  Aedes calls its hooks for all packets of a read in parallel; without this queue the appends of one device could change order, and PUBACKs
 *  would leave in another order than the PUBLISH packets came in ([MQTT-4.6.0-2]). The number of waiting tasks is bounded by one
 *  read of the socket (64 KiB): Aedes reads on only when all packets of the last read are done. */
export function createPerClientQueue() {
  // Between two messages a connection has none.
  let queues: Map<string, Promise<unknown>> | undefined;
  let settled: Promise<unknown> = Promise.resolve();

  return function enqueue<T>(client: string, task: () => Promise<T>, settle: (result: T) => void): void {
    queues ??= new Map();
    const before = queues.get(client) ?? Promise.resolve();
    const work = before.then(task);
    queues.set(client, work);
    settled = settled
      .then(() => work)
      .then(result => {
        if (queues?.get(client) === work) queues.delete(client);
        if (queues?.size === 0) queues = undefined;
        settle(result);
      });
  };
}
