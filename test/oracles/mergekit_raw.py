"""Files of tensors that are no models, merged by mergekit-pytorch: safetensors and torch.save files of equal names."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from common import FIXTURES, provenance, write_json

FOLDER = FIXTURES / "mergekit-raw"
RECIPE = """merge_method: ties
base_model: one.safetensors
parameters: {normalize: true}
models:
- model: two.safetensors
  parameters: {weight: 0.7, density: 0.6}
- model: three.pt
  parameters:
    weight: [{filter: conv, value: 0.2}, {value: 0.9}]
    density: 0.5
dtype: float32
"""


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for seed, file in enumerate(["one.safetensors", "two.safetensors", "three.pt"]):
        generator = torch.Generator().manual_seed(seed)
        tensors = {"scale": torch.randn(50, generator=generator), "unet.conv.weight": torch.randn(4, 3, 3, 3, generator=generator)}
        (torch.save if file.endswith(".pt") else save_file)(tensors, FOLDER / file)
    (FOLDER / "recipe.yml").write_text(RECIPE)
    with tempfile.TemporaryDirectory() as out:
        program = Path(sys.executable).parent / "mergekit-pytorch"
        subprocess.run([program, "recipe.yml", out, "--quiet"], check=True, cwd=FOLDER)
        shutil.copyfile(Path(out) / "model.safetensors", FOLDER / "merged.safetensors")
    for file in FOLDER.glob("*.safetensors"):
        file.chmod(0o644)
    write_json(FOLDER / "provenance.json", provenance("mergekit_raw.py", ["mergekit", "torch", "safetensors"]))


if __name__ == "__main__":
    main()
