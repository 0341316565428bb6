"""Runs the real mergekit-tokensurgeon on tiny models and stores what it writes."""

import contextlib
import os
import shutil
import tempfile

from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, PreTrainedTokenizerFast

import mergekit_goldens as family
from mergekit.io.tasks import LoaderCache
from mergekit.scripts import tokensurgeon

from common import FIXTURES, provenance, write_json

FOLDER = FIXTURES / "tokens"
family.MODELS = FOLDER / "models"
PIECES = ["th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "of", "ed", "is", "it"]

CASES = {
    "omp-4": ["model", "-k", "4"],
    "omp-8": ["model", "-k", "8"],
    "omp-tied": ["tied", "-k", "5"],
    "distance": ["model", "-a", "common_interpolation", "-k", "5"],
    "cosine": ["model", "-a", "common_interpolation", "-k", "5", "-c"],
    "barycentric": ["model", "-a", "common_interpolation", "-k", "5", "-w", "barycentric"],
    "least-squares": ["model", "-a", "common_interpolation", "-k", "5", "-w", "least_squares"],
    "subword-mean": ["model", "-a", "subword"],
    "subword-sum": ["model", "-a", "subword", "-s", "sum"],
    "subword-ends": ["model", "-a", "subword", "-s", "first_last"],
    "mean": ["model", "-a", "mean"],
    "zero": ["model", "-a", "zero"],
    "matches": ["model", "-a", "mean", "-pm", "yes", "-bm", "yes"],
}


def make(name, kind, specials, pieces, **more):
    # bpe() names the usual special tokens; here others play their roles.
    made = family.bpe(pieces, specials).backend_tokenizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token=specials[0], bos_token=specials[1], eos_token=specials[2])
    size = len(tokenizer.get_vocab())
    shape = {**family.SHAPE, "num_hidden_layers": 1, "vocab_size": size, **more}
    config = kind(**shape)
    family.save_model(name, config, {key: value * 2 for key, value in family.tuned(family.base_weights(config), f"tokens-{name}").items()})
    tokenizer.save_pretrained(family.MODELS / name)


def run_case(name, arguments, scratch):
    model, *flags = arguments
    out = scratch / name
    LoaderCache().loaders.clear()
    tokensurgeon.main([f"models/{model}", "models/donor", str(out), *flags], standalone_mode=False)
    tensors = {}
    for file in sorted(out.glob("*.safetensors")):
        tensors.update(load_file(file))
    golden = FOLDER / "golden" / name
    golden.mkdir(parents=True)
    kept = {key: value for key, value in tensors.items() if "embed_tokens" in key or "lm_head" in key}
    save_file(kept, golden / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(out / "config.json", golden / "config.json")
    write_json(golden / "flags.json", arguments)
    print(name, {key: list(value.shape) for key, value in kept.items()})


shutil.rmtree(FOLDER, ignore_errors=True)
family.MODELS.mkdir(parents=True)
os.environ["TOKENIZERS_PARALLELISM"] = "false"
make("model", LlamaConfig, ["<unk>", "<s>", "</s>"], PIECES, tie_word_embeddings=False)
make("tied", LlamaConfig, ["<unk>", "<s>", "</s>"], PIECES, tie_word_embeddings=True)
make("donor", LlamaConfig, ["<|x|>", "<|begin|>", "<|end|>"], PIECES[:12] + ["st", "ar", "ou", "ng", "al", "le", "ve"], hidden_size=16, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(FOLDER):
    for name, arguments in CASES.items():
        run_case(name, arguments, type(FOLDER)(scratch))
for file in FOLDER.rglob("*.safetensors"):
    file.chmod(0o644)
write_json(FOLDER / "provenance.json", provenance("tokens_goldens.py", ["mergekit", "torch", "transformers", "safetensors", "tokenizers"]))
