// Groups models by how alike they are: average linkage, the nearest two groups joined first. Pure; pages import it.

export interface Cluster {
  /** Item numbers, in the order in which a tree without crossings draws them. */
  readonly members: readonly number[];
  /** Mean distance between the members of the two parts; 0 for a single item. */
  readonly height: number;
  readonly parts: readonly [] | readonly [Cluster, Cluster];
}

/** @param distance of two items; symmetric */
export function clusterItems(count: number, distance: (a: number, b: number) => number): Cluster | undefined {
  let clusters: Cluster[] = Array.from({ length: count }, (_, i) => ({ members: [i], height: 0, parts: [] }));
  while (clusters.length > 1) {
    const { a, b, height } = nearest(clusters, distance);
    const joined: Cluster = { members: [...a.members, ...b.members], height, parts: [a, b] };
    clusters = clusters.flatMap((cluster) => (cluster === a ? joined : cluster === b ? [] : cluster));
  }
  return clusters[0];
}

/** The two nearest clusters; of equally near ones the first. */
function nearest(clusters: readonly Cluster[], distance: (a: number, b: number) => number): { a: Cluster; b: Cluster; height: number } {
  const pairs = clusters.flatMap((a, i) => clusters.slice(i + 1).map((b) => ({ a, b, height: meanDistance(a, b, distance) })));
  return pairs.reduce((best, pair) => (pair.height < best.height ? pair : best));
}

function meanDistance(a: Cluster, b: Cluster, distance: (a: number, b: number) => number): number {
  const sum = a.members.reduce((total, i) => total + b.members.reduce((inner, j) => inner + distance(i, j), 0), 0);
  return sum / (a.members.length * b.members.length);
}
