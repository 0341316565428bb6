// PyTorch's generator on the processor, as far as files depend on it: MT19937 (Matsumoto and Nishimura, 1998) and torch.randperm.
import { inputError } from "../diagnostics.ts";

const [LENGTH, SHIFT] = [624, 397];
/** From here on randperm draws numbers of 64 bits. */
const MANY = Math.floor(0xffffffff / 20);

/** Whole numbers of 32 bits. */
function mersenneTwister(seed: number): () => number {
  const state = new Uint32Array(LENGTH);
  state[0] = seed;
  for (let i = 1; i < LENGTH; i++) {
    const before = state[i - 1] as number;
    state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i;
  }
  let next = LENGTH;
  return () => {
    if (next === LENGTH) {
      renew(state);
      next = 0;
    }
    let y = state[next++] as number;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
}

function renew(state: Uint32Array): void {
  for (let i = 0; i < LENGTH; i++) {
    const y = ((state[i] as number) & 0x80000000) | ((state[(i + 1) % LENGTH] as number) & 0x7fffffff);
    state[i] = (state[(i + SHIFT) % LENGTH] as number) ^ (y >>> 1) ^ ((y & 1) === 1 ? 0x9908b0df : 0);
  }
}

/** The first `count` numbers of torch.randperm(n) with this seed. @throws WeightsmithError `adapter-setting-invalid` */
export function firstOfPermutation(seed: number, n: number, count: number): number[] {
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff || n >= MANY || count > n)
    throw inputError("adapter-setting-invalid", "the places that PyTorch drew cannot be drawn again", {
      found: `seed ${seed}, ${count} of ${n} places`,
      expected: `a seed of 32 bits and fewer than ${MANY} places`,
    });
  const random = mersenneTwister(seed);
  // Only places that were exchanged are kept.
  const moved = new Map<number, number>();
  return Array.from({ length: count }, (_, i) => {
    const other = i + (random() % (n - i));
    const chosen = moved.get(other) ?? other;
    moved.set(other, moved.get(i) ?? i);
    return chosen;
  });
}
