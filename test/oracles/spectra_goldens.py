"""Golden spectra and subspace measures, by numpy's SVD in float64.

Formulas: effective rank (Roy and Vetterli 2007), stable rank, subspace alignment ratio with the paper's rule for k (Marczak et al. 2025,
2502.04959), principal angles between the leading left directions. Needs numpy alone.

    python test/oracles/spectra_goldens.py > test/fixtures/oracles/spectra/golden.json
"""
import json
import numpy as np

DIRECTIONS = 3


def noise(seed, size):
    """The generator that the test has: numbers with eight binary digits, exact in float32."""
    state = (seed * 2654435761 + 1) % 2**32
    out = []
    for _ in range(size):
        state = (state * 1664525 + 1013904223) % 2**32
        out.append(np.floor(state / 2**32 * 256 + 0.5) / 256 - 0.5)
    return np.array(out)


def matrix(shape, seed, rank=None):
    if rank is None:
        return noise(seed, shape[0] * shape[1]).reshape(shape)
    return noise(seed, shape[0] * rank).reshape(shape[0], rank) @ noise(seed + 1, rank * shape[1]).reshape(rank, shape[1])


def spectrum(a):
    s = np.linalg.svd(a, compute_uv=False)
    s = s[s > 1e-7 * s[0]]
    p = s / s.sum()
    energy = (s**2).sum()
    k = next(k for k in range(1, len(s) + 1) if np.sqrt(max(0, energy - (s[:k] ** 2).sum())) <= 0.05 * np.sqrt(energy) or k == len(s))
    return {"values": s.tolist(), "effectiveRank": float(np.exp(-(p * np.log(p)).sum())), "stableRank": float(energy / s[0] ** 2), "spanningRank": k}


def alignment(a, b):
    u = np.linalg.svd(b)[0][:, : spectrum(b)["spanningRank"]]
    return float(np.linalg.norm(u @ u.T @ a) / np.linalg.norm(a))


def angles(a, b):
    def lead(x):
        return np.linalg.svd(x)[0][:, : min(DIRECTIONS, len(spectrum(x)["values"]))]

    cosines = np.linalg.svd(lead(a).T @ lead(b), compute_uv=False)
    return np.degrees(np.arccos(np.clip(cosines, 0, 1))).tolist()


CASES = [
    {"name": "wide", "shape": [6, 11]},
    {"name": "tall", "shape": [11, 6]},
    {"name": "square", "shape": [12, 12]},
    {"name": "rank 2", "shape": [10, 9], "rank": 2},
    {"name": "one row", "shape": [1, 8]},
    {"name": "one column", "shape": [8, 1]},
]

print(
    json.dumps(
        [
            {
                **case,
                "a": spectrum(a := matrix(case["shape"], 3, case.get("rank"))),
                "b": spectrum(b := matrix(case["shape"], 7, case.get("rank"))),
                "subspace": alignment(a, b),
                "subspaceReverse": alignment(b, a),
                "angles": angles(a, b),
            }
            for case in CASES
        ],
        indent=1,
    )
)
