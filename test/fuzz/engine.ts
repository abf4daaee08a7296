import { readdirSync, readFileSync } from 'node:fs';
import { fromHex, toHex } from '../../src/bytes.ts';
import { generator, type Random } from './random.ts';

/** A fuzzer without instrumentation: mutates stored inputs with a seeded generator, so that a failure can be run again. */

export type FuzzTarget = {
  /** @throws when an input does what no input may do */
  run(input: Uint8Array): Promise<void>;
};

export type FuzzFailure = { readonly inputHex: string; readonly error: unknown };

const folder = new URL('corpus/', import.meta.url);

export const targetNames = readdirSync(folder).map(file => file.replace('.txt', ''));

export async function loadTarget(name: string): Promise<FuzzTarget> {
  return ((await import(`./${name}.ts`)) as { target: FuzzTarget }).target;
}

/** One input per line, hex. */
export function loadCorpus(name: string): readonly Uint8Array[] {
  const lines = readFileSync(new URL(`${name}.txt`, folder), 'utf8').split('\n');
  return lines.filter(line => line !== '').map(fromHex);
}

/** Runs the corpus as it is, then mutations of it until the time is over. @returns how many inputs were run, and the first failure */
export async function fuzz(
  name: string,
  seconds: number,
  seed: number,
): Promise<{ readonly runs: number; readonly failure?: FuzzFailure }> {
  const target = await loadTarget(name);
  const corpus = loadCorpus(name);
  const random = generator(seed);
  const endMs = performance.now() + seconds * 1000;
  for (let runs = 0; runs < corpus.length || performance.now() < endMs; runs += 1) {
    const input = corpus[runs] ?? mutated(corpus, random);
    try {
      await target.run(input);
    } catch (error) {
      return { runs, failure: { inputHex: toHex(input), error } };
    }
    if (performance.now() >= endMs && runs + 1 >= corpus.length) return { runs: runs + 1 };
  }
  return { runs: corpus.length };
}

const maxMutations = 4;

function mutated(corpus: readonly Uint8Array[], random: Random): Uint8Array {
  let input = corpus[random(corpus.length)]!;
  for (let count = 1 + random(maxMutations); count > 0; count -= 1) input = mutations[random(mutations.length)]!(input, random, corpus);
  return input;
}

type Mutation = (input: Uint8Array, random: Random, corpus: readonly Uint8Array[]) => Uint8Array;

const at = (input: Uint8Array, random: Random): number => random(Math.max(1, input.length));
const put = (input: Uint8Array, from: number, bytes: readonly number[]): Uint8Array =>
  input.map((byte, i) => (i >= from && i < from + bytes.length ? bytes[i - from]! : byte));

const mutations: readonly Mutation[] = [
  (input, random) => put(input, at(input, random), [random(256)]),
  (input, random) => {
    const place = at(input, random);
    return put(input, place, [(input[place] ?? 0) ^ (1 << random(8))]);
  },
  (input, random) => put(input, at(input, random), [0, 0]),
  (input, random) => put(input, at(input, random), [0xff, 0xff, 0xff, 0xff]),
  (input, random) => input.slice(0, at(input, random)),
  (input, random) => Uint8Array.from([...input, ...new Uint8Array(1 + random(64)).fill(random(256))]),
  (input, random) => {
    const place = at(input, random);
    return Uint8Array.from([...input.slice(0, place), ...input.slice(place + random(16))]);
  },
  (input, random, corpus) => {
    const other = corpus[random(corpus.length)]!;
    return Uint8Array.from([...input.slice(0, at(input, random)), ...other.slice(at(other, random))]);
  },
];
