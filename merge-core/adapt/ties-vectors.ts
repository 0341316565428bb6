// The task vectors of AdaMerging++ (Yang et al. 2024, 2310.02575): as TIES leaves them (Yadav et al. 2023, 2306.01708), each trimmed to its
// largest elements over all tensors together, and without what goes against the sign elected for the element.
import type { TaskVectors } from "./task-vectors.ts";

/** As in the papers. */
const DENSITY = 0.2;

/** @param density share of each vector's elements that stays; of equals at the threshold all stay */
export function tiesVectors(vectors: TaskVectors, density = DENSITY): TaskVectors {
  const trimmed = vectors.vectors.map((parts) => trim(parts, density));
  const elected = vectors.origin.map((start, tensor) => start.map((_, i) => Math.sign(trimmed.reduce((sum, parts) => sum + (parts[tensor]?.[i] ?? 0), 0))));
  const kept = trimmed.map((parts) => parts.map((part, tensor) => part.map((value, i) => (Math.sign(value) === elected[tensor]?.[i] ? value : 0))));
  return { ...vectors, vectors: kept };
}

function trim(parts: readonly Float32Array[], density: number): Float32Array[] {
  const sizes = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    sizes.set(part.map(Math.abs), at);
    at += part.length;
  }
  sizes.sort();
  const threshold = sizes[sizes.length - Math.max(1, Math.floor(density * sizes.length))] ?? 0;
  return parts.map((part) => part.map((value) => (Math.abs(value) >= threshold ? value : 0)));
}
