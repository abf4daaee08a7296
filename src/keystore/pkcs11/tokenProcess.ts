import { readPassphrase } from '../unlock.ts';
import { failureOf, openTokenApi, type TokenApi } from './tokenApi.ts';
import { type OpenToken, openNumber, type TokenAnswer, type TokenRequest } from './tokenMessages.ts';

/** The process that holds the token, started by tokenClient.ts.
 *
 *  A PKCS#11 module runs in a process of its own: it blocks, it may get stuck or crash, and after a token was removed (SoftHSM: permanently) it
 *  only recovers by C_Initialize in a fresh process. It says nothing but answers, in the order in which they are ready.
 *
 *  An entry of a process: it takes over messages and signals, so no other file imports it. */

let api: TokenApi | undefined;
let answers: TokenAnswer[] = [];

process.once('message', (options: OpenToken) => {
  void answerWith(openNumber, async () => {
    const { pinFile, ...rest } = options;
    api = await openTokenApi({ ...rest, pin: readPassphrase(pinFile) });
    process.on('message', (requests: readonly TokenRequest[]) => {
      for (const request of requests) void answerWith(request.number, () => work(api as TokenApi, request));
    });
  });
});

// The server says when to end, by closing the channel or by dying; a signal to the whole group is for the server.
process.on('disconnect', () => process.exit(0));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});

function work(opened: TokenApi, { name, args }: TokenRequest): Promise<unknown> {
  const operation = opened[name] as (...given: readonly unknown[]) => Promise<unknown>;
  return operation(...args);
}

async function answerWith(number: number, make: () => Promise<unknown>): Promise<void> {
  const answer: TokenAnswer = await make().then(
    value => ({ number, value }),
    error => ({ number, failure: failureOf(error) }),
  );
  answers.push(answer);
  if (answers.length === 1) setImmediate(flush);
}

/** What became ready in one tick goes in one message. */
function flush(): void {
  process.send?.(answers);
  answers = [];
}
