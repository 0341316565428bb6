"""A population of six small adapters, its space, an edit and a disentangled direction by numpy's SVD and pseudoinverse, as
weights2weights (arXiv 2406.09413) computes them; independent of this project's code."""

import json

import numpy as np

rng = np.random.default_rng(11)
shapes = {"a": (2, 5), "b": (4, 2)}
members = [{name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(6)]
for member in members:
    member["a"][0, 0] = np.float32(0.25)  # the same everywhere: no deviation
labels = [1, 1, -1, 1, -1, -1]
others = [1, -1, 1, -1, 1, -1]

rows = np.stack([np.concatenate([member[name].ravel() for name in sorted(shapes)]) for member in members]).astype(np.float64)
mean, std = rows.mean(0), rows.std(0, ddof=1)
z = np.divide(rows - mean, std, out=np.zeros_like(rows), where=std > 1e-12)
u, s, vt = np.linalg.svd(z, full_matrices=False)
u, s, vt = u[:, :5], s[:5], vt[:5]
signs = np.sign(u[np.abs(u).argmax(0), range(5)])
u, vt = u * signs, vt * signs[:, None]
points = u * s
direction = np.linalg.pinv(points) @ np.array(labels)
away = np.linalg.pinv(points) @ np.array(others)
clean = direction - (direction @ away) / (away @ away) * away
unit, unit_clean = (d / np.linalg.norm(d) for d in (direction, clean))
spread = np.std(points @ unit, ddof=1)
edited = ((points[2] + 1.5 * spread * unit) @ vt) * std + mean
first_two = (points[3][:2] @ vt[:2]) * std + mean

print(json.dumps({
    "members": [{name: tensor.ravel().tolist() for name, tensor in member.items()} for member in members],
    "shapes": shapes, "labels": labels, "others": others,
    "singular": s.tolist(), "explained": (s**2 / (z**2).sum()).tolist(), "points": points.tolist(),
    "direction": unit.tolist(), "spread": spread, "clean": unit_clean.tolist(),
    "edited": edited.tolist(), "first_two": first_two.tolist(),
}))
