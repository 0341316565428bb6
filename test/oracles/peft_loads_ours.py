"""Loads an adapter folder written by Weightsmith with the real PEFT and compares the weights it gives with our own folded model.

    python peft_loads_ours.py BASE ADAPTER FOLDED [--tolerance 1e-5]

BASE and FOLDED are model folders, FOLDED the result of `weightsmith adapter fold` (or of a recipe naming BASE+ADAPTER).
The largest difference is taken relative to the largest element of each delta W. Exits 1 if it is beyond the tolerance, or
if PEFT and we do not change the same tensors.
"""

import argparse
import sys
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)


def state(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()


def merged_by_peft(base, adapter):
    with warnings.catch_warnings():
        # A key of ours that PEFT ignores, or one of its own that it misses, is only a warning there.
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="Could not find a config file")
        # PEFT says so of every norm that its own LN_TUNING tunes.
        warnings.filterwarnings("ignore", message="Unsupported layer type")
        # PEFT itself writes the keys of AdaLoRA's pruned modules in this form, and warns of them when it loads its own files.
        warnings.filterwarnings("ignore", message=r"The following rank_pattern keys .*lora_E")
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    return model.merge_and_unload().state_dict()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("adapter")
    parser.add_argument("folded")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    args = parser.parse_args()
    base, theirs, ours = state(args.base), merged_by_peft(args.base, args.adapter), state(args.folded)
    changed = {name for name in base if not torch.equal(base[name], theirs[name])}
    ours_changed = {name for name in base if not torch.equal(base[name], ours[name])}
    worst = 0.0
    for name in changed:
        delta = theirs[name] - base[name]
        worst = max(worst, float((theirs[name] - ours[name]).abs().max() / delta.abs().max()))
    print(f"{len(changed)} tensors changed by PEFT, {len(ours_changed)} by us; largest difference {worst:.2e} of the largest delta")
    if changed != ours_changed:
        print("not the same tensors:", sorted(changed ^ ours_changed))
    return int(worst > args.tolerance or changed != ours_changed or not changed)


if __name__ == "__main__":
    sys.exit(main())
