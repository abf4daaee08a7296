/** Given to Aedes as `mq` and in the place of its `publish`: nothing is routed. What a client says goes to a handler and to nobody else, what is sent to
 *  a client is written to its connection (egress.ts), so no message has a way to another client, and a frozen one keeps no message of others. Stock
 *  Aedes would also tell each connect and each end to all its listeners, of which there are none here.
 *
 *  `removeListener` calls back synchronously on purpose: the end of a connection in Aedes (`client.close`) is then one synchronous step,
 *  and a client that comes back cannot have its new registration removed by the late end of the old one. */

type Done = (error?: Error | null) => void;

export function createEmitter() {
  const emitter = {
    concurrency: 0,
    on: (_filter: string, _listener: unknown, done?: Done) => settle(done),
    removeListener: (_filter: string, _listener: unknown, done?: Done) => settle(done),
    emit: (_message: unknown, done?: Done) => settle(done),
    close(done?: Done) {
      if (done !== undefined) setImmediate(done);
      return emitter;
    },
  };
  const settle = (done: Done | undefined) => {
    done?.();
    return emitter;
  };
  return emitter;
}

/** In the place of `aedes.publish`. */
export function routeNothing(_packet: unknown, client: unknown, done?: Done): void {
  if (typeof client === 'function') (client as Done)();
  else done?.(null);
}
