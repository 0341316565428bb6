// Names of tensors in files of kohya's programs and of diffusers, old and new.
import { inputError } from "../../diagnostics.ts";
import { widenToFloat32 } from "../../formats/dtype-codecs.ts";
import { isFloat } from "../../formats/dtypes.ts";
import { type Component, joinParts, type NamedLora, type Parts, type Stored } from "./dialect.ts";
import { dottedPath } from "./module-paths.ts";

const KOHYA = /^(lora_unet|lora_te|lora_te1|lora_te2|lora_transformer|lycoris)_([A-Za-z0-9_]+)$/;
const COMPONENT = /^(unet|transformer|text_encoder|text_encoder_2|text_encoder_3)\.(.+)$/;

/** The part that a tensor plays, by the end of its name. */
const ROLES: readonly (readonly [RegExp, keyof Parts | "alpha"])[] = [
  [/\.(?:lora_down|lora_A)(?:\.default)?\.weight$|\.lora\.down\.weight$|_lora\.down\.weight$|\.lora_linear_layer\.down\.weight$/, "down"],
  [/\.(?:lora_up|lora_B)(?:\.default)?\.weight$|\.lora\.up\.weight$|_lora\.up\.weight$|\.lora_linear_layer\.up\.weight$/, "up"],
  [/\.dora_scale$|\.lora_magnitude_vector(?:\.weight)?$/, "magnitude"],
  [/\.alpha$/, "alpha"],
];

interface Loose {
  readonly [role: string]: Stored;
}

/**
 * @param modules paths in the base model by their kohya names, if it is known
 * @throws WeightsmithError `adapter-tensor-unexpected`, `adapter-name-ambiguous`, `adapter-target-missing`, `adapter-incomplete`
 */
export function readNamedLora(tensors: ReadonlyMap<string, Stored>, modules: ReadonlyMap<string, string> | undefined, file: string): NamedLora {
  const loose = new Map<string, Map<string, Loose>>();
  for (const [name, tensor] of tensors) {
    const { stem, role } = roleOf(name, file);
    const { component, path } = placeOf(stem, modules, file);
    const own = loose.get(component) ?? new Map<string, Loose>();
    loose.set(component, own.set(path, { ...own.get(path), [role]: tensor }));
  }
  const joined = [...loose].map(([component, found]): [string, Component] => [
    component,
    new Map(
      [...found].map(([path, { alpha, ...parts }]) => [path, joinParts(path, parts, alpha === undefined ? undefined : scalarOf(alpha, path, file), file)]),
    ),
  ]);
  return { components: new Map(joined) };
}

function roleOf(name: string, file: string): { stem: string; role: keyof Parts | "alpha" } {
  for (const [pattern, role] of ROLES) {
    const end = pattern.exec(name);
    if (end !== null) return { stem: name.slice(0, end.index), role };
  }
  throw inputError("adapter-tensor-unexpected", `tensor ${name} is not one of a LoRA`, {
    file,
    expected: "lora_down, lora_up, lora_A, lora_B, alpha, dora_scale",
    remedy: "LoHa, LoKr, full differences and Tucker factors have no counterpart in the other namings",
  });
}

function placeOf(stem: string, modules: ReadonlyMap<string, string> | undefined, file: string): { component: string; path: string } {
  const [, prefix, flat] = KOHYA.exec(stem) ?? [];
  if (prefix !== undefined && flat !== undefined) {
    const path = dottedPath(flat, modules, file);
    return { component: componentOf(prefix, path), path };
  }
  const [, component = "", path = stem] = COMPONENT.exec(stem) ?? [];
  // Old files of diffusers name the processor of an attention in between, and its last layer without its place in a list.
  return { component, path: path.replace(".processor.", ".").replace(/\.to_out$/, ".to_out.0") };
}

function componentOf(prefix: string, path: string): string {
  if (prefix === "lora_unet") return /^(single_)?transformer_blocks\./.test(path) ? "transformer" : "unet";
  if (prefix === "lora_te" || prefix === "lora_te1") return "text_encoder";
  if (prefix === "lora_te2") return "text_encoder_2";
  return prefix === "lora_transformer" ? "transformer" : "";
}

function scalarOf({ dtype, shape, data }: Stored, path: string, file: string): number {
  const value = shape.reduce((product, n) => product * n, 1) === 1 ? numberIn(dtype, data) : undefined;
  if (value !== undefined && Number.isFinite(value) && value >= 0) return value;
  throw inputError("adapter-tensor-unexpected", `alpha of ${path} is not a number of at least 0`, { file, found: `${dtype} [${shape.join(", ")}]` });
}

function numberIn(dtype: Stored["dtype"], data: Uint8Array): number | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (dtype === "I64") return Number(view.getBigInt64(0, true));
  if (dtype === "I32") return view.getInt32(0, true);
  if (dtype === "F64") return view.getFloat64(0, true);
  return isFloat(dtype) ? widenToFloat32(dtype, data)[0] : undefined;
}
