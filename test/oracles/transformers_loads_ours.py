"""Loads a model folder written by Weightsmith with the real transformers and compares what both compute.

    python transformers_loads_ours.py MODEL --logits LOGITS.json
    python transformers_loads_ours.py MODEL --data DATA.jsonl --eval EVAL.json

LOGITS.json holds {"input_ids": [[...]], "logits": [[[...]]]} from our forward pass; EVAL.json is the output of
`weightsmith eval MODEL --data DATA.jsonl --json`, whose mean loss over completion tokens is computed again here.
Strict about loading: a tensor that is missing, unexpected or of another shape is a failure. Exits 1 on a difference.
"""

import argparse
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)


def load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    problems = {key: value for key, value in info.items() if value}
    if problems:
        print("transformers does not load it cleanly:", problems)
        sys.exit(1)
    print("loads cleanly:", type(model).__name__, sum(p.numel() for p in model.parameters()), "parameters")
    return model.eval()


def logits_difference(model, path):
    golden = json.load(open(path))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(golden["input_ids"])).logits
    return float((logits - torch.tensor(golden["logits"])).abs().max())


def completion_loss(model, tokenizer, path):
    """Mean negative log-likelihood per completion token over the whole file, and the number of those tokens."""
    total, count = 0.0, 0
    for line in open(path):
        if not line.strip():
            continue
        row = json.loads(line)
        prompt = tokenizer(row["prompt"], add_special_tokens=True)["input_ids"]
        whole = tokenizer(row["prompt"] + row["completion"], add_special_tokens=True)["input_ids"]
        # Prompt and completion are one text, unless the tokenizer would join them across the border.
        joined = whole[: len(prompt)] != prompt
        completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"] if joined else whole[len(prompt) :]
        completion.append(tokenizer.eos_token_id)
        ids = torch.tensor([prompt + completion])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        total += float(torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :], reduction="sum"))
        count += len(completion)
    return total / count, count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--logits")
    parser.add_argument("--data")
    parser.add_argument("--eval")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    model = load(args.model)
    worst = 0.0
    if args.logits:
        worst = logits_difference(model, args.logits)
        print(f"largest difference of a logit {worst:.2e}")
    if args.data:
        theirs, tokens = completion_loss(model, AutoTokenizer.from_pretrained(args.model), args.data)
        ours = json.load(open(args.eval))["loss"]
        worst = max(worst, abs(theirs - ours))
        print(f"loss {ours:.6f} here, {theirs:.6f} by transformers over {tokens} tokens")
    return int(worst > args.tolerance)


if __name__ == "__main__":
    sys.exit(main())
