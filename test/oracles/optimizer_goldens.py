"""Optimisers' steps by their authors' code: AdamW (torch), Lion (lion-pytorch), 8-bit AdamW (bitsandbytes), GaLore (galore-torch), APOLLO
(apollo-torch); FRUGAL and MeZO by their papers' formulas in float64. Parameters and gradients are drawn as the tests draw them, and so is
what our rules draw, so that only the steps are compared.

    pip install --no-deps bitsandbytes galore-torch apollo-torch lion-pytorch
"""

import math

import apollo_torch
import apollo_torch.random_projector
import bitsandbytes
import bitsandbytes.backends.cpu.ops
import galore_torch
import lion_pytorch
import numpy as np
import torch
from bitsandbytes.functional import create_dynamic_map
from common import FIXTURES, provenance, write_json
from safetensors.torch import save_file

OUT = FIXTURES / "optimizers"
STEPS = 6
# Gradients grow and shrink, so that what limits growth has something to do.
SIZES = [1, 2, 0.5, 3, 1, 1]
LR = 0.01
SEED = 7
MASK = 2**64 - 1


def draw(seed, count):
    """test/helpers/tiny-decoder: a linear congruential generator, in [-1, 1)."""
    state, values = (seed * 2 + 1) & MASK, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        values.append((state >> 40) / 2**23 - 1)
    return np.array(values, dtype=np.float32)


def fnv(text, value):
    for character in text:
        value = ((value ^ ord(character)) * 0x01000193) & 0xFFFFFFFF
    return value


def philox(counter, key):
    """Philox 4x32-10 (Salmon et al. 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def uniforms(seed, stream, count):
    low, high = fnv(stream, 0x811C9DC5), fnv(stream, 0x9747B28C)
    words = [word for block in range(math.ceil(count / 4)) for word in philox([block, 0, low, high], [seed & 0xFFFFFFFF, seed >> 32])]
    return np.array(words[:count], dtype=np.float64) / 2**32


def normals(seed, stream, count):
    u = uniforms(seed, stream, 2 * count)
    return (np.sqrt(-2 * np.log(1 - u[0::2])) * np.cos(2 * np.pi * u[1::2])).astype(np.float32)


def permutation(seed, stream, count):
    order, u = list(range(count)), uniforms(seed, stream, count)
    for i in range(count - 1, 0, -1):
        j = int(u[i] * (i + 1))
        order[i], order[j] = order[j], order[i]
    return order


def start(shape):
    return draw(1, math.prod(shape)).reshape(shape)


def gradient(shape, step):
    return (draw(100 + step, math.prod(shape)) * np.float32(SIZES[step - 1])).reshape(shape)


def follow(make, shape):
    """The parameter after the first and the last step. `make` gives an optimiser for a parameter."""
    parameter = torch.nn.Parameter(torch.tensor(start(shape)))
    optimizer, seen = make(parameter), {}
    for step in range(1, STEPS + 1):
        parameter.grad = torch.tensor(gradient(shape, step))
        optimizer.step()
        if step in (1, STEPS):
            seen[str(step)] = parameter.detach().clone()
    return seen, optimizer.state[parameter]


def fixed_projection(shape, rank):
    """What apollo-torch draws for a gradient, replaced by what our rule draws."""
    rows = min(shape)
    values = torch.tensor(normals(SEED, "apollo/0/w", rank * rows).reshape(rank, rows))

    def randn(size, seed, device=None, dtype=None):
        return values if tuple(size) == (rank, rows) else values.T

    apollo_torch.random_projector.stable_randn = randn


def apollo(shape, rank, scale, scale_type):
    fixed_projection(shape, rank)
    group = {"rank": rank, "proj": "random", "scale_type": scale_type, "scale": scale, "update_proj_gap": 100, "proj_type": "std"}
    return follow(lambda p: apollo_torch.APOLLOAdamW([{"params": [p], **group}], lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0), shape)[0]


def nearest_codes(values, code, absmax_out, out, blocksize):
    """bitsandbytes' kernel for processors finds codes by a table, some not the nearest; that for GPUs takes the nearest, as the paper does."""
    blocks = values.reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    scaled = (blocks / absmax[:, None]).double().reshape(-1)
    low = (torch.searchsorted(code.double(), scaled, right=True) - 1).clamp(0, 254)
    up = scaled - code.double()[low] > code.double()[low + 1] - scaled
    out.copy_((low + up).to(torch.uint8).reshape(out.shape))
    absmax_out.copy_(absmax)


def galore(shape):
    group = {"rank": 5, "update_proj_gap": 100, "scale": 0.25, "proj_type": "std"}
    return follow(lambda p: galore_torch.GaLoreAdamW([{"params": [p], **group}], lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, no_deprecation_warning=True), shape)[0]


def frugal(shape, density, update_every, sign_rate):
    """Algorithm 1 of 2411.07837 with columns: AdamW on those chosen, its moments anew with each choice; the signs of the gradient elsewhere."""
    theta, seen = start(shape).astype(np.float64), {}
    width = math.ceil(shape[1] * density)
    for step in range(1, STEPS + 1):
        g, since = gradient(shape, step).astype(np.float64), (step - 1) % update_every
        if since == 0:
            columns = permutation(SEED, f"frugal/{(step - 1) // update_every}/w", shape[1])[:width]
            m, v = np.zeros((shape[0], width)), np.zeros((shape[0], width))
        m, v = 0.9 * m + 0.1 * g[:, columns], 0.999 * v + 0.001 * g[:, columns] ** 2
        update = sign_rate * np.sign(g)
        update[:, columns] = m / (1 - 0.9 ** (since + 1)) / (np.sqrt(v / (1 - 0.999 ** (since + 1))) + 1e-8)
        theta = theta * (1 - LR * 0.1) - LR * update
        if step in (1, STEPS):
            seen[str(step)] = torch.tensor(theta, dtype=torch.float32)
    return seen


def mezo(sparsity):
    """Algorithm 1 of 2305.17333 on sum (x - target)^2 / 2; of 2402.15751 for a share of the smallest values."""
    theta, target, epsilon, seen = start((40,)).astype(np.float64), draw(2, 40).astype(np.float64), 1e-2, {}
    for step in range(1, STEPS + 1):
        z = normals(SEED, f"mezo/{step}/w", 40).astype(np.float64)
        if sparsity > 0:
            threshold = np.sort(np.abs(theta))[math.ceil(40 * (1 - sparsity)) - 1]
            z = np.where(np.abs(theta) <= threshold, z, 0)
        loss = lambda x: np.sum((x - target) ** 2) / 2
        slope = (loss(theta + epsilon * z) - loss(theta - epsilon * z)) / (2 * epsilon)
        theta = theta - LR * slope * z
        if step in (1, STEPS):
            seen[str(step)] = torch.tensor(theta, dtype=torch.float32)
    return seen


def main():
    wide, tall, square = (12, 20), (20, 12), (12, 12)
    adam = {"lr": LR, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
    bitsandbytes.backends.cpu.ops._quant_blockwise_fp32_direct = nearest_codes
    eight, state = follow(lambda p: bitsandbytes.optim.AdamW8bit([p], **adam), (64, 64))
    cases = {
        "adamw": follow(lambda p: torch.optim.AdamW([p], **adam), wide)[0],
        "lion": follow(lambda p: lion_pytorch.Lion([p], lr=LR, betas=(0.9, 0.99), weight_decay=0.1), wide)[0],
        "adamw_8bit": eight,
        "galore-wide": galore(wide),
        "galore-tall": galore(tall),
        "apollo-channel-wide": apollo(wide, 4, 1, "channel"),
        "apollo-channel-tall": apollo(tall, 4, 1, "channel"),
        "apollo-channel-square": apollo(square, 4, 1, "channel"),
        "apollo-tensor": apollo(wide, 1, 128, "tensor"),
        "frugal": frugal(wide, 0.25, 4, 0.5),
        "mezo": mezo(0),
        "mezo-sparse": mezo(0.75),
    }
    tensors = {f"{name}/{step}": value.contiguous() for name, seen in cases.items() for step, value in seen.items()}
    codes = {"map/signed": create_dynamic_map(True), "map/unsigned": create_dynamic_map(False), "adamw_8bit/m": state["state1"], "adamw_8bit/v": state["state2"]}
    OUT.mkdir(parents=True, exist_ok=True)
    save_file({**tensors, **codes}, OUT / "steps.safetensors")
    packages = ["torch", "bitsandbytes", "galore-torch", "apollo-torch", "lion-pytorch", "numpy"]
    write_json(OUT / "provenance.json", provenance("optimizer_goldens.py", packages))


main()
