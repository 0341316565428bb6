"""Seconds of merges' matrix work by torch, float32, as the methods' authors write it. Arguments: device, models, sides.

One line of JSON for each side: a product of matrices that are on the device, then Iso-C and TSV-M of differences in the processor's memory,
the way there and back included."""

import json
import sys
import time

import torch

device, models, sides = sys.argv[1], int(sys.argv[2]), [int(side) for side in sys.argv[3:]]
wait = torch.cuda.synchronize if device == "cuda" else lambda: None


def least(work, runs=3, enough=20.0):
    best, total = float("inf"), 0.0
    for run in range(runs + 1):
        wait()
        start = time.perf_counter()
        work()
        wait()
        seconds = time.perf_counter() - start
        # The first run warms up, unless it takes so long that this is no part of it.
        if run > 0 or seconds > enough:
            best = min(best, seconds)
        total += seconds
        if total > enough:
            break
    return best if best < float("inf") else seconds


def iso(deltas):
    u, s, v = torch.linalg.svd(sum(delta.to(device) for delta in deltas), full_matrices=False)
    return (s.mean() * (u @ v)).cpu()


def tsv(deltas):
    share = min(deltas[0].shape) // len(deltas)
    found = [torch.linalg.svd(delta.to(device), full_matrices=False) for delta in deltas]
    left = torch.cat([u[:, :share] for u, _, _ in found], 1)
    values = torch.cat([s[:share] for _, s, _ in found])
    right = torch.cat([v[:share] for _, _, v in found])
    (ul, _, vl), (ur, _, vr) = (torch.linalg.svd(x, full_matrices=False) for x in (left, right))
    return torch.linalg.multi_dot((ul, vl, torch.diag(values), ur, vr)).cpu()


print(json.dumps({"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "torch": torch.__version__}), flush=True)
for side in sides:
    torch.manual_seed(0)
    deltas = [torch.rand(side, side) - 0.5 for _ in range(models)]
    on_device = deltas[0].to(device)
    figures = {"side": side, "product": least(lambda: on_device @ on_device, 10)}
    figures["iso"] = least(lambda: iso(deltas))
    figures["tsv"] = least(lambda: tsv(deltas))
    print(json.dumps(figures), flush=True)
