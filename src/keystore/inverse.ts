import { numberBytes, readNumber, writeNumber } from './numberBytes.ts';

/** Inverses modulo the order of P-256, by Lehmer's extended Euclidean algorithm (Knuth, The Art of Computer Programming 2, §4.5.2, algorithm L): many steps
 *  of the division are taken on the leading bits alone, and then on the long numbers together. Not constant in time.
 *
 *  Long numbers are limbs of 24 bits, the lowest first, in doubles: a limb times a cofactor, and the sum of two such products, are exact. BigInt takes twice
 *  as long and leaves 20 KiB behind. */

/** Order of the base point (SP 800-186 §3.2.1.3). */
export const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

const limbBits = 24;
const limb = 2 ** limbBits;
const limbBytes = limbBits / 8;
const limbs = 11;
/** Bits that are added to two leading limbs when the first of them is short: 37 to 48 together. */
const moreBits = 12;
/** Numbers of so many limbs are exact in a double. */
const exactLimbs = 2;

/** x ≡ ± u · value and y ≡ ± v · value, modulo the order: the signs differ, and change with each step. */
type Rows = { readonly x: Float64Array; readonly y: Float64Array; readonly u: Float64Array; readonly v: Float64Array };

/** A number as bytes, with the first byte of the highest limb, which is 0, before it. */
const words = new DataView(new ArrayBuffer(limbs * limbBytes));
const wordsAt = words.byteLength - numberBytes;

const newRow = (): Float64Array => new Float64Array(limbs);
/** One for all calls, one after the other: V8 gives such arrays memory outside of its heap, and to free it costs more than to fill it. */
const kept: Rows = { x: newRow(), y: newRow(), u: newRow(), v: newRow() };

/** Of x and y: rows of the steps that are taken together, [a b; c d], and how many they are. */
type Steps = { a: number; b: number; c: number; d: number; count: number };

/** @param value 1 … order − 1 */
export function inverse(value: bigint): bigint {
  let rows = kept;
  rows.x.set(orderLimbs);
  write(rows.y, value);
  rows.u.fill(0);
  rows.v.set(oneLimbs);
  let length = limbs;
  let taken = 0;
  for (;;) {
    while (length > exactLimbs && rows.x[length - 1] === 0) length -= 1;
    const high = leading(rows.x, length, rows.x);
    const low = leading(rows.y, length, rows.x);
    if (length === exactLimbs && low === 0) break;
    const steps = stepsOf(high, low, length === exactLimbs);
    if (steps.count === 0) rows = oneStep(rows);
    else take(rows, steps);
    taken += Math.max(1, steps.count);
  }
  // The greatest common divisor, in x, is 1: the order is prime.
  const factor = numberOf(rows.u);
  return taken % 2 === 0 ? order - factor : factor;
}

/** The leading bits of a number of so many limbs, as many as `longest` settles; all of it when the limbs are few. */
function leading(number: Float64Array, length: number, longest: Float64Array): number {
  const two = at(number, length - 1) * limb + at(number, length - 2);
  if (length === exactLimbs || at(longest, length - 1) >= 2 ** moreBits) return two;
  return two * 2 ** moreBits + Math.floor(at(number, length - 3) / 2 ** (limbBits - moreBits));
}

/** The steps whose quotients the leading bits settle, none when they settle none. */
function stepsOf(leadingX: number, leadingY: number, isExact: boolean): Steps {
  let high = leadingX;
  let low = leadingY;
  let a = 1;
  let b = 0;
  let c = 0;
  let d = 1;
  // Without destructuring, which leaves an array for each step until this is compiled.
  for (let count = 0; ; count += 1) {
    const belowC = isExact ? low : low + c;
    const belowD = isExact ? low : low + d;
    if (belowC === 0 || belowD === 0) return { a, b, c, d, count };
    const quotient = Math.floor((isExact ? high : high + a) / belowC);
    const nextC = a - quotient * c;
    const nextD = b - quotient * d;
    const isSettled = isExact || quotient === Math.floor((high + b) / belowD);
    if (!isSettled || Math.abs(nextC) > limb || Math.abs(nextD) > limb) return { a, b, c, d, count };
    const nextLow = high - quotient * low;
    high = low;
    low = nextLow;
    a = c;
    b = d;
    c = nextC;
    d = nextD;
  }
}

/** Takes the steps on the long numbers. */
function take({ x, y, u, v }: Rows, { a, b, c, d }: Steps): void {
  let [carryX, carryY, carryU, carryV] = [0, 0, 0, 0];
  for (let i = 0; i < limbs; i += 1) {
    const nextX = a * at(x, i) + b * at(y, i) + carryX;
    const nextY = c * at(x, i) + d * at(y, i) + carryY;
    // Their signs differ, so their products have the same one.
    const nextU = Math.abs(a) * at(u, i) + Math.abs(b) * at(v, i) + carryU;
    const nextV = Math.abs(c) * at(u, i) + Math.abs(d) * at(v, i) + carryV;
    carryX = Math.floor(nextX / limb);
    carryY = Math.floor(nextY / limb);
    carryU = Math.floor(nextU / limb);
    carryV = Math.floor(nextV / limb);
    x[i] = nextX - carryX * limb;
    y[i] = nextY - carryY * limb;
    u[i] = nextU - carryU * limb;
    v[i] = nextV - carryV * limb;
  }
}

/** One step whose quotient is too large for a cofactor. */
function oneStep({ x, y, u, v }: Rows): Rows {
  const [wideX, wideY] = [numberOf(x), numberOf(y)];
  const quotient = wideX / wideY;
  const [nextY, nextV] = [wideX - quotient * wideY, numberOf(u) + quotient * numberOf(v)];
  return { x: y, y: write(x, nextY), u: v, v: write(u, nextV) };
}

const at = (number: Float64Array, index: number): number => number[index] as number;

/** @returns `out` */
function write(out: Float64Array, value: bigint): Float64Array {
  writeNumber(words, wordsAt, value);
  for (let i = 0, end = limbs * limbBytes; i < limbs; i += 1, end -= limbBytes)
    out[i] = words.getUint16(end - 3) * 0x100 + words.getUint8(end - 1);
  return out;
}

const orderLimbs = write(newRow(), order);
const oneLimbs = write(newRow(), 1n);

function numberOf(number: Float64Array): bigint {
  for (let i = 0, end = limbs * limbBytes; i < limbs; i += 1, end -= limbBytes) {
    words.setUint16(end - 3, at(number, i) / 0x100);
    words.setUint8(end - 1, at(number, i) % 0x100);
  }
  return readNumber(words, wordsAt);
}
