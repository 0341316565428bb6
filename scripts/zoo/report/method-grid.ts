// Which settings of each merge method are tried on validation data. Small grids: the table compares methods, it does not tune them to the end.

export interface Setting {
  /** Of every model but the base. */
  readonly model?: Readonly<Record<string, number>>;
  readonly global?: Readonly<Record<string, number>>;
}

export interface GridEntry {
  readonly method: string;
  /** What the method needs besides weights. */
  readonly needs: string;
  readonly settings: readonly Setting[];
}

/** One setting for each combination of values. */
function grid(model: Readonly<Record<string, readonly number[]>>, global: Readonly<Record<string, readonly number[]>> = {}): Setting[] {
  return combinations(model).flatMap((own) => combinations(global).map((all) => ({ model: own, global: all })));
}

function combinations(values: Readonly<Record<string, readonly number[]>>): Record<string, number>[] {
  return Object.entries(values).reduce<Record<string, number>[]>(
    (all, [name, list]) => all.flatMap((own) => list.map((value) => ({ ...own, [name]: value }))),
    [{}],
  );
}

const SUMS = [0.2, 0.3, 0.4];
const entry = (method: string, settings: readonly Setting[], needs = "weights"): GridEntry => ({ method, needs, settings });

export const GRID: readonly GridEntry[] = [
  entry("linear", grid({ weight: [1] })),
  entry("karcher", [{}]),
  entry("multislerp", grid({ weight: [1] })),
  entry("model_stock", [{}]),
  entry("task_arithmetic", grid({ weight: SUMS })),
  entry("ties", grid({ weight: [1], density: [0.2, 0.5] }, { lambda: [0.6, 1] })),
  entry("dare_linear", grid({ weight: SUMS, density: [0.5] })),
  entry("dare_ties", grid({ weight: SUMS, density: [0.5] })),
  entry("della_linear", grid({ weight: [0.2, 0.3], density: [0.5] })),
  entry("della", grid({ weight: [0.2, 0.3], density: [0.5] })),
  entry("breadcrumbs_ties", grid({ weight: [0.2, 0.3], density: [0.9] })),
  entry("breadcrumbs", grid({ weight: [0.2, 0.3], density: [0.9] })),
  entry("sce", [{}]),
  entry("pcb", grid({ weight: [0.8, 1.2] }, { ratio: [0.1] })),
  entry("cabs", grid({ weight: [0.4, 0.7] })),
  entry("iso_c", grid({ weight: [1] }, { alpha: [0.5, 1] })),
  entry("iso_cts", grid({ weight: [1] }, { alpha: [0.5, 1] })),
  entry("tsv_m", grid({ weight: [1] }, { alpha: [0.5, 1] })),
  entry("knots", grid({ weight: [1], density: [0.5] }, { alpha: [0.3, 0.6] })),
  entry("wudi", grid({}, { alpha: [0.5, 1] })),
  entry("ram", [{}]),
  entry("ramplus_tl", [{}]),
  entry("rws", grid({ weight: [1] }, { alpha: [0.3, 0.6] })),
  entry("one_bit", grid({ compress: [3], weight: [0.2, 0.3] })),
  entry("regmean", grid({}, { alpha: [0.5, 0.9] }), "inputs"),
];
