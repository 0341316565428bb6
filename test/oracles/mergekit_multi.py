"""A file of several recipes carried out by mergekit-multi, on the models of mergekit_recipes.py, so run that first."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from common import FIXTURES, provenance, write_json

FOLDER = FIXTURES / "mergekit-multi"
RECIPE = """name: average
merge_method: linear
models:
- model: models/a
  parameters: {weight: 0.25}
- model: models/b
  parameters: {weight: 0.75}
dtype: float32
---
merge_method: task_arithmetic
base_model: models/base
models:
- model: average
  parameters: {weight: 0.5}
- model: blend
  parameters: {weight: 0.4}
dtype: float32
---
name: blend
merge_method: slerp
base_model: average
models:
- model: average
- model: models/c
parameters: {t: 0.3}
dtype: float32
"""


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    (FOLDER / "recipe.yml").write_text(RECIPE)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        program = Path(sys.executable).parent / "mergekit-multi"
        arguments = [FOLDER / "recipe.yml", "-I", work / "between", "--out-path", work / "out", "--no-write-model-card", "--quiet"]
        subprocess.run([program, *arguments], check=True, cwd=FIXTURES / "mergekit")
        shutil.copyfile(work / "out" / "model.safetensors", FOLDER / "model.safetensors")
    (FOLDER / "model.safetensors").chmod(0o644)
    write_json(FOLDER / "provenance.json", provenance("mergekit_multi.py", ["mergekit", "torch", "transformers", "safetensors"]))


if __name__ == "__main__":
    main()
