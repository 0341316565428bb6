"""safetensors files of every element type as Python writes them, and torch's own conversions to and from the narrow floats.

all-dtypes.safetensors  one tensor of each type, with its values as numbers in all-dtypes.json
codes.safetensors       f8_*, f16, bf16: float32 values of codes (all 256 of each fp8; edges and a sample of the 16-bit types)
rounding.safetensors    float32 inputs near every kind of rounding edge, and what torch rounds each to
"""

import json
import math
import shutil

import numpy as np
import torch
from safetensors.torch import save_file

from common import FIXTURES, provenance, write_json

FOLDER = FIXTURES / "dtypes"
FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
INTEGERS = {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8}


def examples():
    """One small tensor per type, extremes included; shapes of every rank from 0 to 3, one of them empty."""
    tensors = {
        "F64": torch.tensor([[0.1, -1e300], [5e-324, math.pi]], dtype=torch.float64),
        "F32": torch.tensor([0.1, -3.4028234663852886e38, 1.401298464324817e-45], dtype=torch.float32),
        "F16": torch.tensor([[[0.1, -65504.0], [6e-8, 1.0]]], dtype=torch.float16),
        "BF16": torch.tensor([0.1, -3.3895313892515355e38, 1e-40], dtype=torch.bfloat16),
        "F8_E4M3": torch.tensor([0.1, -448.0, 0.001953125, 1.0, 0.0]).to(torch.float8_e4m3fn),
        "F8_E5M2": torch.tensor([0.1, -57344.0, 1.52587890625e-05, 1.0, 0.0]).to(torch.float8_e5m2),
        "BOOL": torch.tensor([True, False, True]),
        "F32.scalar": torch.tensor(2.5),
        "F32.empty": torch.empty(0, 3),
    }
    for name, dtype in INTEGERS.items():
        limits = torch.iinfo(dtype)
        tensors[name] = torch.tensor([limits.min, 0, 1, limits.max], dtype=dtype)
    return tensors


def as_numbers(tensor):
    """Exact values; integers beyond 2^53 as strings."""
    if tensor.dtype == torch.bool or not tensor.dtype.is_floating_point:
        return [value if abs(int(value)) < 2**53 else str(value) for value in tensor.flatten().tolist()]
    return tensor.to(torch.float64).flatten().tolist()


def sampled_codes():
    """16-bit codes: every exponent with a few mantissas, both signs, and a seeded sample."""
    edges = [sign << 15 | code for sign in (0, 1) for code in range(0, 1 << 15, 64)]
    near = [code + step for code in edges for step in (1, 63)]
    sample = torch.randint(0, 1 << 16, (1024,), generator=torch.Generator().manual_seed(1)).tolist()
    return torch.tensor(sorted({*edges, *near, *sample}), dtype=torch.int32)


def codes():
    """Codes as integers beside their float32 values; a NaN is stored as NaN, whatever its payload."""
    result = {}
    for name, dtype in FLOATS.items():
        if name.startswith("F8"):
            raw = torch.arange(256, dtype=torch.int32)
            values = raw.to(torch.uint8).view(dtype).to(torch.float32)
        else:
            raw = sampled_codes()
            values = torch.from_numpy(raw.numpy().astype(np.uint16).view(np.int16)).view(dtype).to(torch.float32)
        result[f"{name}.codes"] = raw
        result[f"{name}.values"] = values
    return result


def rounding_inputs(dtype, generator):
    """float32 numbers at and beside the midpoints of neighbouring values of `dtype`, overflow and underflow included."""
    bits = 8 if dtype.itemsize == 1 else 16
    positive = torch.arange(1 << (bits - 1), dtype=torch.int32)
    if bits == 16:
        positive = torch.cat([positive[:40], positive[torch.randint(0, positive.numel(), (400,), generator=generator)], positive[-300:]])
    unsigned = positive.to(torch.uint8) if bits == 8 else positive.to(torch.int16)
    values = unsigned.view(dtype).to(torch.float64)
    values = values[values.isfinite()].unique()
    midpoints = (values[:-1] + values[1:]) / 2
    top = values.max()
    beyond = torch.stack([top * factor for factor in (1.0, 1.03, 1.0625, 1.07, 1.2, 4.0)])
    near = torch.cat([values, midpoints, beyond]).to(torch.float32)
    infinity = torch.tensor(math.inf)
    spread = torch.cat([near, torch.nextafter(near, infinity), torch.nextafter(near, -infinity)])
    return torch.cat([spread, -spread, torch.tensor([math.inf, -math.inf, math.nan, 1e-45, -1e-45])])


def rounding():
    generator = torch.Generator().manual_seed(2)
    result = {}
    for name, dtype in FLOATS.items():
        inputs = rounding_inputs(dtype, generator)
        result[f"{name}.inputs"] = inputs
        result[f"{name}.rounded"] = inputs.to(dtype)
    return result


def save(name, tensors, metadata=None):
    save_file({key: value.contiguous() for key, value in tensors.items()}, FOLDER / name, metadata=metadata)
    (FOLDER / name).chmod(0o644)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    tensors = examples()
    save("all-dtypes.safetensors", tensors, {"format": "pt", "note": "héllo"})
    described = {name: {"shape": list(value.shape), "values": as_numbers(value)} for name, value in tensors.items()}
    (FOLDER / "all-dtypes.json").write_text(json.dumps(described, indent=1) + "\n")
    save("codes.safetensors", codes())
    save("rounding.safetensors", rounding())
    write_json(FOLDER / "provenance.json", provenance("dtype_goldens.py", ["torch", "safetensors", "numpy"]))


if __name__ == "__main__":
    main()
