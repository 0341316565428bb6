"""Shared by the golden-data scripts: places, provenance, and writers whose output is the same on every run."""

import datetime
import importlib.metadata
import json
import pathlib
import platform

import numpy as np
import torch

torch.set_num_threads(1)

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "oracles"


def provenance(script, packages, **more):
    """What made a folder of golden data: enough to make it again."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "script": f"test/oracles/{script}",
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "versions": versions,
        **more,
    }


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_compact_json(path, value):
    """One key of the top object per line, for files that are mostly numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{json.dumps(key)}: {json.dumps(item, separators=(',', ':'))}" for key, item in value.items()]
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def numbers(tensor):
    """Nested lists of the shortest decimals that read back as the same float32."""
    array = tensor.detach().to(torch.float32).numpy()
    return np.vectorize(lambda x: float(str(np.float32(x))), otypes=[object])(array).tolist()
