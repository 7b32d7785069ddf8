/** The standard normal noise that a seed stands for, as the model itself draws it: serving/noise.py says how. */

const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57];
const KEY_STEPS = [0x9e3779b9, 0xbb67ae85];
const SCRAMBLING_KEY = [0x3ec8f720, 0x02461e29];
const ROUNDS = 10;
const LEAST_UNIFORM = 1e-7;

/** The noise [T][Z] of a seed, which is two whole numbers. */
export function seedNoise(seed, steps, latents) {
  const halves = seed.flatMap((number) => {
    const word = BigInt.asUintN(64, BigInt(number));
    return [Number(word & 0xffffffffn), Number(word >> 32n)];
  });
  const [first, second, ...high] = philox(halves, SCRAMBLING_KEY);
  const drawn = [];
  for (let block = 0; drawn.length < steps * latents; block += 1) {
    const [a, b, c, d] = philox([block, 0, ...high], [first, second]).map(uniform);
    drawn.push(...normal(a, b), ...normal(c, d));
  }
  return Array.from({ length: steps }, (_, step) => drawn.slice(step * latents, (step + 1) * latents));
}

/** Philox 4x32-10: four words from a counter of four and a key of two. */
function philox([c0, c1, c2, c3], [k0, k1]) {
  for (let round = 0; round < ROUNDS; round += 1) {
    const [high0, low0] = product(c0, MULTIPLIERS[0]);
    const [high1, low1] = product(c2, MULTIPLIERS[1]);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    [k0, k1] = [(k0 + KEY_STEPS[0]) >>> 0, (k1 + KEY_STEPS[1]) >>> 0];
  }
  return [c0, c1, c2, c3];
}

/** The upper and the lower 32 bits of a product, by halves of 16: a number of this language is exact to 53 bits. */
function product(a, b) {
  const [a0, a1, b0, b1] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const middle = a1 * b0 + Math.floor((a0 * b0) / 65536);
  const carry = Math.floor((a0 * b1 + (middle % 65536)) / 65536);
  return [a1 * b1 + Math.floor(middle / 65536) + carry, Math.imul(a, b) >>> 0];
}

/** In [0, 1), of the lower 23 bits. */
function uniform(word) {
  return (word & 0x7fffff) / 2 ** 23;
}

/** Box and Muller's transform. */
function normal(first, second) {
  const radius = Math.sqrt(-2 * Math.log(Math.max(first, LEAST_UNIFORM)));
  const angle = 2 * Math.PI * second;
  return [Math.fround(Math.sin(angle) * radius), Math.fround(Math.cos(angle) * radius)];
}
