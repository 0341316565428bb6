"""Tiny random decoder models and their float32 logits by transformers, for the tests of our own forward pass.

Every parameter is random, biases and norm weights too, and large enough that attention is far from uniform:
a wrong rotation, mask, bias or head grouping moves the logits by much more than the tolerance.
"""

import json
import shutil

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from common import FIXTURES, numbers, provenance, write_compact_json, write_json

SHAPE = dict(
    vocab_size=64,
    hidden_size=16,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
)
ROPE_LLAMA3 = dict(
    rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)


def plain_rope(theta):
    return dict(rope_type="default", rope_theta=theta)


MODELS = {
    "llama-tiny": LlamaConfig(**SHAPE, rope_parameters=plain_rope(500.0), rms_norm_eps=1e-5, tie_word_embeddings=False),
    "llama-tied": LlamaConfig(**SHAPE, rope_parameters=plain_rope(700.0), tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "llama3-rope-tiny": LlamaConfig(**SHAPE, rope_parameters=ROPE_LLAMA3),
    "mistral-tiny": MistralConfig(**SHAPE, head_dim=8, sliding_window=4, rope_parameters=plain_rope(1000.0)),
    "qwen2-tiny": Qwen2Config(**SHAPE, rope_parameters=plain_rope(1e6), tie_word_embeddings=True, use_sliding_window=False),
    "gpt2-tiny": GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2),
}
# This folder's config.json is rewritten in the spelling of transformers 4: most published checkpoints have it.
OLD_SPELLING = "llama-tied"


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = name.endswith("weight") and parameter.dim() == 1
        parameter.data = 1 + 0.2 * noise if is_norm else 0.3 * noise


def respell(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    config["torch_dtype"] = config.pop("dtype")
    write_json(path, config)


def make(name, config, seed):
    folder = FIXTURES / name
    shutil.rmtree(folder, ignore_errors=True)
    model = AutoModelForCausalLM.from_config(config)
    randomise(model, seed)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name == OLD_SPELLING:
        respell(folder)
    # Read back, so that the logits belong to the files and not to what was in memory.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.randint(0, 64, (2, 12), generator=torch.Generator().manual_seed(100 + seed))
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    write_compact_json(
        folder / "logits.json",
        {
            "provenance": provenance("transformers_logits.py", ["torch", "transformers", "safetensors"], attention="eager"),
            "input_ids": ids.tolist(),
            "logits": numbers(logits),
        },
    )
    print(name, [float(logits.min()), float(logits.max()), float(logits.std())])


for seed, (name, config) in enumerate(MODELS.items()):
    make(name, config, seed)
