// Matrix products, polar factors and singular triplets on a GPU. Operands come from memory that threads share and results go back there;
// what lies between the steps stays on the device.
import type { Gpu } from "./device.ts";
import { isometry } from "./isometry.ts";
import { DeviceSpace } from "./products.ts";
import { leadingTriplets, type TripletsRequest } from "./triplets.ts";
import type { GemmCode } from "./wgsl-gemm.ts";

export interface GpuProduct {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly a: Float32Array;
  readonly transposeA: boolean;
  readonly b: Float32Array;
  readonly transposeB: boolean;
  readonly c: Float32Array;
  readonly accumulate: boolean;
}

export class DeviceMatrices {
  readonly #space: DeviceSpace;

  /** @param code of products; by default the fastest that is right on this device */
  constructor(gpu: Gpu, code?: GemmCode) {
    this.#space = new DeviceSpace(gpu, code);
  }

  /** C (+)= op(A) op(B). @throws GpuFailure, with C as it was */
  product({ rows, columns, depth, a, transposeA, b, transposeB, c, accumulate }: GpuProduct): Promise<void> {
    return this.#with(async (space) => {
      const gram = a === b && transposeA === !transposeB;
      const left = await space.make(transposeA ? depth : rows, transposeA ? rows : depth, a);
      const right = gram ? left : await space.make(transposeB ? columns : depth, transposeB ? depth : columns, b);
      const sum = accumulate ? { beta: 1, d: await space.make(rows, columns, c) } : { symmetric: gram };
      const result = await space.make(rows, columns);
      await space.multiply({ matrix: left, transposed: transposeA }, { matrix: right, transposed: transposeB }, result, sum);
      await space.read(result, c);
    });
  }

  /** The polar factor of A, which is at most as high as wide and of this Frobenius norm. @throws GpuFailure, with `into` as it was */
  polar(rows: number, columns: number, a: Float32Array, norm: number, into: Float32Array): Promise<void> {
    return this.#with(async (space) => {
      const { x } = await isometry(space, await space.make(rows, columns, a, 1 / norm), { decide: true });
      await space.read(x, into);
    });
  }

  /** @throws GpuFailure, with what it would fill in any state */
  triplets(request: TripletsRequest): Promise<void> {
    return this.#with((space) => leadingTriplets(space, request));
  }

  async #with(action: (space: DeviceSpace) => Promise<void>): Promise<void> {
    try {
      await action(this.#space);
    } finally {
      this.#space.close();
    }
  }
}
