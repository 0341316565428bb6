// Points of a population's space: where an adapter lies, which way labels point, new points by chance, and the adapters that points stand for.
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { type Diagnostic, inputError, throwIfCancelled } from "../diagnostics.ts";
import { normals } from "../nn/random.ts";
import { writeAdapterFolder } from "../run/adapter-output.ts";
import { checkMember, type Member, openMember, readSlot, sizeOf } from "./members.ts";
import type { Space } from "./space.ts";

export interface Projection {
  /** One for each component. */
  readonly point: Float64Array;
  /** Norm of what the space cannot say over the norm of the standardised adapter. */
  readonly residual: number;
}

/** p = V^T ((w - mean) / std). @throws WeightsmithError `population-member-differs`, `non-finite` */
export async function project(space: Space, adapter: string, signal?: AbortSignal): Promise<Projection> {
  const member = await openMember(adapter);
  checkMember(member, space.slots, space.config);
  const reader = new TensorReader();
  const point = new Float64Array(space.singular.length);
  let square = 0;
  try {
    for (const slot of space.slots) {
      throwIfCancelled(signal);
      const { mean, std, components } = await space.read(slot);
      const values = await readSlot(member, slot, reader, space.canonical);
      const z = Float64Array.from(values, (x, i) => ((std[i] as number) > 0 ? (x - (mean[i] as number)) / (std[i] as number) : 0));
      for (const x of z) square += x * x;
      for (let k = 0; k < point.length; k++) {
        let sum = 0;
        for (let i = 0; i < z.length; i++) sum += (z[i] as number) * (components[k * z.length + i] as number);
        point[k] = (point[k] as number) + sum;
      }
    }
  } finally {
    await reader.close();
  }
  const inside = point.reduce((sum, x) => sum + x * x, 0);
  return { point, residual: square > 0 ? Math.sqrt(Math.max(0, square - inside) / square) : 0 };
}

export interface Direction {
  /** Of norm 1. */
  readonly unit: Float64Array;
  /** Sample standard deviation of the members along it. */
  readonly spread: number;
}

/**
 * The direction of the least-squares linear classifier of labels, d = pinv(P) y over the first `components`, scaled to norm 1 since its own
 * scale says nothing; less its part along `away`.
 * @param labels one for each member, usually -1 or 1
 */
export function direction(
  { coordinates, singular, members }: Space,
  labels: readonly number[],
  options: { readonly components?: number; readonly away?: Direction } = {},
): Direction {
  const count = singular.length;
  const used = Math.min(options.components ?? count, count);
  // The columns of P are orthogonal, their norms the singular values.
  const d = Float64Array.from(singular, (s, k) => (k < used ? labels.reduce((sum, y, m) => sum + y * (coordinates[m * count + k] as number), 0) / s ** 2 : 0));
  const along = options.away === undefined ? 0 : dot(d, options.away.unit);
  const turned = d.map((x, k) => x - along * (options.away?.unit[k] ?? 0));
  const norm = Math.sqrt(dot(turned, turned));
  if (!(norm > 1e-12 * Math.sqrt(dot(d, d))))
    throw inputError("population-no-direction", "the labels point nowhere in this space", { expected: "labels of both kinds" });
  const unit = turned.map((x) => x / norm);
  const places = members.map((_, m) => dot(unit, coordinates.subarray(m * count, (m + 1) * count)));
  const mean = places.reduce((sum, x) => sum + x, 0) / places.length;
  return { unit, spread: Math.sqrt(places.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (places.length - 1)) };
}

const dot = (x: Float64Array, y: Float64Array): number => x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);

/** `strength` standard deviations of the members along a direction. */
export const moved = (point: Float64Array, { unit, spread }: Direction, strength: number): Float64Array =>
  point.map((x, k) => x + strength * spread * (unit[k] as number));

/** A point whose coordinates are independent and normal, with the members' mean and sample deviation times `factor`. */
export function samplePoint({ coordinates, singular, members }: Space, seed: number, factor = 1): Float64Array {
  const count = singular.length;
  const draws = normals(seed, "population", count);
  return Float64Array.from(singular, (_, k) => {
    const own = members.map((_, m) => coordinates[m * count + k] as number);
    const mean = own.reduce((sum, x) => sum + x, 0) / own.length;
    const std = Math.sqrt(own.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (own.length - 1));
    return mean + factor * std * (draws[k] as number);
  });
}

export interface WriteRequest {
  readonly out: string;
  readonly overwrite?: boolean;
  /** One sentence for the model card. */
  readonly about: string;
  /** Kept in the manifest. */
  readonly report: Readonly<Record<string, unknown>>;
  /** An adapter whose part outside of the space is kept: it moves by the difference of two points. */
  readonly rest?: { readonly adapter: string; readonly from: Float64Array } | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Writes the adapter of a point, w = (V p) std + mean. @throws WeightsmithError `output-*`, `cancelled` */
export async function writePoint(space: Space, point: Float64Array, request: WriteRequest): Promise<readonly Diagnostic[]> {
  const { out, overwrite = false, about, report, rest, signal } = request;
  const member: Member | undefined = rest === undefined ? undefined : await openMember(rest.adapter);
  const reader = new TensorReader();
  const step = rest === undefined ? point : point.map((x, k) => x - (rest.from[k] as number));
  const maxBytes = space.slots.reduce((sum, slot) => sum + 4 * sizeOf(slot), 0);
  const inputs = [space.folder, ...(rest === undefined ? [] : [rest.adapter])];
  try {
    return await writeAdapterFolder({ out, overwrite, inputs, maxBytes, signal }, async (write) => {
      for (const slot of space.slots) {
        const { mean, std, components } = await space.read(slot);
        const start = member === undefined ? mean : await readSlot(member, slot, reader, space.canonical);
        const sums = new Float64Array(start.length);
        for (const [k, x] of step.entries())
          for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) + x * (components[k * sums.length + i] as number);
        const values = Float32Array.from(start, (x, i) => x + (sums[i] as number) * (std[i] as number));
        await write(slot, values);
      }
      return { config: space.config, about, report };
    });
  } finally {
    await reader.close();
  }
}
