"""Golden results of the conflict-aware and subspace methods, by the authors' formulas in float64 numpy.

Written from the papers and the released code, independently of the program. Writes test/fixtures/oracles/subspace/golden.json:
    python test/oracles/subspace_goldens.py
"""

import json
import pathlib

import numpy as np

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "oracles" / "subspace" / "golden.json"


def polar(m):
    u, _, vt = np.linalg.svd(m, full_matrices=False)
    return u @ vt


def iso_c(taus):
    u, s, vt = np.linalg.svd(sum(taus), full_matrices=False)
    return s.mean() * u @ vt


def iso_cts(taus, fraction):
    m, n = taus[0].shape
    r, count = min(m, n), len(taus)
    task = round((r - int(r * fraction)) / count) * count
    k, p = r - task, task // count
    u, s, vt = np.linalg.svd(sum(taus), full_matrices=False)
    us, ss, vs = [], [], []
    for tau in taus:
        rest = tau - u[:, :k] @ u[:, :k].T @ tau
        ut, st, vtt = np.linalg.svd(rest, full_matrices=False)
        us.append(ut[:, :p])
        ss.append(st[:p])
        vs.append(vtt[:p])
    us.append(u[:, :k])
    ss.append(s[:k])
    vs.append(vt[:k])
    return np.concatenate(ss).mean() * polar(np.concatenate(us, 1)) @ polar(np.concatenate(vs, 0))


def tsv_m(taus):
    m, n = taus[0].shape
    r, count = min(m, n), len(taus)
    k = r // count
    u, s, v = np.zeros((m, r)), np.zeros(r), np.zeros((r, n))
    for i, tau in enumerate(taus):
        ut, st, vt = np.linalg.svd(tau, full_matrices=False)
        u[:, i * k : (i + 1) * k], s[i * k : (i + 1) * k], v[i * k : (i + 1) * k] = ut[:, :k], st[:k], vt[:k]
    return polar(u) @ np.diag(s) @ polar(v)


def trim(x, density):
    keep = max(1, int(density * x.size))
    order = np.argsort(-np.abs(x).ravel(), kind="stable")
    mask = np.zeros(x.size, bool)
    mask[order[:keep]] = True
    return np.where(mask.reshape(x.shape), x, 0)


def knots(taus, density, elect):
    n = taus[0].shape[1]
    u, s, vt = np.linalg.svd(np.concatenate(taus, 1), full_matrices=False)
    rank = (s > 1e-5).sum()
    parts = [trim(s[:rank, None] * vt[:rank, t * n : (t + 1) * n], density) for t in range(len(taus))]
    stack = np.stack(parts)
    if not elect:
        return u[:, :rank] @ stack.sum(0)
    sign = np.where(stack.sum(0) >= 0, 1, -1)
    agree = np.sign(stack) == sign
    return u[:, :rank] @ ((stack * agree).sum(0) / np.maximum(agree.sum(0), 1))


def wudi(taus, steps, rate):
    m = sum(taus)
    first, second = np.zeros_like(m), np.zeros_like(m)
    for step in range(1, steps + 1):
        gradient = sum(2 * (m - t) @ t.T @ t / (t**2).sum() for t in taus)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        m = m - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return m


def norm01(x):
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    return (x - low) / (high - low)


def pcb(taus, ratio, quantile, variant, weight):
    x = np.stack([t.ravel() for t in taus])
    count, size = x.shape
    ordered = np.sort(np.abs(x), 1)
    low = ordered[:, int(size * quantile)][:, None]
    high = ordered[:, int(size * (1 - quantile)) - 1][:, None]
    a = np.clip(np.abs(x), low, high)
    c, n = np.sign(x) * a, norm01(a)
    s = np.sign(x) * n
    intra = np.exp(count * n**2)
    if variant == 1:
        inter = np.tanh(x * x.sum(0))
    elif variant == 2:
        inter = np.tanh(x * s.sum(0))
    else:
        inter = np.tanh(s[:, None] * s[None]).sum(1)
    b = intra * inter
    floor = np.sort(b, 1)[:, int(size * (1 - ratio))][:, None]
    scale = norm01(np.maximum(b, floor))
    weights = np.reshape(weight, (-1, 1))
    return ((weights * c * scale).sum(0) / np.maximum(scale.sum(0), 1e-12)).reshape(taus[0].shape)


def cabs(taus, n, m):
    size = taus[0].size
    available = np.ones(size, bool)
    total = np.zeros(size)
    for tau in taus:
        x = tau.ravel()
        mask = np.zeros(size, bool)
        for start in range(0, size, m):
            block = range(start, min(size, start + m))
            keep = -(-n * len(block) // m)
            order = sorted(block, key=lambda i: (not available[i], -abs(x[i]), i))
            mask[order[:keep]] = True
        total += x * mask
        available &= ~mask
    return total.reshape(taus[0].shape)


def cases():
    rng = np.random.default_rng(20260101)
    random = lambda m, n: rng.normal(size=(m, n)).astype(np.float32).astype(np.float64)
    yield "square", [random(12, 12) for _ in range(3)]
    yield "wide", [random(8, 20) for _ in range(2)]
    yield "tall", [random(21, 9) for _ in range(3)]
    yield "low rank", [(random(10, 2) @ random(2, 14)).astype(np.float32).astype(np.float64) for _ in range(2)]


def main():
    golden = []
    for name, taus in cases():
        deficient = name == "low rank"
        results = [
            {"method": "knots", "parameters": {"alpha": 1, "elect": 1}, "model": {"density": 0.3}, "merged": knots(taus, 0.3, True)},
            {"method": "knots", "parameters": {"alpha": 1, "elect": 0}, "model": {"density": 0.3}, "merged": knots(taus, 0.3, False)},
            {"method": "wudi", "parameters": {"iterations": 40, "learning_rate": 0.01}, "merged": wudi(taus, 40, 0.01)},
            {"method": "cabs", "parameters": {"n": 2, "m": 8}, "merged": cabs(taus, 2, 8)},
            {"method": "cabs", "parameters": {"n": 5, "m": 7}, "merged": cabs(taus, 5, 7)},
        ]
        for variant in (1, 2, 3):
            merged = pcb(taus, 0.2, 0.05, variant, 1.2)
            results.append({"method": "pcb", "parameters": {"ratio": 0.2, "quantile": 0.05, "variant": variant}, "merged": merged})
        # Of differences of lower rank the authors' results depend on their SVD's choice of a basis for the null space.
        if not deficient:
            results.append({"method": "tsv_m", "parameters": {}, "merged": tsv_m(taus)})
            results.append({"method": "iso_c", "parameters": {}, "merged": iso_c(taus)})
            for fraction in (0.5, 0.8):
                results.append({"method": "iso_cts", "parameters": {"common": fraction}, "merged": iso_cts(taus, fraction)})
        for result in results:
            result["merged"] = [float(f"{x:.9g}") for x in result["merged"].ravel()]
        golden.append({"name": name, "shape": list(taus[0].shape), "differences": [[float(np.float32(x)) for x in t.ravel()] for t in taus], "results": results})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    provenance = {"script": "test/oracles/subspace_goldens.py", "numpy": np.__version__, "arithmetic": "float64"}
    OUT.write_text(json.dumps({"provenance": provenance, "cases": golden}) + "\n")


if __name__ == "__main__":
    main()
