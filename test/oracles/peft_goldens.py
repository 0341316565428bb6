"""Adapters as PEFT writes them, the weights PEFT merges them to, and training runs of torch + PEFT to be followed step by step.

The bases are the tiny models of transformers_logits.py, so run that first.
"""

import math
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from common import FIXTURES, provenance, write_compact_json, write_json

FOLDER = FIXTURES / "peft"
PACKAGES = ["torch", "transformers", "peft", "safetensors"]
LLAMA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# name -> (base model, configuration)
ADAPTERS = {
    "lora": ("llama-tiny", dict(r=4, lora_alpha=8, target_modules=LLAMA_TARGETS)),
    "rslora": ("llama-tiny", dict(r=3, lora_alpha=5, target_modules=["q_proj", "v_proj"], use_rslora=True)),
    "patterns": (
        "llama-tiny",
        dict(
            r=4,
            lora_alpha=8,
            target_modules=r"model\.layers\.\d+\.(self_attn\.(q|o)_proj|mlp\.down_proj)",
            rank_pattern={"down_proj": 2, "layers.1.self_attn.q_proj": 6},
            alpha_pattern={"layers.0.self_attn.o_proj": 3},
        ),
    ),
    "layer-one": ("llama-tiny", dict(r=2, lora_alpha=2, target_modules=["up_proj"], layers_to_transform=[1])),
    "conv1d": ("gpt2-tiny", dict(r=4, lora_alpha=8, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
    "dora": ("llama-tiny", dict(r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"], use_dora=True)),
    "dora-conv1d": ("gpt2-tiny", dict(r=3, lora_alpha=6, target_modules=["c_fc"], fan_in_fan_out=True, use_dora=True)),
    "embedding": ("llama-tiny", dict(r=2, lora_alpha=4, target_modules=["embed_tokens", "k_proj"])),
    "saved": ("llama-tiny", dict(r=2, lora_alpha=4, target_modules=["v_proj"], modules_to_save=["lm_head", "input_layernorm"])),
    "biases": ("qwen2-tiny", dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], bias="lora_only")),
}


def load_base(name):
    return AutoModelForCausalLM.from_pretrained(FIXTURES / name, dtype=torch.float32, attn_implementation="eager")


def adapt(base, seed, both, **config):
    """A PEFT model whose A (and, with `both`, B) come from the seed; with B = 0 it starts as the base."""
    model = get_peft_model(load_base(base), LoraConfig(task_type="CAUSAL_LM", **config))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_A" in name or (both and "lora_B" in name):
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
        elif both and parameter.requires_grad:
            parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=generator)
    model.peft_config["default"].base_model_name_or_path = f"test/fixtures/oracles/{base}"
    return model


def save_adapter(model, folder):
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "adapter_model.safetensors").chmod(0o644)


def merged_golden(name, base, config, seed):
    model = adapt(base, seed, both=True, **config)
    save_adapter(model, FOLDER / name)
    before = load_base(base).state_dict()
    merged = model.merge_and_unload().state_dict()
    changed = {key: value.contiguous() for key, value in merged.items() if not torch.equal(value, before[key])}
    save_file(changed, FOLDER / name / "merged.safetensors")
    (FOLDER / name / "merged.safetensors").chmod(0o644)
    print(name, len(changed), "tensors merged")


def sequences(steps, batch, length, seed):
    """Token ids of arithmetic progressions modulo the vocabulary: something a tiny model can begin to learn."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(0, 64, (steps, batch, 1), generator=generator)
    stride = torch.randint(1, 4, (steps, batch, 1), generator=generator)
    return (start + stride * torch.arange(length)) % 64


def token_loss(model, ids, ignore):
    """Mean cross-entropy of next tokens; targets among the first `ignore` positions do not count."""
    logits = model(input_ids=ids).logits[:, :-1]
    labels = ids[:, 1:].clone()
    labels[:, : max(0, ignore - 1)] = -100
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100)


def warm_cosine(step, warmup, total):
    """Factor of the rate at a step counted from one: linear up to 1, then half a cosine that is 0 at the last step."""
    if step <= warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def train(model, data, settings):
    """One loss per optimiser step, before the step; also the gradient norm before clipping."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=settings["weight_decay"])
    losses, norms, rates = [], [], []
    for step, batch in enumerate(data, start=1):
        rate = settings["lr"] * (warm_cosine(step, settings["warmup"], len(data)) if settings["schedule"] == "cosine" else 1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        parts = batch.chunk(settings["accumulate"])
        loss = 0.0
        for part in parts:
            share = token_loss(model, part, settings["ignore"]) / len(parts)
            share.backward()
            loss += share.item()
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, settings["clip"] or math.inf)))
        optimizer.step()
        losses.append(loss)
        rates.append(rate)
    return {"losses": losses, "gradient_norms": norms, "learning_rates": rates}


def training_run(name, settings, adapter=None, both=False):
    folder = FOLDER / name
    folder.mkdir(parents=True)
    if adapter is None:
        model = load_base("llama-tiny")
    else:
        model = adapt("llama-tiny", 77, both, **adapter)
        save_adapter(model, folder)
    data = sequences(50, 4, 12, seed=len(name))
    result = train(model.train(), data, settings)
    provenance_ = provenance("peft_goldens.py", PACKAGES)
    write_compact_json(folder / "run.json", {"provenance": provenance_, "base": "llama-tiny", "settings": settings, "batches": data.tolist(), **result})
    print(name, result["losses"][0], "->", result["losses"][-1])


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    for seed, (name, (base, config)) in enumerate(ADAPTERS.items()):
        merged_golden(name, base, config, seed)
    constant = dict(lr=5e-3, weight_decay=0.01, schedule="constant", warmup=0, clip=0, accumulate=1, ignore=0)
    scheduled = dict(lr=1e-2, weight_decay=0.0, schedule="cosine", warmup=5, clip=1.0, accumulate=2, ignore=4)
    all_targets = dict(r=4, lora_alpha=8, target_modules=LLAMA_TARGETS)
    training_run("train-constant", constant, all_targets)
    training_run("train-scheduled", scheduled, dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], use_rslora=True))
    training_run("train-full", {**constant, "lr": 2e-3, "weight_decay": 0.0, "clip": 1.0})
    write_json(FOLDER / "provenance.json", provenance("peft_goldens.py", PACKAGES, bases={name: base for name, (base, _) in ADAPTERS.items()}))


if __name__ == "__main__":
    main()
