"""Recipes by module, run by mergekit on tiny models of several parts: T5 (encoder, decoder, shared) and the layout of Qwen2.5-VL."""

import contextlib
import shutil
import tempfile
import zlib
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, Qwen2_5_VLConfig, T5Config

from mergekit.architecture import arch_info_for_config
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

from common import FIXTURES, provenance, write_json

FOLDER = FIXTURES / "mergekit-modules"
MODELS = FOLDER / "models"
T5 = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=6, num_layers=2, num_decoder_layers=3, num_heads=2, architectures=["T5ForConditionalGeneration"])
VL = Qwen2_5_VLConfig(
    text_config=dict(vocab_size=20, bos_token_id=1, eos_token_id=2, hidden_size=8, intermediate_size=6, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1),
    vision_config=dict(depth=3, hidden_size=8, num_heads=2, intermediate_size=6, out_hidden_size=8),
    architectures=["Qwen2_5_VLForConditionalGeneration"],
)


def save_models(kind, config):
    """Random numbers under the names that mergekit has for the architecture; it does not look at shapes."""
    first = MODELS / f"{kind}-a"
    config.save_pretrained(first)
    config = AutoConfig.from_pretrained(first)
    names = [info.name for info in arch_info_for_config(config).all_weights(config) if not (kind == "t5" and info.optional)]
    for model in ["a", "b"]:
        folder = MODELS / f"{kind}-{model}"
        config.save_pretrained(folder)
        generators = {name: torch.Generator().manual_seed(zlib.crc32(f"{kind}-{model}/{name}".encode())) for name in names}
        save_file({name: torch.randn(2, 3, generator=g) for name, g in generators.items()}, folder / "model.safetensors", metadata={"format": "pt"})


def pair(kind, a, b):
    return [{"model": f"models/{kind}-{m}", "parameters": {"weight": w}} for m, w in [("a", a), ("b", b)]]


def layers(model, first, end):
    return {"sources": [{"model": f"models/{model}", "layer_range": [first, end]}]}


RECIPES = {
    "t5": {
        "merge_method": "linear",
        "modules": {
            "encoder": {"models": pair("t5", 0.3, 0.7)},
            "decoder": {"models": pair("t5", [0, 1], 1), "parameters": {"normalize": False}},
            "shared": {"models": pair("t5", 2, 1)},
        },
    },
    "t5-stacked-decoder": {
        "merge_method": "passthrough",
        "modules": {
            "encoder": {"models": [{"model": "models/t5-b"}]},
            "decoder": {"slices": [layers("t5-a", 0, 3), layers("t5-b", 1, 3)]},
            "shared": {"models": [{"model": "models/t5-a"}]},
        },
    },
    "t5-models": {"merge_method": "linear", "models": pair("t5", [0.2, 0.8], [{"filter": "decoder", "value": 0.5}, {"value": 0.1}])},
    "vl": {
        "merge_method": "slerp",
        "base_model": "models/vl-a",
        "modules": {
            "text_decoder": {"models": [{"model": "models/vl-a"}, {"model": "models/vl-b"}], "parameters": {"t": [{"filter": "mlp", "value": [0, 1]}, {"value": 0.4}]}},
            "multi_modal_projector": {"models": [{"model": "models/vl-a"}, {"model": "models/vl-b"}]},
            "vision_tower": {"models": [{"model": "models/vl-a"}, {"model": "models/vl-b"}], "parameters": {"t": [0.1, 0.9]}},
        },
        "parameters": {"t": 0.25},
    },
    "vl-stacked-vision": {
        "merge_method": "passthrough",
        "modules": {
            "text_decoder": {"models": [{"model": "models/vl-b"}]},
            "multi_modal_projector": {"models": [{"model": "models/vl-a"}]},
            "vision_tower": {"slices": [layers("vl-a", 0, 3), layers("vl-b", 2, 3)]},
        },
    },
}


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    save_models("t5", T5)
    save_models("vl", VL)
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(FOLDER):
        for name, recipe in RECIPES.items():
            text = yaml.safe_dump(recipe, sort_keys=False)
            Path(f"{name}.yml").write_text(text)
            out = Path(scratch) / name
            run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(out), MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False))
            Path("golden", name).mkdir(parents=True)
            tensors = load_file(out / "model.safetensors")
            save_file(tensors, f"golden/{name}/model.safetensors", metadata={"format": "pt"})
            shutil.copy(out / "config.json", f"golden/{name}/config.json")
    for file in FOLDER.rglob("*.safetensors"):
        file.chmod(0o644)
    write_json(FOLDER / "provenance.json", provenance("mergekit_modules.py", ["mergekit", "torch", "transformers", "safetensors"]))


if __name__ == "__main__":
    main()
