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

# Files of different names, by what mergekit-pytorch offers for them.
UNEVEN = {"four.safetensors": ["scale", "extra"], "five.safetensors": ["scale", "own"], "six.safetensors": ["scale", "extra", "more"]}
UNEVEN_RECIPE = """merge_method: linear
models:
- model: four.safetensors
  parameters: {weight: 0.5}
- model: five.safetensors
  parameters: {weight: 0.3}
- model: six.safetensors
  parameters: {weight: 0.6}
dtype: float32
"""


def uneven():
    for seed, (file, names) in enumerate(UNEVEN.items()):
        generator = torch.Generator().manual_seed(10 + seed)
        save_file({name: torch.randn(20, generator=generator) for name in names}, FOLDER / file)
    (FOLDER / "uneven.yml").write_text(UNEVEN_RECIPE)
    for names in ["union", "intersection"]:
        run("uneven.yml", f"{names}.safetensors", f"--tensor-{names}")


def run(recipe, result, *options):
    with tempfile.TemporaryDirectory() as out:
        program = Path(sys.executable).parent / "mergekit-pytorch"
        subprocess.run([program, recipe, out, "--quiet", *options], check=True, cwd=FOLDER)
        shutil.copyfile(Path(out) / "model.safetensors", FOLDER / result)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for seed, file in enumerate(["one.safetensors", "two.safetensors", "three.pt"]):
        generator = torch.Generator().manual_seed(seed)
        tensors = {"scale": torch.randn(50, generator=generator), "unet.conv.weight": torch.randn(4, 3, 3, 3, generator=generator)}
        (torch.save if file.endswith(".pt") else save_file)(tensors, FOLDER / file)
    (FOLDER / "recipe.yml").write_text(RECIPE)
    run("recipe.yml", "merged.safetensors")
    uneven()
    for file in FOLDER.glob("*.safetensors"):
        file.chmod(0o644)
    write_json(FOLDER / "provenance.json", provenance("mergekit_raw.py", ["mergekit", "torch", "safetensors"]))


if __name__ == "__main__":
    main()
