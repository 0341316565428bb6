"""Runs the real mergekit on tiny checkpoints and stores inputs, recipes and results as golden files.

The checkpoints are made to be awkward where merging code tends to be wrong: task vectors are half exact zeros with
different supports, some tensors are left frozen, norms differ, one model ties its head, vocabularies differ.
Recipes live in mergekit_recipes.py. Random methods run at density 1 only: their masks come from another generator here.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import zlib

import torch
import yaml
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models as token_models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

from mergekit.config import MergeConfiguration
from mergekit.io.tasks import LoaderCache
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

from common import FIXTURES, provenance, write_json
from mergekit_recipes import AGAIN_IN_FLOAT64, RECIPES

FOLDER = FIXTURES / "mergekit"
MODELS = FOLDER / "models"
SHAPE = dict(
    vocab_size=64,
    hidden_size=12,
    intermediate_size=13,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=32,
    bos_token_id=1,
    eos_token_id=2,
)


def seeded(*parts):
    """A generator for one named thing, so that adding a model leaves the others as they were."""
    return torch.Generator().manual_seed(zlib.crc32("/".join(parts).encode()))


def base_weights(config):
    model = AutoModelForCausalLM.from_config(config)
    tied = config.tie_word_embeddings
    weights = {}
    for name, value in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        noise = torch.randn(value.shape, generator=seeded("base", name))
        is_norm = value.dim() == 1 and name.endswith("weight")
        weights[name] = 1 + 0.1 * noise if is_norm else 0.3 * noise
    return weights


def tuned(base, model, frozen=()):
    """Base plus a low-rank part, plus a sparse part; half the elements stay exactly as they were."""
    result = {}
    for name, value in base.items():
        if any(part in name for part in frozen):
            result[name] = value.clone()
            continue
        generator = seeded(model, name)
        delta = 0.05 * torch.randn(value.shape, generator=generator)
        if value.dim() == 2:
            left = torch.randn(value.shape[0], 2, generator=generator)
            right = torch.randn(2, value.shape[1], generator=generator)
            delta = delta + 0.06 * left @ right
        keep = torch.rand(value.shape, generator=generator) < 0.5
        result[name] = value + delta * keep
    return result


def save_model(name, config, weights, dtype=torch.float32):
    folder = MODELS / name
    folder.mkdir(parents=True)
    config = type(config).from_dict({**config.to_dict(), "dtype": str(dtype).removeprefix("torch.")})
    if config.architectures is None:
        config.architectures = [type(AutoModelForCausalLM.from_config(config)).__name__]
    config.save_pretrained(folder)
    tensors = {key: value.to(dtype).contiguous() for key, value in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def llama_family():
    config = LlamaConfig(**SHAPE, tie_word_embeddings=False)
    base = base_weights(config)
    family = {
        "base": base,
        "a": tuned(base, "a"),
        "b": tuned(base, "b"),
        "c": tuned(base, "c", frozen=("norm", "layers.1.mlp")),
    }
    for name, weights in family.items():
        save_model(name, config, weights)
        save_model(f"{name}-bf16", config, weights, torch.bfloat16)
    save_model("a-f16", config, family["a"], torch.float16)
    save_model("a-again", config, family["a"])
    return config, family


def odd_vocabularies(config, family):
    """Models whose embeddings have more rows than the base's, with nothing said about tokens."""
    grown = {}
    for name, value in family["a"].items():
        if "embed_tokens" in name or "lm_head" in name:
            extra = torch.randn(6, value.shape[1], generator=seeded("rows", name))
            value = torch.cat([value, 0.3 * extra])
        grown[name] = value
    save_model("a-rows70", LlamaConfig(**{**SHAPE, "vocab_size": 70}, tie_word_embeddings=False), grown)


def other_layouts():
    tied = LlamaConfig(**SHAPE, tie_word_embeddings=True)
    weights = base_weights(tied)
    save_model("tied-base", tied, weights)
    save_model("tied-a", tied, tuned(weights, "tied-a"))
    untied = tuned(weights, "untied-b")
    untied["lm_head.weight"] = 0.3 * torch.randn(64, 12, generator=seeded("untied-head"))
    save_model("untied-b", LlamaConfig(**SHAPE, tie_word_embeddings=False), untied)

    small = {**SHAPE, "num_hidden_layers": 2}
    qwen = Qwen2Config(**small, tie_word_embeddings=True, use_sliding_window=False)
    weights = base_weights(qwen)
    save_model("qwen2-base", qwen, weights)
    save_model("qwen2-a", qwen, tuned(weights, "qwen2-a"))
    save_model("qwen2-b", qwen, tuned(weights, "qwen2-b"))

    gpt2 = GPT2Config(vocab_size=31, n_positions=9, n_embd=10, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2)
    weights = base_weights(gpt2)
    save_model("gpt2-base", gpt2, weights)
    save_model("gpt2-a", gpt2, tuned(weights, "gpt2-a"))
    save_model("gpt2-b", gpt2, tuned(weights, "gpt2-b"))


def bpe(pieces, specials):
    """A byte-level BPE tokenizer: single letters, then the given two-letter pieces with their merges, then specials."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + ["Ġ"]
    vocab = {token: index for index, token in enumerate(specials + letters + pieces)}
    merges = [(piece[0], piece[1]) for piece in pieces]
    tokenizer = Tokenizer(token_models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def tokenised_models(family):
    """Three models with tokenizers: t-base (48 tokens), t-a the same tokens in another order, t-b with tokens of its own."""
    common = ["<unk>", "<s>", "</s>"]
    pieces = ["th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "of", "ed", "is", "it"]
    tokenizers = {
        "t-base": bpe(pieces, common),
        "t-a": bpe(list(reversed(pieces)), common),
        "t-b": bpe(pieces[:16] + ["st", "ar"], common + ["<|im_start|>", "<|im_end|>"]),
    }
    for index, (name, tokenizer) in enumerate(tokenizers.items()):
        size = len(tokenizer.get_vocab())
        config = LlamaConfig(**{**SHAPE, "vocab_size": size, "num_hidden_layers": 1}, tie_word_embeddings=False)
        weights = {
            key: value[:size].clone() if "embed_tokens" in key or "lm_head" in key else value
            for key, value in family[["base", "a", "b"][index]].items()
            if "layers.1." not in key and "layers.2." not in key
        }
        save_model(name, config, weights)
        tokenizer.save_pretrained(MODELS / name)


def lora_adapter():
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_pretrained(MODELS / "base")
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft_model = get_peft_model(model, config)
    for parameter in peft_model.parameters():
        if parameter.requires_grad:
            parameter.data = 0.1 * torch.randn(parameter.shape)
    peft_model.peft_config["default"].base_model_name_or_path = "models/base"
    peft_model.save_pretrained(MODELS / "lora-q-v-down")
    (MODELS / "lora-q-v-down" / "README.md").unlink(missing_ok=True)


def merge(recipe, out, scratch, options):
    LoaderCache().loaders.clear()
    merge_options = MergeOptions(quiet=True, write_model_card=False, copy_tokenizer=False, lora_merge_cache=str(scratch / "lora-cache"), **options)
    run_merge(MergeConfiguration.model_validate(recipe), str(out), merge_options)
    tensors = {}
    for file in sorted(out.glob("*.safetensors")):
        tensors.update(load_file(file))
    return tensors


def run_recipe(name, recipe, options, scratch):
    """One merge in a folder of its own; keeps weights, config and, where one was built, the vocabulary."""
    out = scratch / name
    text = yaml.safe_dump(recipe, sort_keys=False)
    (FOLDER / "recipes").mkdir(exist_ok=True)
    (FOLDER / "recipes" / f"{name}.yml").write_text(text)
    tensors = merge(yaml.safe_load(text), out, scratch, options)
    golden = FOLDER / "golden" / name
    golden.mkdir(parents=True)
    save_file(tensors, golden / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(out / "config.json", golden / "config.json")
    if "tokenizer" in recipe or "tokenizer_source" in recipe:
        vocab = PreTrainedTokenizerFast.from_pretrained(out).get_vocab()
        write_json(golden / "vocab.json", dict(sorted(vocab.items(), key=lambda item: item[1])))
    if name in AGAIN_IN_FLOAT64:
        exact = merge({**yaml.safe_load(text), "dtype": "float64"}, scratch / f"{name}-float64", scratch, options)
        save_file({key: value.float() for key, value in exact.items()}, golden / "float64.safetensors", metadata={"format": "pt"})


def main():
    only = sys.argv[1:]
    shutil.rmtree(FOLDER, ignore_errors=True)
    MODELS.mkdir(parents=True)
    config, family = llama_family()
    odd_vocabularies(config, family)
    other_layouts()
    tokenised_models(family)
    lora_adapter()
    failed = {}
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(FOLDER):
        for name, (recipe, options) in RECIPES.items():
            if only and name not in only:
                continue
            try:
                run_recipe(name, recipe, options, type(FOLDER)(scratch))
            except Exception as error:  # what mergekit refuses is part of the record
                failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                print(name, "REFUSED", failed[name])
    packages = ["mergekit", "torch", "transformers", "peft", "safetensors", "tokenizers"]
    for file in FOLDER.rglob("*.safetensors"):
        file.chmod(0o644)
    options = {name: options for name, (_, options) in RECIPES.items() if options}
    write_json(FOLDER / "provenance.json", provenance("mergekit_goldens.py", packages, options=options, refused=failed))
    print(len(RECIPES), "recipes,", len(failed), "refused")


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    main()
