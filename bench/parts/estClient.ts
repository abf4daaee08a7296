import { Agent, request } from 'node:https';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { perSecond } from './measure.ts';

/** A client in a thread of its own, as it would be on another machine: keeps its connections for a round and asks for the next certificate on
 *  each when it has the last. Gets `CertificateWork`, answers with the certificates per second. */

export type CertificateServer = {
  readonly port: number;
  readonly rootPem: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly clients: number;
};
/** Bodies of the requests. */
export type CertificateWork = readonly string[];

const { port, rootPem, path, headers, clients } = workerData as CertificateServer;
const options = { port, host: 'localhost', method: 'POST', path };

const enrol = (agent: Agent, body: string) =>
  new Promise<void>((resolve, reject) => {
    const outgoing = request({ ...options, agent, headers: { ...headers, 'Content-Length': Buffer.byteLength(body) } }, response => {
      if (response.statusCode !== 200 && response.statusCode !== 201) reject(new Error(`the server answered ${response.statusCode}`));
      response.resume().on('end', resolve);
    });
    outgoing.on('error', reject).end(body);
  });

(parentPort as MessagePort).on('message', async (work: CertificateWork) => {
  const agent = new Agent({ ca: rootPem, keepAlive: true, maxSockets: clients });
  const startMs = performance.now();
  const left = work.values();
  const client = async () => {
    for (const body of left) await enrol(agent, body);
  };
  await Promise.all(Array.from({ length: clients }, client));
  agent.destroy();
  parentPort?.postMessage(perSecond(work.length, startMs));
});
