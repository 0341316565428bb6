"""Tokens per second of LoRA steps by torch and PEFT: forward, backward, clipping, AdamW. Arguments: config.json and settings as JSON. Loss and time of each step on stdout."""

import json
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

config, settings = json.loads(sys.argv[1]), json.loads(sys.argv[2])
torch.set_num_threads(settings["threads"])
torch.manual_seed(0)
device = settings.get("device", "cpu")
model = LlamaForCausalLM(LlamaConfig(**{key: value for key, value in config.items() if key not in ("architectures", "dtype", "torch_dtype")}))
model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=settings["r"], lora_alpha=2 * settings["r"], target_modules=settings["targets"])).to(device)
parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-3)
ids = torch.randint(4, config["vocab_size"], (settings["batch"], settings["seq"] + 1)).to(device)
times, busy = [], []
for _ in range(settings["steps"]):
    start, start_busy = time.perf_counter(), time.process_time()
    logits = model(input_ids=ids[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if device == "cuda":
        torch.cuda.synchronize()
    times.append(time.perf_counter() - start)
    busy.append(time.process_time() - start_busy)
print(json.dumps({"seconds": min(times[1:]), "cpuSeconds": min(busy[1:])}))
