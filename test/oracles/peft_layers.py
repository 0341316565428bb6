"""LoRA of PEFT beyond factors alone: convolutions, starts that change the base, biases of B, and rows of tokens, with the weights that PEFT merges them to.

The bases are the tiny models of transformers_logits.py, so run that first, and one of convolutions that is made here.
"""

import json
import shutil

import torch
from peft import LoraConfig, TrainableTokensConfig, get_peft_model
from torch import nn

from common import FIXTURES, provenance, write_json
from peft_families import sort_sets, write_tensors
from peft_goldens import load_base, save_adapter

FOLDER = FIXTURES / "peft-layers"
PACKAGES = ["torch", "transformers", "peft", "safetensors"]
CONVOLUTIONS = "peft-layers/convolutions"
ALL = ["square", "point", "line", "linear"]

# name -> (configuration, base model)
ADAPTERS = {
    "conv": (LoraConfig(r=2, lora_alpha=3, target_modules=ALL, rank_pattern={"point": 3}), CONVOLUTIONS),
    "conv-dora": (LoraConfig(r=2, lora_alpha=3, target_modules=ALL, use_dora=True), CONVOLUTIONS),
    "conv-bias": (LoraConfig(r=2, lora_alpha=3, target_modules=["square", "line"], lora_bias=True), CONVOLUTIONS),
    "lora-bias": (LoraConfig(r=2, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj"], lora_bias=True, task_type="CAUSAL_LM"), "qwen2-tiny"),
    "tokens": (LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[7, 3, 1], task_type="CAUSAL_LM"), "llama-tiny"),
    "tokens-by-name": (
        LoraConfig(r=2, target_modules=["v_proj"], trainable_token_indices={"embed_tokens": [0, 5], "lm_head": [2]}, task_type="CAUSAL_LM"),
        "llama-tiny",
    ),
    "tokens-alone": (TrainableTokensConfig(token_indices=[9, 2], task_type="CAUSAL_LM"), "llama-tiny"),
    "pissa": (LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "up_proj"], init_lora_weights="pissa", task_type="CAUSAL_LM"), "llama-tiny"),
    "pissa-conv1d": (LoraConfig(r=3, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights="pissa", task_type="CAUSAL_LM"), "gpt2-tiny"),
    "olora": (
        LoraConfig(r=3, lora_alpha=4, use_rslora=True, target_modules=["q_proj", "down_proj"], init_lora_weights="olora", task_type="CAUSAL_LM"),
        "llama-tiny",
    ),
}


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.square = nn.Conv2d(3, 6, kernel_size=3, padding=1)
        self.point = nn.Conv2d(6, 4, kernel_size=1)
        self.line = nn.Conv1d(4, 5, kernel_size=3)
        self.linear = nn.Linear(5, 7)


def base_model(name):
    if name != CONVOLUTIONS:
        return load_base(name)
    torch.manual_seed(0)
    return Convolutions()


def merged_golden(name, config, base, seed):
    torch.manual_seed(seed)
    model = get_peft_model(base_model(base), config)
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            parameter.data = parameter.data + 0.2 * torch.randn(parameter.shape, generator=generator)
    model.peft_config["default"].base_model_name_or_path = f"test/fixtures/oracles/{base}"
    save_adapter(model, FOLDER / name)
    sort_sets(FOLDER / name / "adapter_config.json")
    before = base_model(base).state_dict()
    merged = model.merge_and_unload().state_dict()
    changed = {key: value for key, value in merged.items() if not torch.equal(value, before[key])}
    write_tensors(changed, FOLDER / name / "merged.safetensors")
    print(name, len(changed), "tensors merged")
    return base


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    folder = FIXTURES / CONVOLUTIONS
    folder.mkdir(parents=True)
    write_tensors(base_model(CONVOLUTIONS).state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "convolutions"}))
    bases = {name: merged_golden(name, *row, seed) for seed, (name, row) in enumerate(ADAPTERS.items())}
    write_json(FOLDER / "provenance.json", provenance("peft_layers.py", PACKAGES, bases=bases))


if __name__ == "__main__":
    main()
