import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Lease } from '../../eventstore/port.ts';

/** Signs of life of the process that leads. */

/** @property count grows with every sign; 0 when this leader has ended
 *  @property locked whether the leader held the lock of its machine: then a lock that is free tells that it is dead */
export type Beat = { readonly epoch: number; readonly count: number; readonly locked: boolean };

export type Beats = {
  give(epoch: number, locked: boolean): Promise<void>;
  end(epoch: number): Promise<void>;
  read(): Promise<Beat | undefined>;
  /** Resolves when every sign that was given before the call can be read. */
  settle(): Promise<void>;
  close(): void;
};

/** For processes on several machines: signs in the event store. */
export function leaseBeats(lease: Lease): Beats {
  const holder = `${hostname()}:${process.pid}`;
  let count = 0;
  return {
    async give(epoch) {
      count += 1;
      await lease.give({ epoch, count, holder });
    },
    // Without this sign the others wait until they have missed enough of them.
    end: epoch => lease.give({ epoch, count: 0, holder }).catch(() => undefined),
    async read() {
      const sign = await lease.read();
      return sign && { epoch: sign.epoch, count: sign.count, locked: false };
    },
    settle: lease.settle,
    close() {},
  };
}

const beatBytes = 48;

/** The leader's sign on one machine: a line of fixed length in a file, written over and over. It need not outlive a power cut. */
export function fileBeats(dataDir: string): Beats {
  const file = openSync(join(dataDir, 'leader.beat'), constants.O_RDWR | constants.O_CREAT, 0o600);
  let count = 0;
  const write = (beat: Beat): void => {
    writeSync(file, `${beat.epoch} ${beat.count} ${beat.locked ? 1 : 0}`.padEnd(beatBytes - 1).concat('\n'), 0);
  };
  return {
    async give(epoch, locked) {
      count += 1;
      write({ epoch, count, locked });
    },
    end: async epoch => write({ epoch, count: 0, locked: false }),
    async read() {
      const line = Buffer.alloc(beatBytes);
      readSync(file, line, 0, beatBytes, 0);
      const match = line.toString('latin1').match(/^(\d+) (\d+) ([01]) *\n$/);
      return match === null ? undefined : { epoch: Number(match[1]), count: Number(match[2]), locked: match[3] === '1' };
    },
    async settle() {},
    close: () => closeSync(file),
  };
}
