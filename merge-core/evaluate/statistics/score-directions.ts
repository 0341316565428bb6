// The expectation of squared gradients over the tokens that a model may say, in fewer directions than there are tokens. With p the
// probabilities, J the derivative of the scores and c any vectors whose outer products add up to diag(p) - p p^T,
//   sum_y p_y (J^T (e_y - p))^2 = sum_k (J^T c_k)^2,
// since the vectors sqrt(p_y) (e_y - p) may be turned into each other. The scores are W h, so all but W feel c through W^T c alone: they are
// turned such that this is zero for all but as many as h has elements. Of the others only W has gradients, c h^T: what is missing in the diagonal.

export interface ScoreDirections {
  readonly count: number;
  /** Writes direction `k`. */
  write(k: number, to: Float32Array): void;
  /** By token, the sum of the squares of the directions that are left out. */
  readonly rest: Float64Array;
}

/** More numbers than this are not kept for it: a direction for each token then. */
const MOST_NUMBERS = 2 ** 25;
/** What is left of a vector when the others are taken out of it is nothing below this share. */
const DEPENDENT = 1e-10;

/**
 * @param chances of each token
 * @param head W, a row for each token
 */
export function scoreDirections(chances: Float32Array, head: Float32Array, mostNumbers = MOST_NUMBERS): ScoreDirections {
  const total = chances.reduce((sum, chance) => sum + chance, 0);
  const p = Float64Array.from(chances, (chance) => chance / total);
  return head.length > mostNumbers ? tokenByToken(p) : turned(p, head);
}

function tokenByToken(p: Float64Array): ScoreDirections {
  const write = (k: number, to: Float32Array): void => {
    const root = Math.sqrt(p[k] as number);
    for (let j = 0; j < p.length; j++) to[j] = root * ((j === k ? 1 : 0) - (p[j] as number));
  };
  return { count: p.length, write, rest: new Float64Array(p.length) };
}

function turned(p: Float64Array, head: Float32Array): ScoreDirections {
  const roots = p.map(Math.sqrt);
  const basis = orthonormal(columns(p, roots, head));
  const rest = p.map((chance, j) => Math.max(0, chance * (1 - chance) - chance * basis.reduce((sum, q) => sum + (q[j] as number) ** 2, 0)));
  const write = (k: number, to: Float32Array): void => {
    const q = basis[k] as Float64Array;
    for (let j = 0; j < q.length; j++) to[j] = (roots[j] as number) * (q[j] as number);
  };
  return { count: basis.length, write, rest };
}

/** By element of h: of each token the root of its probability times how far its row of W is from the mean row. They span what W feels. */
function* columns(p: Float64Array, roots: Float64Array, head: Float32Array): Generator<Float64Array> {
  const width = head.length / p.length;
  for (let i = 0; i < width; i++) {
    const mean = p.reduce((sum, chance, y) => sum + chance * (head[y * width + i] as number), 0);
    yield roots.map((root, y) => root * ((head[y * width + i] as number) - mean));
  }
}

/** By Gram and Schmidt, each twice, which is as good as it gets. */
function orthonormal(vectors: Iterable<Float64Array>): Float64Array[] {
  const basis: Float64Array[] = [];
  for (const vector of vectors) {
    const before = Math.sqrt(dot(vector, vector));
    for (const q of [...basis, ...basis]) {
      const share = dot(q, vector);
      for (let j = 0; j < vector.length; j++) vector[j] = (vector[j] as number) - share * (q[j] as number);
    }
    const norm = Math.sqrt(dot(vector, vector));
    if (norm > DEPENDENT * before) basis.push(vector.map((x) => x / norm));
  }
  return basis;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let j = 0; j < a.length; j++) sum += (a[j] as number) * (b[j] as number);
  return sum;
}
