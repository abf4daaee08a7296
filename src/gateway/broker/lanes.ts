/** Runs tasks one after another per lane, and settles the results in the order of arrival over all lanes.
 *
 *  Aedes calls its hooks for all packets of a read at once; without this the appends of one device could change places, and PUBACKs
 *  would leave in another order than the PUBLISH packets came in ([MQTT-4.6.0-2]). The number of waiting tasks is bounded by one
 *  read of the socket (64 KiB): Aedes reads on only when all packets of the last read are done. */
export function createLanes() {
  const lanes = new Map<string, Promise<unknown>>();
  let settled: Promise<unknown> = Promise.resolve();

  return function enqueue<T>(lane: string, task: () => Promise<T>, settle: (result: T) => void): void {
    const before = lanes.get(lane) ?? Promise.resolve();
    const work = before.then(task);
    lanes.set(lane, work);
    settled = settled
      .then(() => work)
      .then(result => {
        if (lanes.get(lane) === work) lanes.delete(lane);
        settle(result);
      });
  };
}
