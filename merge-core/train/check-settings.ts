// Settings of an adapter against the layers that it is to change, before anything is trained.
import type { AdapterFamily, FamilySetting, LayerShape, Settings } from "../adapters/family.ts";
import type { Site, Start } from "../adapters/family-training.ts";
import { inputError } from "../diagnostics.ts";

/** @throws WeightsmithError `adapter-setting-invalid` */
export function checkSettings({ settings, training }: AdapterFamily, sites: readonly Site[]): void {
  const all = [...settings, ...(training?.settings ?? [])];
  for (const setting of all) {
    const value = sites[0]?.settings[setting.name];
    if ((setting.count === true || setting.divides !== undefined) && !isCount(value))
      throw inputError("adapter-setting-invalid", `${setting.name} is not usable`, { found: String(value), expected: "a whole number of at least 1" });
    for (const { module, layer, settings: own } of sites) if (!divides(setting, layer, own)) throw divisorError(setting, module, layer, own);
  }
}

const isCount = (value: unknown): boolean => typeof value === "number" && Number.isSafeInteger(value) && value >= 1;

/** The sides that a setting divides. */
function sidesOf({ divides: which }: FamilySetting, { inFeatures, outFeatures }: LayerShape): number[] {
  if (which === undefined) return [];
  return which === "both" ? [inFeatures, outFeatures] : [which === "inputs" ? inFeatures : outFeatures];
}

const divides = (setting: FamilySetting, layer: LayerShape, settings: Settings): boolean =>
  sidesOf(setting, layer).every((side) => side % Number(settings[setting.name]) === 0);

function divisorError(setting: FamilySetting, module: string, layer: LayerShape, settings: Settings) {
  return inputError("adapter-setting-invalid", `${setting.name} does not divide the sides of ${module}`, {
    found: `${setting.name} ${settings[setting.name]}, ${layer.inFeatures} inputs, ${layer.outFeatures} outputs`,
    expected: `a divisor of ${sidesOf(setting, layer).join(" and ")}`,
    remedy: "choose another value, or fewer target_modules",
  });
}

/** The module's first tensors. @throws WeightsmithError `adapter-setting-invalid` where settings ask for more than a layer has */
export function checkedStart(family: AdapterFamily, site: Site): Start {
  const start = family.training?.start(site) ?? {};
  for (const [name, { shape, values }] of Object.entries(start)) {
    const size = shape.reduce((product, n) => product * n, 1);
    if (Number.isSafeInteger(size) && size === values.length) continue;
    throw inputError("adapter-setting-invalid", `the settings ask for more than ${site.module} has`, {
      found: `${name} [${shape.join(", ")}] for ${site.layer.inFeatures} inputs and ${site.layer.outFeatures} outputs`,
      expected: `settings that fit every layer of target_modules`,
    });
  }
  return start;
}
