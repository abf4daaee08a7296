import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { type Answers, type KeyedRequest, openAnswers } from '../../src/api/answers.ts';
import { sharedAnswers } from '../../src/api/sharedAnswers.ts';
import { utf8 } from '../../src/bytes.ts';
import { openS3 } from '../../src/objects/s3.ts';
import { sealedObjects } from '../../src/objects/sealed.ts';
import { dayMs, hourMs } from '../../src/times.ts';
import { temporaryFolder } from '../eventstore/support.ts';
import { startS3Double } from '../objects/s3Double.ts';

/** A request with an Idempotency-Key that is repeated at another machine: two folders, one object store (a double). */

async function machines() {
  const double = await startS3Double();
  onTestFinished(double.close);
  const clock = { now: Date.now() };
  const machine = async (): Promise<Answers> => {
    const objects = await openS3({ url: double.url('p'), credentials: double.credentials });
    onTestFinished(objects.close);
    const now = () => clock.now;
    const own = openAnswers(join(temporaryFolder(), 'answers.db'), now);
    const answers = sharedAnswers(own, sealedObjects(objects, new Uint8Array(32).fill(3)), now, error => {
      throw error;
    });
    onTestFinished(answers.close);
    return answers;
  };
  const kept = () => double.keys().filter(key => key.startsWith('p/answers/'));
  return { double, clock, kept, one: await machine(), two: await machine() };
}

const request = (key: string, change: Partial<KeyedRequest> = {}): KeyedRequest => ({
  person: 'pia',
  key,
  target: 'POST /v1/jobs',
  body: utf8('{"count":3}'),
  isKept: true,
  ...change,
});
const answering = (text: string, status = 201) => {
  let count = 0;
  const work = async () => {
    count += 1;
    return new Response(text, { status, headers: { 'Content-Type': 'application/json' } });
  };
  return { work, count: () => count };
};

it('is answered there as it was here, and done once', async () => {
  const { double, kept, one, two } = await machines();
  const made = answering('{"job":"of pia"}');
  expect(await (await one.once(request('k'), made.work)).text()).toBe('{"job":"of pia"}');
  for (let time = 0; time < 2; time++) {
    const before = double.requests();
    const again = await two.once(request('k'), made.work);
    expect([again.status, again.headers.get('Idempotent-Replay'), again.headers.get('Content-Type')]).toEqual([
      201,
      'true',
      'application/json',
    ]);
    expect(await again.text()).toBe('{"job":"of pia"}');
    // What a machine has answered once is its own.
    if (time === 1) expect(double.requests()).toBe(before);
  }
  expect(made.count()).toBe(1);
  await expect(two.once(request('k', { body: utf8('{"count":4}') }), made.work)).rejects.toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED' });
  await two.once(request('k', { person: 'otto' }), made.work);
  expect(made.count()).toBe(2);
  for (const object of kept()) for (const version of double.versions(object)) expect(version.toString('latin1')).not.toMatch(/pia|job/);
});

it('is refused there while it is under way, and when the answer is not to be written down', async () => {
  const { one, two } = await machines();
  const begun = Promise.withResolvers<void>();
  const end = Promise.withResolvers<Response>();
  const running = one.once(request('slow'), () => {
    begun.resolve();
    return end.promise;
  });
  await begun.promise;
  await expect(two.once(request('slow'), answering('never').work)).rejects.toMatchObject({ code: 'CONFLICT' });
  end.resolve(new Response('done'));
  await running;
  expect(await (await two.once(request('slow'), answering('never').work)).text()).toBe('done');
  await one.once(request('token', { isKept: false }), answering('secret').work);
  await expect(two.once(request('token'), answering('never').work)).rejects.toMatchObject({ code: 'CONFLICT' });
});

it('is done by one of two machines that are asked at the same moment', async () => {
  const { one, two } = await machines();
  const made = answering('{}');
  const asked = Array.from({ length: 10 }, (_, i) => [one, two].map(each => each.once(request(`race ${i}`), made.work)));
  const results = await Promise.allSettled(asked.flat());
  expect(made.count()).toBe(10);
  for (const each of results)
    if (each.status === 'rejected') expect(each.reason).toMatchObject({ code: 'CONFLICT' });
    else expect(each.value.status).toBe(201);
});

it('may be made again there when it was refused here, and after a day', async () => {
  const { clock, kept, one, two } = await machines();
  const [refused, made] = [answering('{}', 409), answering('{}')];
  expect((await one.once(request('k'), refused.work)).status).toBe(409);
  await expect(
    one.once(request('k'), async () => {
      throw new Error('broken');
    }),
  ).rejects.toThrow('broken');
  expect(kept()).toEqual([]);
  await two.once(request('k'), made.work);
  clock.now += dayMs + hourMs;
  await one.once(request('k'), made.work);
  expect(made.count()).toBe(2);
  expect((await two.once(request('k'), made.work)).headers.get('Idempotent-Replay')).toBe('true');
});

it('is not begun without the object store', async () => {
  const { double, one } = await machines();
  const made = answering('{}');
  double.down();
  await expect(one.once(request('k'), made.work)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  double.up();
  await one.once(request('k'), made.work);
  expect(made.count()).toBe(1);
});
