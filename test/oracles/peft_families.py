"""Adapters of every family that can be folded here, as PEFT writes them, with the weights PEFT merges them to; and what
PEFT's add_weighted_adapter makes of LoRA adapters.

The bases are the tiny models of transformers_logits.py, so run that first.
"""

import json
import shutil

import peft
import torch
from safetensors.torch import save_file

from common import FIXTURES, provenance, write_json
from peft_goldens import LLAMA_TARGETS, adapt, load_base, save_adapter

FOLDER = FIXTURES / "peft-families"
PACKAGES = ["torch", "transformers", "peft", "safetensors"]
LLAMA, QWEN, GPT2 = "llama-tiny", "qwen2-tiny", "gpt2-tiny"

# name -> (configuration class, base model, settings)
ADAPTERS = {
    "adalora": ("AdaLoraConfig", LLAMA, dict(init_r=4, target_r=2, lora_alpha=6, total_step=10, target_modules=["q_proj", "down_proj"])),
    "bone-like-bat": ("MissConfig", LLAMA, dict(r=4, init_weights="bat", target_modules=["q_proj", "up_proj"])),
    "c3a": ("C3AConfig", LLAMA, dict(block_size=4, target_modules=["k_proj", "up_proj"])),
    "delora": ("DeloraConfig", LLAMA, dict(r=3, delora_lambda=5, target_modules=["q_proj", "up_proj"])),
    "hira": ("HiraConfig", LLAMA, dict(r=3, target_modules=["q_proj", "up_proj"])),
    "hra": ("HRAConfig", LLAMA, dict(r=4, target_modules=["q_proj", "up_proj"])),
    "hra-gs": ("HRAConfig", LLAMA, dict(r=4, apply_GS=True, target_modules=["q_proj"])),
    "ia3": ("IA3Config", QWEN, dict(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "ia3-conv1d": ("IA3Config", GPT2, dict(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True)),
    "ln-tuning": ("LNTuningConfig", LLAMA, dict(target_modules=["input_layernorm"])),
    "loha": ("LoHaConfig", LLAMA, dict(r=3, alpha=6, target_modules=["q_proj", "up_proj"], rank_pattern={"up_proj": 2}, alpha_pattern={"up_proj": 5})),
    "lokr": ("LoKrConfig", LLAMA, dict(r=1, alpha=3, target_modules=["q_proj", "up_proj", "down_proj"])),
    "lokr-both": ("LoKrConfig", LLAMA, dict(r=1, alpha=2, decompose_both=True, decompose_factor=4, target_modules=["up_proj"])),
    "lokr-full": ("LoKrConfig", LLAMA, dict(r=9, alpha=2, target_modules=["q_proj"])),
    "miss": ("MissConfig", LLAMA, dict(r=3, target_modules=["q_proj", "up_proj", "down_proj"])),
    "miss-mini": ("MissConfig", LLAMA, dict(r=4, mini_r=8, init_weights="mini", target_modules=["q_proj", "up_proj"])),
    "oft": ("OFTConfig", LLAMA, dict(r=0, oft_block_size=4, target_modules=["q_proj", "down_proj"])),
    "oft-exact": ("OFTConfig", LLAMA, dict(r=2, oft_block_size=0, use_cayley_neumann=False, target_modules=["q_proj"])),
    "oft-shared": ("OFTConfig", LLAMA, dict(r=0, oft_block_size=4, block_share=True, coft=True, eps=0.3, target_modules=["q_proj"])),
    "shira": ("ShiraConfig", LLAMA, dict(r=2, target_modules=["q_proj", "up_proj"], random_seed=1)),
    "vblora": ("VBLoRAConfig", LLAMA, dict(r=2, num_vectors=6, vector_length=8, topk=2, target_modules=["q_proj", "up_proj"])),
    "vblora-topk": ("VBLoRAConfig", LLAMA, dict(r=2, num_vectors=6, vector_length=8, topk=2, save_only_topk_weights=True, target_modules=["q_proj"])),
    "vera": ("VeraConfig", LLAMA, dict(r=5, target_modules=["q_proj", "up_proj", "k_proj"])),
    "psoft": ("PsoftConfig", LLAMA, dict(r=4, psoft_alpha=6, target_modules=["q_proj", "up_proj", "down_proj"])),
    "psoft-free": ("PsoftConfig", LLAMA, dict(r=3, psoft_orth=False, psoft_mag_b=False, ab_svd_init="pissa_init", target_modules=["k_proj"])),
    "psoft-series": ("PsoftConfig", LLAMA, dict(r=4, use_cayley_neumann=True, cayley_neumann_eps=0.3, psoft_mag_a=False, target_modules=["q_proj"])),
    "boft": ("BOFTConfig", LLAMA, dict(boft_block_size=4, target_modules=["q_proj", "down_proj"])),
    "boft-butterfly": ("BOFTConfig", LLAMA, dict(boft_block_size=4, boft_n_butterfly_factor=2, target_modules=["q_proj"])),
    "fourierft": ("FourierFTConfig", LLAMA, dict(n_frequency=20, n_frequency_pattern={"up_proj": 12}, target_modules=["q_proj", "up_proj", "down_proj"])),
    "gralora": ("GraloraConfig", LLAMA, dict(r=4, alpha=6, target_modules=["q_proj", "up_proj"])),
    "gralora-hybrid": ("GraloraConfig", LLAMA, dict(r=4, alpha=6, hybrid_r=2, target_modules=["down_proj"])),
}

LORAS = [
    dict(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj"]),
    dict(r=3, lora_alpha=3, target_modules=["q_proj", "v_proj"]),
    dict(r=3, lora_alpha=5, target_modules=["q_proj"], use_rslora=True),
]
WEIGHTS = [0.7, -0.4, 1.2]
COMBINATIONS = ["cat", "linear", "svd", "ties", "ties_svd", "magnitude_prune", "magnitude_prune_svd"]


def random_adapter(kind, base, settings, seed):
    """A PEFT model whose trained parameters have moved away from where they started."""
    torch.manual_seed(seed)
    task = {} if kind == "C3AConfig" else dict(task_type="CAUSAL_LM")
    model = peft.get_peft_model(load_base(base), getattr(peft, kind)(**task, **settings))
    generator = torch.Generator().manual_seed(seed)
    for _, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            parameter.data = parameter.data + 0.2 * torch.randn(parameter.shape, generator=generator)
    model.peft_config["default"].base_model_name_or_path = f"test/fixtures/oracles/{base}"
    return model


def write_tensors(tensors, file):
    save_file({key: value.contiguous() for key, value in tensors.items()}, file)
    file.chmod(0o644)


class BlockDiagonal:
    """Stands for PEFT's CUDA extension, without which it makes no more than one butterfly factor."""

    @staticmethod
    def apply(blocks):
        return torch.stack([torch.block_diag(*factor) for factor in blocks])


def write_psoft_vectors(model, folder):
    """What PEFT keeps of PSOFT in memory alone: the singular vectors, whose signs are this machine's."""
    sides = {"psoft_A": "_psoft_A_cache", "psoft_B": "_psoft_B_cache"}
    layers = {name: layer for name, layer in model.named_modules() if hasattr(layer, "_psoft_A_cache")}
    vectors = {f"{name}.{side}": getattr(layer, cache)["default"] for name, layer in layers.items() for side, cache in sides.items()}
    if vectors:
        write_tensors(vectors, folder / "psoft_vectors.safetensors")


def sort_sets(file):
    """Sets of names, which PEFT writes in any order."""
    config = json.loads(file.read_text())
    for key in ["target_modules", "feedforward_modules"]:
        if isinstance(config.get(key), list):
            config[key].sort()
    file.write_text(json.dumps(config, indent=2, sort_keys=True))


def merged_golden(name, kind, base, settings, seed):
    model = random_adapter(kind, base, settings, seed)
    save_adapter(model, FOLDER / name)
    sort_sets(FOLDER / name / "adapter_config.json")
    write_psoft_vectors(model, FOLDER / name)
    before = load_base(base).state_dict()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    merged = model.merge_and_unload().state_dict()
    write_tensors({key: value for key, value in merged.items() if not torch.equal(value, before[key])}, FOLDER / name / "merged.safetensors")
    print(name, trainable)
    return {"base": base, "trainable": trainable}


def combined_goldens():
    """Adapters a, b and c, and for each combination the factors that PEFT gives."""
    states = []
    for seed, config in enumerate(LORAS):
        model = adapt(LLAMA, 100 + seed, both=True, **config)
        folder = FOLDER / "combined" / "abc"[seed]
        save_adapter(model, folder)
        sort_sets(folder / "adapter_config.json")
        states.append(folder)
    model = peft.PeftModel.from_pretrained(load_base(LLAMA), states[0], adapter_name="a")
    model.load_adapter(states[1], adapter_name="b")
    model.load_adapter(states[2], adapter_name="c")
    for combination in COMBINATIONS:
        # The third is rank-stabilised, which PEFT's combined configuration forgets: it is the first one's that counts.
        model.add_weighted_adapter(["a", "b", "c"], WEIGHTS, combination, combination_type=combination, svd_rank=4, density=0.6)
        deltas = {}
        for module, layer in model.named_modules():
            if hasattr(layer, "get_delta_weight") and combination in getattr(layer, "lora_A", {}):
                deltas[module.removeprefix("base_model.model.")] = layer.get_delta_weight(combination).detach()
        write_tensors(deltas, FOLDER / "combined" / f"{combination}.safetensors")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    peft.tuners.boft.layer.get_fbd_cuda = lambda: True
    peft.tuners.boft.layer.FastBlockDiag = BlockDiagonal
    facts = {name: merged_golden(name, *row, seed) for seed, (name, row) in enumerate(ADAPTERS.items())}
    combined_goldens()
    write_json(FOLDER / "provenance.json", provenance("peft_families.py", PACKAGES, weights=WEIGHTS, adapters=facts))


if __name__ == "__main__":
    main()
