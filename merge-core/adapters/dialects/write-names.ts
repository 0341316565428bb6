// The names under which kohya's programs, diffusers and PEFT look for the tensors of a LoRA.
import { inputError } from "../../diagnostics.ts";
import { narrowFromFloat32 } from "../../formats/dtype-codecs.ts";
import { type Component, type LoraModule, type NamedLora, rankOf, type Stored } from "./dialect.ts";
import { pathsByName, underscored } from "./module-paths.ts";

const scalar = (value: number): Stored => ({ dtype: "F32", shape: [], data: narrowFromFloat32("F32", Float32Array.of(value)) });

/** Alpha stands beside every module, as programs take 1 or the rank where it is missing. */
export function kohyaTensors({ components }: NamedLora, file: string): Map<string, Stored> {
  const entries = [...components].flatMap(([component, modules]) => {
    const prefix = kohyaPrefix(component, components.has("text_encoder_2"));
    pathsByName(modules.keys(), file);
    return [...modules].flatMap(([path, module]): [string, Stored][] => {
      const stem = `${prefix}_${underscored(path)}`;
      const { magnitude } = module;
      const dora: [string, Stored][] = magnitude === undefined ? [] : [[`${stem}.dora_scale`, { ...magnitude, shape: [magnitude.shape[0] ?? 0, 1] }]];
      return [[`${stem}.lora_down.weight`, module.down], [`${stem}.lora_up.weight`, module.up], [`${stem}.alpha`, scalar(module.alpha)], ...dora];
    });
  });
  return new Map(entries);
}

function kohyaPrefix(component: string, two: boolean): string {
  if (component === "unet" || component === "transformer") return "lora_unet";
  if (component === "text_encoder") return two ? "lora_te1" : "lora_te";
  return component === "text_encoder_2" ? "lora_te2" : "lycoris";
}

/** Alpha is written where it is not the rank, which is what diffusers takes without it. @throws WeightsmithError `adapter-component-unknown` */
export function diffusersTensors({ components }: NamedLora, file: string): Map<string, Stored> {
  const entries = [...components].flatMap(([component, modules]) => {
    if (component === "")
      throw inputError("adapter-component-unknown", "which part of a pipeline the adapter changes is not known", {
        file,
        remedy: "say it with --component unet, transformer, text_encoder or text_encoder_2",
      });
    return [...modules].flatMap(([path, module]): [string, Stored][] => {
      const alpha: [string, Stored][] = module.alpha === rankOf(module) ? [] : [[`${component}.${path}.alpha`, scalar(module.alpha)]];
      return [...factorNames(`${component}.${path}`, module), ...alpha];
    });
  });
  return new Map(entries);
}

export const peftTensors = (modules: Component): Map<string, Stored> =>
  new Map([...modules].flatMap(([path, module]) => factorNames(`base_model.model.${path}`, module)));

function factorNames(stem: string, { down, up, magnitude }: LoraModule): [string, Stored][] {
  const dora: [string, Stored][] = magnitude === undefined ? [] : [[`${stem}.lora_magnitude_vector`, magnitude]];
  return [[`${stem}.lora_A.weight`, down], [`${stem}.lora_B.weight`, up], ...dora];
}

/** adapter_config.json. Rank and alpha are those of most modules, the others' stand in patterns; whole paths keep PEFT from adding to other layers. */
export function peftConfig(modules: Component, { baseModel, task }: NamedLora): Record<string, unknown> {
  const r = commonest([...modules.values()].map(rankOf));
  const alpha = commonest([...modules.values()].map((module) => module.alpha));
  const others = (of: (module: LoraModule) => number, usual: number) =>
    Object.fromEntries([...modules].filter(([, module]) => of(module) !== usual).map(([path, module]) => [path, of(module)]));
  return {
    alpha_pattern: others((module) => module.alpha, alpha),
    base_model_name_or_path: baseModel ?? null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: alpha,
    lora_dropout: 0,
    modules_to_save: null,
    peft_type: "LORA",
    r,
    rank_pattern: others(rankOf, r),
    target_modules: [...modules.keys()],
    task_type: task ?? null,
    use_dora: [...modules.values()].some(({ magnitude }) => magnitude !== undefined),
    use_rslora: false,
  };
}

function commonest(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort(([x, countX], [y, countY]) => countY - countX || x - y)[0]?.[0] ?? 1;
}
