import { createServer } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
import { listenOn } from '../../src/listening.ts';

/** Worker of listening.test.ts: says its port, and then accepts nothing until it is told. */

const busy = workerData as Int32Array;
const port = await listenOn(createServer(), { port: 0, host: '127.0.0.1' });
parentPort?.postMessage(port);
Atomics.wait(busy, 0, 0);
process.exit();
