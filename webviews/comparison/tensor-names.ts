// Chosen tensors -> patterns that a recipe can hold.

/** Recipes refuse longer ones. */
const MAX_PATTERN = 400;
const LAYER = /^(.*?)\.(\d+)\.(.*)$/s;

/** Patterns that fit exactly `chosen` among `all` names: layers by what they share, and the rest by name. */
export function patternsFor(chosen: readonly string[], all: readonly string[]): string[] {
  const layers = new Map<string, { prefix: string; layer: string; rests: string[] }>();
  const plain: string[] = [];
  for (const name of chosen) {
    const [, prefix, layer, rest] = LAYER.exec(name) ?? [];
    if (prefix === undefined || layer === undefined || rest === undefined) plain.push(name);
    else {
      const key = `${prefix}.${layer}`;
      const known = layers.get(key) ?? { prefix, layer, rests: [] };
      known.rests.push(rest);
      layers.set(key, known);
    }
  }
  const wholes = new Map<string, number>();
  for (const name of all) {
    const [, prefix, layer] = LAYER.exec(name) ?? [];
    if (prefix !== undefined) wholes.set(`${prefix}.${layer}`, (wholes.get(`${prefix}.${layer}`) ?? 0) + 1);
  }
  // Layers of which the same is chosen share a pattern.
  const shared = new Map<string, { prefix: string; rests: string[] | undefined; layers: string[] }>();
  for (const [key, { prefix, layer, rests }] of layers) {
    const whole = wholes.get(key) === rests.length;
    const name = JSON.stringify([prefix, whole ? "*" : rests.toSorted()]);
    const known = shared.get(name) ?? { prefix, rests: whole ? undefined : rests, layers: [] };
    known.layers.push(layer);
    shared.set(name, known);
  }
  const ofLayers = [...shared.values()].flatMap(({ prefix, rests, layers: numbers }) =>
    rests === undefined
      ? chunks(numbers, (part) => `re:^${escaped(prefix)}\\.${either(part)}\\.`)
      : rests.flatMap((rest) => chunks(numbers, (part) => `re:^${escaped(prefix)}\\.${either(part)}\\.${escaped(rest)}$`)),
  );
  return [...ofLayers, ...plain.map((name) => `re:^${escaped(name)}$`)];
}

const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

const either = (parts: readonly string[]): string => (parts.length === 1 ? (parts[0] ?? "") : `(${parts.join("|")})`);

/** As few patterns as fit the bound. */
function chunks(parts: readonly string[], pattern: (parts: readonly string[]) => string): string[] {
  const whole = pattern(parts);
  if (whole.length <= MAX_PATTERN || parts.length < 2) return [whole];
  const half = Math.ceil(parts.length / 2);
  return [...chunks(parts.slice(0, half), pattern), ...chunks(parts.slice(half), pattern)];
}
