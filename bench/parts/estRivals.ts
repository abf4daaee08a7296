import { mkdirSync } from 'node:fs';
import { createServer as createNetServer } from 'node:net';
import { join } from 'node:path';
import { listenOn } from '../../src/listening.ts';
import { toPem } from '../../src/pki/pem.ts';
import { type ServerProcess, startServerProcesses } from '../../test/support/server.ts';
import { makePair, requestOf } from './authority.ts';
import { cfsslMissing, startCfssl } from './cfssl.ts';
import { asked, bodyOf, clientOf, clients, estAt, gatewayRequests } from './estRequests.ts';
import { interleave, type Report } from './measure.ts';
import type { Rival } from './rival.ts';
import { startStepCa, stepCaMissing } from './stepCa.ts';

/** The whole server as a process of its own, in turns with other authorities that are installed here: all over HTTPS, each certificate on the disk. */

const requestsPerRound = 400;
const rounds = 9;
/** Rounds before those that count, of both: a server runs for weeks, and V8 compiles a function again when it has run some thousand times. */
const firstRounds = 8;

/** `bodyOf` a request for a name. `check` throws when not so many certificates were recorded. */
type Signing = Rival & { readonly path: string; bodyOf(name: string): string; check(count: number): void };
type Kind = {
  readonly name: string;
  readonly what: string;
  readonly missing: string;
  start(folder: string, port: number): Promise<Signing | undefined>;
};

const kinds: readonly Kind[] = [
  {
    name: 'cfssl',
    what: 'cfssl with SQLite',
    missing: cfsslMissing,
    async start(folder, port) {
      const cfssl = await startCfssl(folder, port);
      if (cfssl === undefined) return undefined;
      const check = (count: number): void => {
        if (cfssl.recorded() !== count) throw new Error('cfssl has not recorded its certificates');
      };
      const body = (name: string): string => JSON.stringify({ certificate_request: csrOf(name) });
      return { ...cfssl, path: '/api/v1/cfssl/sign', bodyOf: body, check };
    },
  },
  {
    name: 'step-ca',
    what: 'step-ca with badger',
    missing: stepCaMissing,
    async start(folder, port) {
      const stepCa = await startStepCa(folder, port);
      return stepCa && { ...stepCa, path: '/1.0/sign', bodyOf: name => stepCa.bodyOf(csrOf(name), name), check: () => undefined };
    },
  },
];

export async function besideRivals(report: Report, folder: string): Promise<void> {
  for (const kind of kinds) await beside(report, join(folder, kind.name), kind);
}

async function beside(report: Report, folder: string, { name, what, missing, start }: Kind): Promise<void> {
  const figure = `certificates over HTTPS, durable, ${name}`;
  mkdirSync(folder);
  const rival = await start(folder, await freePort());
  if (rival === undefined) return report({ figure, notMeasured: missing });
  const work: string[][] = [];
  const servers = await startServerProcesses(1, async ctx => {
    for (let round = 0; round < firstRounds + rounds; round += 1) work.push((await gatewayRequests(ctx, requestsPerRound)).map(bodyOf));
  });
  const [own] = servers.first as [ServerProcess];
  const { port, rootPem, path } = rival;
  const theirClient = clientOf({ port, rootPem, path, headers: { 'Content-Type': 'application/json' }, clients });
  const ourClient = clientOf(estAt(own.httpsPort, own.rootPem, own.alice));
  try {
    const ours = work.values();
    const theirs = work.map((_, round) => Array.from({ length: requestsPerRound }, (_, i) => rival.bodyOf(`${round}-${i}`))).values();
    const ask = (count: number) =>
      interleave(
        count,
        () => asked(ourClient, ours.next().value ?? []),
        () => asked(theirClient, theirs.next().value ?? []),
      );
    await ask(firstRounds);
    const measured = await ask(rounds);
    rival.check((firstRounds + rounds) * requestsPerRound);
    report({ figure, unit: '1/s', boundWhat: what, ...measured });
  } finally {
    await Promise.all([ourClient.terminate(), theirClient.terminate()]);
    await servers.close();
    await rival.close();
  }
}

async function freePort(): Promise<number> {
  const server = createNetServer();
  const port = await listenOn(server, { port: 0, host: '127.0.0.1' });
  await new Promise(resolve => server.close(resolve));
  return port;
}

const csrOf = (name: string): string => toPem('CERTIFICATE REQUEST', requestOf(makePair(), { commonName: name }));
