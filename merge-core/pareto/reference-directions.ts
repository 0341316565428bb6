// Evenly spread preferences over the objectives (Das and Dennis 1998).

/** All vectors of multiples of 1/divisions that sum to 1: binomial(objectives + divisions - 1, divisions) of them. */
export function simplexLattice(objectives: number, divisions: number): number[][] {
  const parts = (left: number, slots: number): number[][] =>
    slots === 1 ? [[left]] : Array.from({ length: left + 1 }, (_, first) => parts(left - first, slots - 1).map((rest) => [first, ...rest])).flat();
  return parts(divisions, objectives).map((counts) => counts.map((count) => count / divisions));
}

/** The finest lattice of at most `most` directions; with many objectives an inner, shrunken one fills the middle that a coarse lattice leaves empty. */
export function referenceDirections(objectives: number, most: number): number[][] {
  let divisions = 1;
  while (latticeSize(objectives, divisions + 1) <= most && objectives > 1) divisions++;
  const outer = simplexLattice(objectives, divisions);
  if (divisions >= objectives || objectives < 3) return outer;
  const room = most - outer.length;
  let innerDivisions = 0;
  while (latticeSize(objectives, innerDivisions + 1) <= room) innerDivisions++;
  const inner = innerDivisions === 0 ? [] : simplexLattice(objectives, innerDivisions);
  return [...outer, ...inner.map((direction) => direction.map((x) => 0.5 * x + 0.5 / objectives))];
}

function latticeSize(objectives: number, divisions: number): number {
  let size = 1;
  for (let i = 1; i <= divisions; i++) size = (size * (objectives - 1 + i)) / i;
  return Math.round(size);
}
