import { expect, it } from 'vitest';
import { nextAnswer } from '../src/nextAnswer.ts';

it('those who ask while somebody asks share the next answer, also when the present one fails', async () => {
  const answers = [Promise.withResolvers<string>(), Promise.withResolvers<string>(), Promise.withResolvers<string>()];
  let asked = 0;
  const { ask, present } = nextAnswer(() => (answers[asked++] as (typeof answers)[number]).promise);
  expect(present()).toBeUndefined();
  const first = ask();
  const waiting = [ask(), ask(), ask()];
  expect(asked).toBe(1);
  expect(present()).toBe(first);
  answers[0]?.reject(new Error('away'));
  await expect(first).rejects.toThrow('away');
  answers[1]?.resolve('second');
  expect(await Promise.all(waiting)).toEqual(['second', 'second', 'second']);
  expect(asked).toBe(2);
  expect(present()).toBeUndefined();
  answers[2]?.resolve('third');
  expect(await ask()).toBe('third');
});
