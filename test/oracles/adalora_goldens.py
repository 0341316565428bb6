"""Runs PEFT's own rank allocator of AdaLoRA over given weights and gradients, and writes which triplets it keeps after each step.

    python adalora_goldens.py

Weights and gradients are sines of their place, so that the test makes the same ones. Writes ../fixtures/oracles/adalora-budget.json.
"""

import json
import math
from pathlib import Path

import peft
import torch
from peft import AdaLoraConfig
from peft.tuners.adalora.layer import RankAllocator

MODULES, R, INPUTS, OUTPUTS, STEPS = 3, 4, 5, 6, 24
SETTINGS = dict(init_r=R, target_r=2, tinit=3, tfinal=4, deltaT=2, beta1=0.85, beta2=0.8)
SHAPES = {"lora_A": (R, INPUTS), "lora_B": (OUTPUTS, R), "lora_E": (R, 1)}


def numbers(shape, start, step):
    size = shape[0] * shape[1]
    return torch.tensor([math.sin(start + 0.37 * i + 0.11 * step) for i in range(size)], dtype=torch.float64).reshape(shape)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for module in range(MODULES):
            layer = torch.nn.Module()
            for name, shape in SHAPES.items():
                setattr(layer, name, torch.nn.ParameterDict({"default": torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))}))
            setattr(self, f"m{module}", layer)


def main():
    model = Model()
    config = AdaLoraConfig(total_step=STEPS, **SETTINGS)
    allocator = RankAllocator(model, config, "default")
    last = STEPS - config.tfinal
    kept = None
    steps = []
    for step in range(1, STEPS + 1):
        for module in range(MODULES):
            for place, name in enumerate(SHAPES):
                parameter = getattr(getattr(model, f"m{module}"), name)["default"]
                parameter.data.copy_(numbers(SHAPES[name], module + 0.5 * place, step))
                parameter.grad = numbers(SHAPES[name], 2 * module + 0.3 * place + 1, 3 * step)
        # As AdaLoraModel.update_and_allocate has it.
        if step < last:
            kept = allocator.update_and_allocate(model, step)[1] or kept
        elif step == last:
            kept = allocator.update_and_allocate(model, step, force_mask=True)[1]
        else:
            allocator.mask_using_rank_pattern(model, kept)
        steps.append([[int(e != 0) for e in getattr(getattr(model, f"m{module}"), "lora_E")["default"].view(-1)] for module in range(MODULES)])
    out = dict(peft=peft.__version__, settings=SETTINGS, total_step=STEPS, kept=steps)
    path = Path(__file__).resolve().parents[1] / "fixtures/oracles/adalora-budget.json"
    path.write_text(json.dumps(out) + "\n")


main()
