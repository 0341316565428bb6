"""Trains a small adapter of every family that PEFT has with Weightsmith, loads each with the real PEFT, and compares the weights
it merges to with our own folded model. Run `npm run build` first, or name another
build of weightsmith.js in WEIGHTSMITH.

    python peft_loads_families.py [NAME ...]

The base is the sample model of the repository in float32. Differences are relative to the largest element of each delta W.
Exits 1 if one is beyond the tolerance, or if PEFT and we do not change the same tensors.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel, PolyConfig, get_peft_model
from transformers import AutoModelForCausalLM

from peft_loads_ours import merged_by_peft, state

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-5
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

DATA = ROOT / "media/zoo/data"
SLICED = {"data": {"train": [str(DATA / f"{task}.validation.jsonl") for task in ("sort", "reverse")]}, "slices": {"layers": 1}}

# name -> (family, settings), and what else the training file says
FAMILIES = {
    "lora": ("LORA", dict(r=4, lora_alpha=6)),
    "rslora": ("LORA", dict(r=4, lora_alpha=6, use_rslora=True)),
    "dora": ("LORA", dict(r=4, use_dora=True)),
    "pissa": ("LORA", dict(r=4, init_lora_weights="pissa")),
    "pissa-rslora": ("LORA", dict(r=4, init_lora_weights="pissa", use_rslora=True)),
    "olora": ("LORA", dict(r=4, init_lora_weights="olora")),
    "adalora": ("ADALORA", dict(init_r=6, target_r=3, tinit=1, tfinal=1)),
    "delora": ("DELORA", dict(r=4)),
    "vera": ("VERA", dict(r=8)),
    "vblora": ("VBLORA", dict(r=2, num_vectors=12, vector_length=16)),
    "vblora-topk": ("VBLORA", dict(r=2, num_vectors=12, vector_length=16, topk=3, save_only_topk_weights=True)),
    "lora-slices": ("LORA", dict(r=4), SLICED),
    "vera-slices": ("VERA", dict(r=8), SLICED),
    "vblora-slices": ("VBLORA", dict(r=2, num_vectors=12, vector_length=16), SLICED),
    "loha": ("LOHA", dict(r=3)),
    "lokr": ("LOKR", dict(r=2)),
    "lokr-both": ("LOKR", dict(r=2, decompose_both=True)),
    "miss": ("MISS", dict(r=8)),
    "miss-bat": ("MISS", dict(r=8, init_weights="bat")),
    "c3a": ("C3A", dict(block_size=16)),
    "oft": ("OFT", dict(oft_block_size=8)),
    "oft-exact": ("OFT", dict(oft_block_size=8, use_cayley_neumann=False)),
    "oft-shared": ("OFT", dict(oft_block_size=8, block_share=True)),
    "oft-constrained": ("OFT", dict(oft_block_size=8, coft=True, eps=0.5)),
    "hra": ("HRA", dict(r=4)),
    "hra-gs": ("HRA", dict(r=4, apply_GS=True)),
    "hira": ("HIRA", dict(r=4)),
    "shira": ("SHIRA", dict(r=2)),
    "ia3": ("IA3", dict()),
    "ln-tuning": ("LN_TUNING", dict()),
}


# name -> splits
POLY_OF_PEFT = {"poly-of-peft": 1, "mhr-of-peft": 4}
# name -> seed
EXPANDED = {"psoft": 0, "psoft-second": 1, "psoft-third": 2}


def run(*arguments):
    result = subprocess.run(["node", os.environ.get("WEIGHTSMITH", str(ROOT / "dist/weightsmith.js")), *map(str, arguments)], capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(f"weightsmith {arguments[0]}: {result.stderr}")


def write_base(folder):
    AutoModelForCausalLM.from_pretrained(ROOT / "media/zoo/base", dtype=torch.float32).save_pretrained(folder)
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(ROOT / "media/zoo/base" / name, folder / name)


def difference(before, theirs, ours):
    """Relative to the largest element of delta W, beyond the one rounding to float32 that adding it to W costs either side."""
    rounding = 2.0**-23 * torch.maximum(theirs.abs(), ours.abs())
    return float(((theirs - ours).abs() - rounding).clamp(min=0).max() / (theirs - before).abs().max())


def check(name, work, base):
    family, settings, *more = FAMILIES[name]
    norms = ["input_layernorm", "post_attention_layernorm", "norm"]
    targets = norms if family == "LN_TUNING" else LINEAR
    config = {
        "model": str(base),
        "data": {"train": str(DATA / "sort.validation.jsonl")},
        "method": "adapter",
        "adapter": {"family": family, "target_modules": targets, **settings},
        "optimizer": {"lr": 0.01},
        "steps": 4,
        "dtype": "float32",
        **dict(*more),
    }
    (work / f"{name}.yml").write_text(json.dumps(config))
    run("train", work / f"{name}.yml", work / name, "--quiet")
    run("adapter", "fold", base, work / name, work / f"{name}-folded", "--quiet")
    before, theirs, ours = state(base), merged_by_peft(base, work / name), state(work / f"{name}-folded")
    changed = {tensor for tensor in before if not torch.equal(before[tensor], theirs[tensor])}
    also = {tensor for tensor in before if not torch.equal(before[tensor], ours[tensor])}
    worst = max((difference(before[t], theirs[t], ours[t]) for t in changed), default=1.0)
    good = changed == also and worst <= TOLERANCE
    print(f"{name:14} {len(changed):3} tensors changed, largest difference {worst:.1e} of the largest delta{'' if good else '  WRONG'}", flush=True)
    return good


def check_expanded(name, work, base):
    """PSOFT is written for PEFT as the LoRA that it is: PEFT's own file would leave the signs of singular vectors to the machine that loads it."""
    settings = {"family": "psoft", "target_modules": LINEAR, "r": 6}
    data = {"train": str(DATA / "sort.validation.jsonl")}
    config = {"model": str(base), "data": data, "method": "adapter", "adapter": settings, "optimizer": {"lr": 0.01}, "steps": 4, "dtype": "float32"}
    (work / f"{name}.yml").write_text(json.dumps({**config, "seed": EXPANDED[name]}))
    run("train", work / f"{name}.yml", work / name, "--quiet")
    run("adapter", "expand", work / name, work / f"{name}-lora", "--base", base, "--quiet")
    run("adapter", "fold", base, work / name, work / f"{name}-folded", "--quiet")
    before, theirs, ours = state(base), merged_by_peft(base, work / f"{name}-lora"), state(work / f"{name}-folded")
    changed = {tensor for tensor in before if not torch.equal(before[tensor], theirs[tensor])}
    worst = max((difference(before[t], theirs[t], ours[t]) for t in changed), default=1.0)
    print(f"{name:14} {len(changed):3} tensors changed, largest difference {worst:.1e} of the largest delta, as a LoRA", flush=True)
    return worst <= TOLERANCE and len(changed) > 0


def logits(model, **more):
    tokens = torch.arange(4, 20).repeat(2, 1)
    with torch.no_grad():
        return model(input_ids=tokens, **more).logits


def check_poly(name, work, base):
    """POLY cannot be merged in PEFT: its logits for each task beside those of the LoRA that we expand that task to."""
    splits = {"poly": 1, "mhr": 4}[name]
    data = [str(DATA / f"{task}.validation.jsonl") for task in ("sort", "reverse")]
    settings = {"family": "poly", "target_modules": LINEAR, "r": 4, "n_skills": 3, "n_splits": splits}
    config = {"model": str(base), "data": {"train": data}, "method": "adapter", "adapter": settings, "optimizer": {"lr": 0.01}, "steps": 4, "dtype": "float32"}
    (work / f"{name}.yml").write_text(json.dumps(config))
    run("train", work / f"{name}.yml", work / name, "--quiet")
    load = lambda folder: PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder).eval()
    before = logits(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    worst = 0.0
    for task in range(2):
        run("adapter", "expand", work / name, work / f"{name}-{task}", "--choice", task, "--base", base, "--quiet")
        theirs, ours = logits(load(work / name), task_ids=torch.full((2,), task)), logits(load(work / f"{name}-{task}"))
        worst = max(worst, float((theirs - ours).abs().max() / (theirs - before).abs().max()))
    print(f"{name:14} 2 tasks, largest difference {worst:.1e} of the largest change of a logit{'' if worst <= 1e-4 else '  WRONG'}", flush=True)
    return worst <= 1e-4


def check_poly_of_peft(name, work, base):
    """The other way round: POLY that PEFT writes, its logits for each task beside those of the LoRA that we expand that task to."""
    settings = dict(poly_type="poly", r=4, n_tasks=2, n_skills=3, n_splits=POLY_OF_PEFT[name], target_modules=LINEAR)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    before = logits(plain)
    torch.manual_seed(0)
    model = get_peft_model(plain, PolyConfig(task_type="CAUSAL_LM", **settings)).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(work / name)
    worst = 0.0
    for task in range(2):
        run("adapter", "expand", work / name, work / f"{name}-{task}", "--choice", task, "--base", base, "--quiet")
        lora = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), work / f"{name}-{task}").eval()
        theirs = logits(model, task_ids=torch.full((2,), task))
        worst = max(worst, float((theirs - logits(lora)).abs().max() / (theirs - before).abs().max()))
    print(f"{name:14} 2 tasks, largest difference {worst:.1e} of the largest change of a logit{'' if worst <= 1e-4 else '  WRONG'}", flush=True)
    return worst <= 1e-4


def main():
    checks = {**dict.fromkeys(FAMILIES, check), **dict.fromkeys(EXPANDED, check_expanded), **dict.fromkeys(["poly", "mhr"], check_poly)}
    checks |= dict.fromkeys(POLY_OF_PEFT, check_poly_of_peft)
    names = sys.argv[1:] or [*checks]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_base(work / "base")
        return int(not all([checks[name](name, work, work / "base") for name in names]))


if __name__ == "__main__":
    sys.exit(main())
