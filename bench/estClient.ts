import { Agent, request } from 'node:https';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { perSecond } from './measure.ts';

/** An EST client in a thread of its own, as it would be on another machine: keeps its connections for a round and asks for the next certificate on
 *  each when it has the last. Gets `EstWork`, answers with the certificates per second. */

export type EstServer = { readonly port: number; readonly rootPem: string; readonly token: string; readonly clients: number };
/** Requests, PKCS#10 DER. */
export type EstWork = readonly Uint8Array[];

const { port, rootPem, token, clients } = workerData as EstServer;
const options = { port, host: 'localhost', method: 'POST', path: '/.well-known/est/gateway/simpleenroll' };
const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/pkcs10' };

const enrol = (agent: Agent, csr: Uint8Array) =>
  new Promise<void>((resolve, reject) => {
    const outgoing = request({ ...options, agent, headers }, response => {
      if (response.statusCode !== 200) reject(new Error(`EST answered ${response.statusCode}`));
      response.resume().on('end', resolve);
    });
    outgoing.on('error', reject).end(Buffer.from(csr).toString('base64'));
  });

(parentPort as MessagePort).on('message', async (work: EstWork) => {
  const agent = new Agent({ ca: rootPem, keepAlive: true, maxSockets: clients });
  const startMs = performance.now();
  const left = work.values();
  const client = async () => {
    for (const csr of left) await enrol(agent, csr);
  };
  await Promise.all(Array.from({ length: clients }, client));
  agent.destroy();
  parentPort?.postMessage(perSecond(work.length, startMs));
});
