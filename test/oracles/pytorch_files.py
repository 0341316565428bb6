"""Files of torch.save in every form that models come in, each beside its tensors in safetensors. A few KB each."""

import json
import shutil
from collections import OrderedDict

import torch
from safetensors.torch import save_file

from common import FIXTURES, provenance, write_json

FOLDER = FIXTURES / "pytorch"
PACKAGES = ["torch", "safetensors"]
DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "float8_e4m3fn", "float8_e5m2"]


def ramp(*shape):
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float32) - count / 2).div(7).reshape(shape)


def write(name, saved, tensors, **options):
    torch.save(saved, FOLDER / f"{name}.bin", **options)
    save_file({key: value.detach().clone().contiguous() for key, value in tensors.items()}, FOLDER / f"{name}.safetensors")
    for suffix in ["bin", "safetensors"]:
        (FOLDER / f"{name}.{suffix}").chmod(0o644)


def module_state():
    """state_dict of a real module: an OrderedDict with _metadata, buffers included."""
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3)).state_dict()


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    typed = {name: ramp(2, 3).to(getattr(torch, name)) for name in DTYPES}
    typed["scalar"] = torch.tensor(2.5)
    typed["empty"] = torch.zeros(0, 4)
    write("dtypes", typed, typed)
    state = module_state()
    write("module", state, state)
    shared = ramp(6, 4)
    views = OrderedDict(embed=shared, head=shared, rows=shared[2:5], column=ramp(4, 1).t())
    write("views", views, views)
    parameters = {"weight": torch.nn.Parameter(ramp(3, 3)), "frozen": torch.nn.Parameter(ramp(2), requires_grad=False)}
    write("parameters", parameters, parameters)
    checkpoint = {"epoch": 3, "lr": 1e-3, "name": "run", "done": True, "steps": [1, 2**40], "state_dict": state}
    write("nested", checkpoint, state)
    write("protocol-4", state, state, pickle_protocol=4)
    torch.save({"transposed": ramp(3, 5).t()}, FOLDER / "transposed.bin")
    torch.save(state, FOLDER / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"model": torch.nn.Linear(2, 2)}, FOLDER / "module-object.bin")
    sharded = FOLDER / "sharded"
    sharded.mkdir()
    parts = [{"0.weight": state["0.weight"], "0.bias": state["0.bias"]}, {key: value for key, value in state.items() if key.startswith("1.")}]
    weight_map = {}
    for i, part in enumerate(parts, start=1):
        file = f"pytorch_model-{i:05}-of-{len(parts):05}.bin"
        torch.save(part, sharded / file)
        weight_map |= {key: file for key in part}
    (sharded / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}, indent=1) + "\n")
    write_json(FOLDER / "provenance.json", provenance("pytorch_files.py", PACKAGES))


if __name__ == "__main__":
    main()
