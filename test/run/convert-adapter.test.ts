import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { dottedPath } from "../../merge-core/adapters/dialects/module-paths.ts";
import { readPeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { narrowFromFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { type ConvertRequest, convertAdapter } from "../../merge-core/run/convert-adapter.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";

const PEFT = "test/fixtures/oracles/peft";

const convert = (adapter: string, to: ConvertRequest["to"], more: Partial<ConvertRequest> = {}) => {
  const out = join(temporaryFolder(), to);
  return convertAdapter({ adapter, out, to, overwrite: false, ...more }).then((result) => ({ out, result }));
};

/** A file with tensors of ones, numbered so that none is mistaken for another. */
function writeLora(shapes: Readonly<Record<string, readonly number[]>>, values: Readonly<Record<string, number>> = {}): string {
  const file = join(temporaryFolder(), "lora.safetensors");
  const tensors = Object.entries(shapes).map(([name, shape], n) => {
    const data = new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(values[name] ?? n + 1);
    return { name, dtype: "F16" as const, shape, data: narrowFromFloat32("F16", data) };
  });
  writeFileSync(file, encodeSafetensors(tensors));
  return file;
}

const shapesOf = async (path: string) => Object.fromEntries([...(await openCheckpoint(path)).tensors].map(([name, { shape }]) => [name, shape]));
const configOf = (folder: string) => JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"));

describe("LoRA under other names", () => {
  for (const name of ["lora", "rslora", "patterns", "layer-one"]) {
    it(`goes from PEFT to kohya and to diffusers and back with the same change: ${name}`, async () => {
      const source = await readPeftLora(join(PEFT, name));
      for (const to of ["kohya", "diffusers"] as const) {
        const there = await convert(join(PEFT, name), to, { component: "text_encoder" });
        const back = await convert(there.out, "peft");
        const found = await readPeftLora(back.out);
        assert.deepEqual([...found.modules.keys()].sort(), [...source.modules.keys()].sort());
        for (const [path, { a, b, r, scale }] of source.modules) {
          const other = found.modules.get(path);
          assert.deepEqual({ a: other?.a, b: other?.b, r: other?.r }, { a, b, r });
          assert.ok(Math.abs((other?.scale ?? 0) / scale - 1) < 1e-6, `${path}: ${other?.scale} for ${scale}`);
        }
        assert.equal(configOf(back.out).use_rslora, false);
      }
    });
  }

  it("names all modules in full, so that PEFT adds to no others", async () => {
    const { out } = await convert((await convert(join(PEFT, "layer-one"), "kohya")).out, "peft");
    const targets: string[] = configOf(out).target_modules;
    assert.ok(targets.length > 0 && targets.every((target) => target.startsWith("model.layers.1.")), targets.join());
  });

  it("keeps DoRA's magnitudes, as [out, 1] at kohya's", async () => {
    const before = await shapesOf(join(PEFT, "dora", "adapter_model.safetensors"));
    const { out } = await convert(join(PEFT, "dora"), "kohya");
    const there = await shapesOf(join(out, "lora.safetensors"));
    assert.ok(Object.entries(there).some(([name, shape]) => name.endsWith(".dora_scale") && shape[1] === 1));
    const back = await convert(out, "peft");
    assert.deepEqual(await shapesOf(join(back.out, "adapter_model.safetensors")), before);
    assert.equal(configOf(back.out).use_dora, true);
  });

  it("reads kohya's files: alpha of each module, rank where it is missing or 0, one part of several, convolutions", async () => {
    const unet = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0";
    const text = "lora_te_text_model_encoder_layers_3_self_attn_q_proj";
    const conv = "lora_unet_down_blocks_0_resnets_0_conv1";
    const shapes = {
      [`${unet}.lora_down.weight`]: [4, 8],
      [`${unet}.lora_up.weight`]: [6, 4],
      [`${unet}.alpha`]: [],
      [`${conv}.lora_down.weight`]: [2, 3, 3, 3],
      [`${conv}.lora_up.weight`]: [5, 2, 1, 1],
      [`${text}.lora_down.weight`]: [4, 8],
      [`${text}.lora_up.weight`]: [6, 4],
      [`${text}.alpha`]: [],
    };
    const file = writeLora(shapes, { [`${unet}.alpha`]: 1, [`${text}.alpha`]: 0 });
    await rejectsWith("adapter-component-unknown", () => convert(file, "peft"));
    const { out } = await convert(file, "peft", { component: "unet" });
    const path = "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0";
    assert.deepEqual(await shapesOf(join(out, "adapter_model.safetensors")), {
      [`base_model.model.${path}.lora_A.weight`]: [4, 8],
      [`base_model.model.${path}.lora_B.weight`]: [6, 4],
      "base_model.model.down_blocks.0.resnets.0.conv1.lora_A.weight": [2, 3, 3, 3],
      "base_model.model.down_blocks.0.resnets.0.conv1.lora_B.weight": [5, 2, 1, 1],
    });
    const { r, lora_alpha, rank_pattern, alpha_pattern } = configOf(out);
    assert.deepEqual({ r, lora_alpha }, { r: 2, lora_alpha: 1 });
    assert.deepEqual([rank_pattern, alpha_pattern], [{ [path]: 4 }, { "down_blocks.0.resnets.0.conv1": 2 }]);
    const diffusers = await convert(file, "diffusers");
    const names = Object.keys(await shapesOf(join(diffusers.out, "pytorch_lora_weights.safetensors")));
    assert.ok(names.includes(`unet.${path}.alpha`) && names.includes("text_encoder.text_model.encoder.layers.3.self_attn.q_proj.lora_A.weight"));
    // Alpha 0 and no alpha mean the rank, which is what diffusers takes.
    assert.equal(names.filter((name) => name.endsWith(".alpha")).length, 1);
    const again = await convert(diffusers.out, "kohya");
    assert.deepEqual(Object.keys(await shapesOf(join(again.out, "lora.safetensors"))).sort(), [...Object.keys(shapes), `${conv}.alpha`].sort());
  });

  it("reads old names of diffusers", async () => {
    const stem = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor";
    const file = writeLora({
      [`${stem}.to_q_lora.down.weight`]: [2, 4],
      [`${stem}.to_q_lora.up.weight`]: [4, 2],
      [`${stem}.to_out_lora.down.weight`]: [2, 4],
      [`${stem}.to_out_lora.up.weight`]: [4, 2],
    });
    const { out } = await convert(file, "kohya");
    const flat = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1";
    const names = Object.keys(await shapesOf(join(out, "lora.safetensors")));
    assert.ok(names.includes(`${flat}_to_q.lora_down.weight`) && names.includes(`${flat}_to_out_0.lora_up.weight`));
  });

  it("guesses nothing: dots that cannot be told, factors alone, foreign tensors, a part that is not known", async () => {
    assert.equal(dottedPath("odd_name_proj", new Map([["odd_name_proj", "odd.name_proj"]]), "f"), "odd.name_proj");
    const both = (stem: string) => ({ [`${stem}.lora_down.weight`]: [2, 4], [`${stem}.lora_up.weight`]: [4, 2] });
    await rejectsWith("adapter-name-ambiguous", () => convert(writeLora(both("lora_unet_input_blocks_1_1_proj_in")), "peft"));
    await rejectsWith("adapter-incomplete", () => convert(writeLora({ "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": [2, 4] }), "peft"));
    await rejectsWith("adapter-tensor-unexpected", () => convert(writeLora({ "lora_te_text_model_encoder_layers_0_mlp_fc1.hada_w1_a": [2, 4] }), "peft"));
    await rejectsWith("adapter-component-unknown", () => convert(join(PEFT, "lora"), "diffusers"));
    await rejectsWith("file-missing", () => convert("no-such-file.safetensors", "peft"));
  });
});
