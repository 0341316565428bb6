"""Loads what Weightsmith merges with the real transformers and stores the logits.

    npm run build
    python merged_logits.py

Each case is a recipe that the built program runs on stored models, or a mixture or a tokenizer transplant that it makes of them. transformers must load the result with no tensor
missing, unexpected or of another shape; the logits that it then gives are the golden data, with the sha256 sum of the
file that was loaded. Where the recipe is a weighted sum, the sum is also made here in float64 and must give the same.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, MixtralConfig

from common import FIXTURES, numbers, provenance, write_compact_json

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FOLDER = FIXTURES / "merged"
MODELS = "test/fixtures/oracles/mergekit/models"


def weighted(models, dtype="float32"):
    return {"merge_method": "linear", "models": [{"model": m, "parameters": {"weight": w}} for m, w in models.items()], "dtype": dtype}


def ties(base, models):
    listed = [{"model": m, "parameters": {"weight": w, "density": 0.5}} for m, w in models.items()]
    return {"merge_method": "ties", "base_model": base, "models": listed, "parameters": {"normalize": True}, "dtype": "float32"}


MIXTRAL = "test/fixtures/oracles/merged"
CASES = {
    "zoo-linear": "media/zoo/recipes/linear.yml",
    "zoo-ties": "media/zoo/recipes/ties.yml",
    "llama": ties(f"{MODELS}/base", {f"{MODELS}/a": 0.7, f"{MODELS}/b": 0.4}),
    "qwen2": weighted({f"{MODELS}/qwen2-base": 0.2, f"{MODELS}/qwen2-a": 0.5, f"{MODELS}/qwen2-b": 0.3}),
    "gpt2": weighted({f"{MODELS}/gpt2-base": 0.2, f"{MODELS}/gpt2-a": 0.5, f"{MODELS}/gpt2-b": 0.3}),
    "mixtral": weighted({f"{MIXTRAL}/mixtral-a": 0.6, f"{MIXTRAL}/mixtral-b": 0.4}),
}

# Made by other commands. A mixture must also give what mergekit-moe's own folder of the same file gives.
COMMANDS = {
    "moe-mixtral": ["moe", "test/fixtures/oracles/moe/mixtral-hidden.yml"],
    "moe-qwen": ["moe", "test/fixtures/oracles/moe/qwen-hidden.yml"],
    "tokens": ["tokens", "test/fixtures/oracles/tokens/models/model", "test/fixtures/oracles/tokens/models/donor", "--k", "8"],
}


def make_mixtral(name, seed):
    config = MixtralConfig(
        vocab_size=40, hidden_size=16, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=32, num_local_experts=3, num_experts_per_tok=2, bos_token_id=1, eos_token_id=2, sliding_window=None,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = 1 + 0.2 * noise if "norm" in key else 0.3 * noise
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    model.save_pretrained(FOLDER / name)
    (FOLDER / name / "generation_config.json").unlink(missing_ok=True)


def load_strictly(folder):
    options = dict(dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    model, info = AutoModelForCausalLM.from_pretrained(folder, **options)
    # Grouped products want widths that tiny experts do not have.
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    problems = {key: value for key, value in info.items() if value}
    if problems:
        sys.exit(f"transformers does not load {folder} cleanly: {problems}")
    return model.eval()


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=ids).logits


def check_sum(recipe, out, ids, logits, scratch):
    """The same weighted sum in float64, loaded by transformers the same way."""
    total = sum(m["parameters"]["weight"] for m in recipe["models"])
    sums = {}
    for entry in recipe["models"]:
        for key, value in load_file(REPOSITORY / entry["model"] / "model.safetensors").items():
            sums[key] = sums.get(key, 0) + value.double() * (entry["parameters"]["weight"] / total)
    copy = scratch / "sum"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(out, copy)
    save_file({key: value.float() for key, value in sums.items()}, copy / "model.safetensors", metadata={"format": "pt"})
    difference = float((logits_of(load_strictly(copy), ids) - logits).abs().max())
    if difference > 1e-5:
        sys.exit(f"{out.name}: logits differ from those of the float64 sum by {difference}")
    return difference


def program(*arguments):
    path = os.environ.get("WEIGHTSMITH", str(REPOSITORY / "dist" / "weightsmith.js"))
    subprocess.run(["node", path, *arguments, "--quiet"], check=True, cwd=REPOSITORY)


def store(name, out, **made_by):
    """Loads the folder, stores the logits, and returns the inputs and them."""
    model = load_strictly(out)
    ids = torch.randint(0, model.config.vocab_size, (2, 8), generator=torch.Generator().manual_seed(5))
    logits = logits_of(model, ids)
    golden = {
        "provenance": provenance("merged_logits.py", ["torch", "transformers", "safetensors"], attention="eager"),
        **made_by,
        "sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "input_ids": ids.tolist(),
        "logits": numbers(logits),
    }
    write_compact_json(FOLDER / f"{name}.json", golden)
    print(f"{name}: {type(model).__name__} loads cleanly, logits up to {float(logits.abs().max()):.2f}")
    return ids, logits


def run_case(name, recipe, scratch):
    if isinstance(recipe, str):
        file = REPOSITORY / recipe
    else:
        file = scratch / f"{name}.yml"
        file.write_text(yaml.safe_dump(recipe, sort_keys=False))
    out = scratch / name
    program("merge", str(file), str(out))
    ids, logits = store(name, out, recipe=recipe if isinstance(recipe, str) else file.read_text())
    if not isinstance(recipe, str) and recipe["merge_method"] == "linear":
        print(f"  within {check_sum(recipe, out, ids, logits, scratch):.1e} of the float64 sum")


def run_command(name, command, scratch):
    out = scratch / name
    kind, *rest = command
    places = [argument for argument in rest if not argument.startswith("--") and not argument.isdigit()]
    program(kind, *places, str(out), *rest[len(places) :])
    ids, logits = store(name, out, command=command)
    if kind == "moe":
        theirs = REPOSITORY / "test/fixtures/oracles/moe/golden" / pathlib.Path(rest[0]).stem
        difference = float((logits_of(load_strictly(theirs), ids) - logits).abs().max())
        print(f"  within {difference:.1e} of mergekit-moe's folder")
        if difference > 1e-5:
            sys.exit(f"{name}: logits differ from those of mergekit-moe's folder by {difference}")


FOLDER.mkdir(exist_ok=True)
make_mixtral("mixtral-a", 1)
make_mixtral("mixtral-b", 2)
with tempfile.TemporaryDirectory() as scratch:
    for name, recipe in CASES.items():
        run_case(name, recipe, pathlib.Path(scratch))
    for name, command in COMMANDS.items():
        run_command(name, command, pathlib.Path(scratch))
