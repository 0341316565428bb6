"""Runs the real mergekit-moe on tiny models and stores what it writes.

The hidden states that gates are made from are taken in float32 here: mergekit-moe loads the model in bfloat16, which
would hide a wrong sum. Random gates cannot agree; of those the other tensors are compared.
"""

import contextlib
import os
import shutil
import tempfile

import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, Qwen2Config

import mergekit_goldens as family
import mergekit.moe.router as router
from mergekit.moe.config import MoEMergeConfig
from mergekit.options import MergeOptions
from mergekit.scripts.moe import build

from common import FIXTURES, provenance, write_json

FOLDER = FIXTURES / "moe"
family.MODELS = FOLDER / "models"


def expert(name, positive=None, negative=None, **more):
    prompts = {"positive_prompts": positive} if positive else {}
    if negative:
        prompts["negative_prompts"] = negative
    return {"source_model": f"models/{name}", **prompts, **more}


LLAMA = [
    expert("llama-a", ["the rain in the east", "at sea"], ["edit"]),
    expert("llama-b", ["one and two and three"], residual_scale=0.5),
]
SAME_LENGTH = [expert("llama-a", ["abc", "xyz"]), expert("llama-b", ["qqq"], ["mno"])]
SHARED = expert("llama-base", residual_scale=0.25)
QWEN = [expert("qwen2-a", ["the rain in the east"]), expert("qwen2-b", ["one and two"], ["edit", "or not"])]
CASES = {
    "mixtral-hidden": dict(base_model="models/llama-base", experts=LLAMA),
    "mixtral-hidden-last": dict(base_model="models/llama-base", gate_mode="hidden_last", experts=LLAMA, experts_per_token=1),
    "mixtral-hidden-avg": dict(base_model="models/llama-base", gate_mode="hidden_avg", experts=SAME_LENGTH),
    "mixtral-cheap": dict(base_model="models/llama-base", gate_mode="cheap_embed", experts=LLAMA, dtype="bfloat16"),
    "mixtral-random": dict(base_model="models/llama-base", gate_mode="random", experts=LLAMA),
    "mixtral-uniform": dict(base_model="models/llama-base", gate_mode="uniform_random", experts=LLAMA),
    "deepseek-hidden": dict(base_model="models/llama-base", architecture="deepseek", experts=LLAMA),
    "deepseek-shared": dict(base_model="models/llama-base", gate_mode="cheap_embed", experts=LLAMA, shared_experts=[SHARED]),
    "qwen-hidden": dict(base_model="models/qwen2-base", experts=QWEN, shared_experts=[expert("qwen2-base", ["a text of any kind"])]),
    "qwen-llama-cheap": dict(
        base_model="models/llama-base", architecture="qwen", gate_mode="cheap_embed", experts=LLAMA,
        shared_experts=[expert("llama-base", ["a text of any kind"], residual_scale=0.25)],
    ),
    "qwen-random": dict(base_model="models/qwen2-base", gate_mode="random", experts=QWEN, shared_experts=[expert("qwen2-base")]),
}  # fmt: skip


def make_models():
    shape = {**family.SHAPE, "num_hidden_layers": 2}
    pieces = ["th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "of", "ed", "is", "it"]
    tokenizer = family.bpe(pieces, ["<unk>", "<s>", "</s>"])
    for kind, config in {
        "llama": LlamaConfig(**shape, tie_word_embeddings=False, rms_norm_eps=1e-6),
        "qwen2": Qwen2Config(**shape, tie_word_embeddings=True, use_sliding_window=False),
    }.items():
        base = family.base_weights(config)
        for name in ["base", "a", "b"]:
            family.save_model(f"{kind}-{name}", config, base if name == "base" else family.tuned(base, f"moe-{kind}-{name}"))
        tokenizer.save_pretrained(family.MODELS / f"{kind}-base")


class InFloat32:
    @staticmethod
    def from_pretrained(path, **more):
        return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")


def run_case(name, recipe, scratch):
    text = yaml.safe_dump({**recipe, "dtype": recipe.get("dtype", "float32")}, sort_keys=False)
    (FOLDER / f"{name}.yml").write_text(text)
    out = scratch / name
    build(MoEMergeConfig.model_validate(yaml.safe_load(text)), str(out), MergeOptions(quiet=True, copy_tokenizer=False), allow_all_same=False)
    tensors = {}
    for file in sorted(out.glob("*.safetensors")):
        tensors.update(load_file(file))
    golden = FOLDER / "golden" / name
    golden.mkdir(parents=True)
    save_file(tensors, golden / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(out / "config.json", golden / "config.json")
    print(name, len(tensors), "tensors")


shutil.rmtree(FOLDER, ignore_errors=True)
family.MODELS.mkdir(parents=True)
os.environ["TOKENIZERS_PARALLELISM"] = "false"
router.AutoModelForCausalLM = InFloat32
make_models()
with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(FOLDER):
    for name, recipe in CASES.items():
        torch.manual_seed(0)
        run_case(name, recipe, type(FOLDER)(scratch))
for file in FOLDER.rglob("*.safetensors"):
    file.chmod(0o644)
write_json(FOLDER / "provenance.json", provenance("moe_goldens.py", ["mergekit", "torch", "transformers", "safetensors", "tokenizers"], hidden_states="float32"))
