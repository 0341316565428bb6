"""Seconds of LoRA steps by torch: forward, backward, clipping, AdamW. Arguments: config.json and settings as JSON. One line of JSON on stdout.

With transformers and PEFT where they are, else by the same model written out here, in eager mode all the same."""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

config, settings = json.loads(sys.argv[1]), json.loads(sys.argv[2])
torch.set_num_threads(settings["threads"])
torch.manual_seed(0)
device = settings.get("device", "cpu")


def with_peft():
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**{key: value for key, value in config.items() if key not in ("architectures", "dtype", "torch_dtype")}))
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=settings["r"], lora_alpha=2 * settings["r"], target_modules=settings["targets"]))
    return model.to(device), lambda ids: model(input_ids=ids).logits


class Lora(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * 0.02, requires_grad=False)
        self.a = nn.Parameter(torch.randn(settings["r"], inputs) * 0.02)
        self.b = nn.Parameter(torch.zeros(outputs, settings["r"]))

    def forward(self, x):
        return F.linear(x, self.weight) + 2 * F.linear(F.linear(x, self.a), self.b)


class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size), requires_grad=False)

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        size, inner, self.heads, self.width = (config[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads", "head_dim"))
        wide, keys = self.heads * self.width, config["num_key_value_heads"] * self.width
        self.q, self.k, self.v, self.o = Lora(size, wide), Lora(size, keys), Lora(size, keys), Lora(wide, size)
        self.gate, self.up, self.down = Lora(size, inner), Lora(size, inner), Lora(inner, size)
        self.before, self.after = Norm(size), Norm(size)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        y = self.before(x)
        q, k, v = (p(y).view(batch, length, -1, self.width).transpose(1, 2) for p in (self.q, self.k, self.v))
        q, k = (t * cos + torch.cat((-t[..., self.width // 2 :], t[..., : self.width // 2]), -1) * sin for t in (q, k))
        k, v = (t.repeat_interleave(self.heads // t.shape[1], 1) for t in (k, v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, -1))
        y = self.after(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(config["vocab_size"], config["hidden_size"]) * 0.02, requires_grad=False)
        self.layers = nn.ModuleList(Layer() for _ in range(config["num_hidden_layers"]))
        self.norm = Norm(config["hidden_size"])
        half = config["head_dim"] // 2
        angles = torch.outer(torch.arange(settings["seq"]).float(), config["rope_theta"] ** (-torch.arange(half).float() / half)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids):
        x = F.embedding(ids, self.embedding)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return F.linear(self.norm(x), self.embedding)


def written_out():
    model = Llama().to(device)
    return model, model


try:
    (model, forward), peer = with_peft(), "torch + PEFT"
except ImportError:
    (model, forward), peer = written_out(), "torch eager"
parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-3)
ids = torch.randint(4, config["vocab_size"], (settings["batch"], settings["seq"] + 1)).to(device)
times, busy = [], []
for _ in range(settings["steps"]):
    start, start_busy = time.perf_counter(), time.process_time()
    logits = forward(ids[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if device == "cuda":
        torch.cuda.synchronize()
    times.append(time.perf_counter() - start)
    busy.append(time.process_time() - start_busy)
print(json.dumps({"seconds": min(times[1:]), "cpuSeconds": min(busy[1:]), "peer": peer}))
