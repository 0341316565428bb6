// Orthogonal adapters one after another as one of their family: W R_A^T R_B^T turns W, which the sum of both changes does not.
import { inputError } from "../../diagnostics.ts";
import type { AdapterModule, Settings } from "../family.ts";
import { directions } from "./hra.ts";
import { blockSide, cayleyOf, identityOf, multiply, rotation, rotationsOf } from "./oft.ts";

export interface OrthogonalProduct {
  /** The only tensor that modules of the family have. */
  readonly tensor: string;
  /** Inputs of a layer by the tensor's shape; where one turn is for all blocks, of one block. */
  inputs(shape: readonly number[]): number;
  /** Keys of the result's config. @param shapes of the tensor, in any module of each adapter */
  config(settings: readonly Settings[], shapes: readonly (readonly number[])[]): Readonly<Record<string, unknown>>;
  /** Of a module's tensor in the result. @param shapes those of the adapters that have the module @param config the result's */
  shape(shapes: readonly (readonly number[])[], config: Readonly<Record<string, unknown>>): readonly number[];
  /**
   * The tensor's values, and how far their turn is from the product, over how far that is from no turn at all.
   * @param modules in the order in which they are applied; undefined where an adapter does not have the module
   */
  product(modules: readonly (AdapterModule | undefined)[], shape: readonly number[]): { readonly values: Float64Array; readonly error: number };
}

/** Mirrors of one adapter, then those of the next. Missing ones are pairs that undo each other. */
const hra: OrthogonalProduct = {
  tensor: "hra_u",
  inputs: ([n = 0]) => n,
  config: (settings) => ({ r: settings.reduce((sum, { r }) => sum + Number(r), 0), apply_GS: false }),
  shape: ([first], { r }) => [first?.[0] ?? 0, Number(r)],
  product(modules, [n = 0, r = 0]) {
    const mirrors = modules.flatMap((module) => (module === undefined ? [] : directions(module)));
    const values = new Float64Array(n * r);
    if ((r - mirrors.length) % 2 === 1)
      throw inputError("adapter-settings-differ", "an adapter lacks a module that the others have, and its odd number of mirrors cannot undo each other", {
        found: `${r - mirrors.length} mirrors`,
        expected: "an even r, or the same modules in all",
      });
    for (let k = 0; k < r; k++) for (let i = 0; i < n; i++) values[i * r + k] = mirrors[k]?.[i] ?? (i === 0 ? 1 : 0);
    return { values, error: 0 };
  },
};

/** Products block by block, whose generators Q = (I - R)(I + R)^-1 make the exact turns. A series is no turn: what it lacks of one is the error. */
const oft: OrthogonalProduct = {
  tensor: "oft_R",
  inputs: ([blocks = 0, count = 0]) => blocks * blockSide(count),
  config: (_, shapes) => ({ block_share: shapes.every(([blocks]) => blocks === 1), coft: false, use_cayley_neumann: false }),
  shape(shapes) {
    const sides = new Set(shapes.map(([, count]) => count));
    if (sides.size > 1)
      throw inputError("adapter-settings-differ", "rotations of blocks of different sizes have no product of blocks", {
        found: [...sides].map((count) => `${count} entries`).join(", "),
        remedy: "merge their changes: use exact or svd, with --base",
      });
    return [Math.max(...shapes.map(([blocks = 1]) => blocks)), shapes[0]?.[1] ?? 0];
  },
  product(modules, [blocks = 0, count = 0]) {
    const turns = modules.flatMap((module) => (module === undefined ? [] : [rotationsOf(module)]));
    const b = blockSide(count);
    const values = new Float64Array(blocks * count);
    let [lost, turned] = [0, 0];
    for (let k = 0; k < blocks; k++) {
      const wanted = turns.map((own) => own[own.length === 1 ? 0 : k] as Float64Array).reduce((before, next) => multiply(next, before, b), identityOf(b));
      const q = generatorOf(wanted, b);
      const made = rotation(q, b);
      const unit = identityOf(b);
      for (let i = 0; i < b * b; i++) {
        lost += ((made[i] as number) - (wanted[i] as number)) ** 2;
        turned += ((wanted[i] as number) - (unit[i] as number)) ** 2;
      }
      let at = k * count;
      for (let i = 0; i < b; i++) for (let j = i + 1; j < b; j++) values[at++] = q[i * b + j] as number;
    }
    return { values, error: turned === 0 ? 0 : Math.sqrt(lost / turned) };
  },
};

/** The skew part of (I - R)(I + R)^-1, all of it where R turns. @throws WeightsmithError `adapter-turn-without-generator` */
function generatorOf(turn: Float64Array, b: number): Float64Array {
  const q = cayleyOf(turn, b);
  const skew = Float64Array.from(q, (x, at) => Math.fround((x - (q[(at % b) * b + Math.floor(at / b)] as number)) / 2));
  // So large a generator that its rounding alone is another turn.
  if (skew.every((x) => Math.abs(x) < 1e5)) return skew;
  throw inputError("adapter-turn-without-generator", "one after another the adapters turn by half a circle, which OFT cannot express", {
    remedy: "fold the first into the base, and the second into the result",
  });
}

const PRODUCTS: Readonly<Record<string, OrthogonalProduct>> = { OFT: oft, HRA: hra };

export const orthogonalProduct = (type: string): OrthogonalProduct | undefined => PRODUCTS[type];
