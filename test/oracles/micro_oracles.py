"""Recomputes, in float64 and from the formulas alone, the small vectors that the tests of single methods use.

Prints one line per vector and says where a published value (the ones in EXPECTED) differs by more than its rounding.
With --mergekit the same inputs also go through mergekit itself, in float64.
"""

import sys
from itertools import combinations

import numpy as np

B = np.array([[0.50, -1.00, 0.25, 2.00], [1.50, 0.75, -0.50, -2.00]])
D1 = np.array([[0.10, -0.20, 0.30, -0.40], [0.50, 0.05, -0.15, 0.25]])
D2 = np.array([[-0.12, -0.18, 0.06, 0.44], [0.35, -0.07, 0.22, -0.01]])
W1, W2 = B + D1, B + D2
FUSED = B + np.array([[0.10, -0.20, 0.30, -0.40], [2.00, 0.05, -0.15, 0.25]])


def norm(x):
    return np.sqrt((x * x).sum())


def linear(inputs, weights, normalize=True):
    total = sum(w * x for w, x in zip(weights, inputs))
    return total / sum(weights) if normalize else total


def slerp(t, a, b):
    cosine = (a * b).sum() / (norm(a) * norm(b))
    if abs(cosine) > 0.9995:
        return (1 - t) * a + t * b
    angle = np.arccos(cosine)
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def arc(t, x, y):
    """NuSLERP's interpolation of two vectors: no shortcut near parallel."""
    angle = np.arccos(np.clip((x * y).sum() / (norm(x) * norm(y)), -1, 1))
    return (np.sin((1 - t) * angle) * x + np.sin(t * angle) * y) / np.sin(angle)


def nuslerp(w1, w2, vectors):
    """`vectors`: 'all' the tensor as one, 'rows' or 'columns' each on its own; deltas from the base."""
    t = w2 / (w1 + w2)
    if vectors == "all":
        return B + arc(t, D1, D2)
    if vectors == "rows":
        return B + np.stack([arc(t, D1[i], D2[i]) for i in range(2)])
    return B + np.stack([arc(t, D1[:, j], D2[:, j]) for j in range(4)], axis=1)


def multislerp(inputs, weights, base=0.0):
    """Direction of the weighted sum of unit vectors, length the weighted mean length: the tangent step adds nothing."""
    weights = np.array(weights) / sum(weights)
    inputs = [x - base for x in inputs]
    mean = sum(w * x / norm(x) for w, x in zip(weights, inputs))
    return base + mean / norm(mean) * sum(w * norm(x) for w, x in zip(weights, inputs))


def karcher(inputs, rounds=10, tol=1e-5):
    units = [x / norm(x) for x in inputs]
    mean = sum(units) / len(units)
    mean = mean / norm(mean)
    for _ in range(rounds):
        tangent = np.zeros_like(mean)
        for unit in units:
            cosine = np.clip((unit * mean).sum(), -1, 1)
            angle = np.arccos(cosine)
            if angle >= tol:
                tangent += angle / np.sin(angle) * (unit - cosine * mean) / len(units)
        length = norm(tangent)
        if length < tol:
            break
        mean = np.cos(length) * mean + np.sin(length) * tangent / length
        mean = mean / norm(mean)
    return mean * sum(norm(x) for x in inputs) / len(inputs)


def keep_ranks(d, first, last):
    """Keeps the elements whose rank by magnitude, smallest first, is in [first, last)."""
    ranks = np.argsort(np.argsort(np.abs(d).ravel(), kind="stable"), kind="stable").reshape(d.shape)
    return d * ((ranks >= first) & (ranks < last))


def trim(d, density):
    return keep_ranks(d, d.size - int(density * d.size), d.size)


def trim_outliers(d, density, gamma):
    """Old rule (0.1.4): the top slice ends at N - top; gamma 0 in effect keeps nothing."""
    target, top = int(density * d.size), int(gamma * d.size)
    bottom = d.size - target - top
    if bottom < 0:
        top, bottom = top + bottom, 0
    return keep_ranks(d, bottom, d.size - top) if top else np.zeros_like(d)


def rescaled(sparse, dense):
    return sparse * (np.abs(dense).sum() / np.abs(sparse).sum())


def task_arithmetic(deltas, weights, normalize=False, factor=1.0):
    total = sum(w * d for w, d in zip(weights, deltas))
    return B + factor * (total / sum(weights) if normalize else total)


def ties(deltas, weights, normalize=True):
    v = np.stack([w * d for w, d in zip(weights, deltas)])
    sign = np.where(v.sum(0) >= 0, 1, -1)
    mask = np.sign(v) == sign
    share = sum(w * m for w, m in zip(weights, mask))
    total = (v * mask).sum(0)
    return B + (total / np.where(share == 0, 1, share) if normalize else total)


def sce(topk=1.0):
    deltas = np.stack([D1, D2])
    if topk < 1:
        variance = deltas.var(axis=0)
        keep = np.zeros(8)
        keep[np.argsort(-variance.ravel())[: int(np.count_nonzero(variance) * topk)]] = 1
        deltas = deltas * keep.reshape(B.shape)
    mask = np.sign(deltas) == np.where(deltas.sum(0) >= 0, 1, -1)
    weight = (deltas**2).mean(axis=(1, 2))
    weight = (weight / weight.sum())[:, None, None] * mask
    return B + (deltas * weight).sum(0) / np.maximum(weight.sum(0), 1e-6)


def model_stock_t(deltas):
    n = len(deltas)
    cosine = np.mean([(a * b).sum() / max(norm(a) * norm(b), 1e-6) for a, b in combinations(deltas, 2)])
    return n * cosine / (1 + (n - 1) * cosine)


def model_stock(filter_wise=False):
    t = np.array([[model_stock_t([D1[i], D2[i]])] for i in range(2)]) if filter_wise else model_stock_t([D1, D2])
    return t * (W1 + W2) / 2 + (1 - t) * B


def nearswap(t):
    k = np.clip(t / np.maximum(np.abs(D1), 1e-6), 0, 1)
    return k * W1 + (1 - k) * B


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def arcee_fusion():
    p, q = softmax(FUSED) + 1e-8, softmax(B) + 1e-8
    importance = np.abs(FUSED - B) * (p * np.log(p / q)).sum(-1, keepdims=True)
    ordered = np.sort(importance.ravel())
    q1, median, q3 = (ordered[int(z * 7)] for z in (0.25, 0.5, 0.75))
    return np.where(importance >= median + 1.5 * (q3 - q1), FUSED, B)


def ram(epsilon, r=0.0, alpha=0.0):
    deltas = np.stack([D1, D2])
    active = np.abs(deltas) > epsilon
    count = active.sum(0)
    shared, unique = (active & (count > 1)).sum((1, 2)), (active & (count == 1)).sum((1, 2))
    factor = 1 + r * np.clip(shared / np.maximum(unique, epsilon), 0, alpha)
    z = deltas * active
    return B + (z * (count == 1) * factor[:, None, None]).sum(0) + np.where(count > 1, z.sum(0) / np.maximum(count, 1), 0)


def della_probabilities(d, density, epsilon):
    ranks = np.argsort(np.argsort(np.abs(d), axis=1), axis=1)
    return density - epsilon + 2 * epsilon * ranks / (d.shape[1] - 1)


VECTORS = {
    "linear w .6/.4": (linear([W1, W2], [0.6, 0.4]), "0.512 -1.192 0.454 1.936 | 1.94 0.752 -0.502 -1.854"),
    "linear w .6/.6 normalize false": (linear([W1, W2], [0.6, 0.6], False), "0.588 -1.428 0.516 2.424 | 2.31 0.888 -0.558 -2.256"),
    "slerp base=W1 other=W2 t=.35": (slerp(0.35, W1, W2), "0.526736 -1.201883 0.469296 1.908755 | 1.961914 0.763564 -0.524106 -1.854926"),
    "nuslerp base=B w .6/.4": (nuslerp(0.6, 0.4, "all"), "0.510381 -1.267108 0.52749 1.935014 | 2.109117 0.749325 -0.49211 -1.803951"),
    "nuslerp flatten=false": (nuslerp(0.6, 0.4, "rows"), "0.506909 -1.372395 0.629303 1.938215 | 1.994787 0.751197 -0.498994 -1.837674"),
    "nuslerp flatten=false row_wise": (nuslerp(0.6, 0.4, "columns"), "0.511903 -1.201031 0.556784 1.960785 | 1.95479 0.75171 -0.487734 -1.527301"),
    "multislerp w .6/.4": (multislerp([W1, W2], [0.6, 0.4]), "0.522473 -1.204684 0.464354 1.935864 | 1.963435 0.762554 -0.515935 -1.866809"),
    "multislerp base=B w .6/.4": (multislerp([W1, W2], [0.6, 0.4], B), "0.501096 -1.267146 0.518242 1.970382 | 2.104781 0.74424 -0.47641 -1.814315"),
    "karcher of W1,W2,B": (karcher([W1, W2, B]), "0.502091 -1.135613 0.37514 2.019325 | 1.797689 0.752942 -0.488107 -1.936691"),
    "task_arithmetic w .6/.4": (task_arithmetic([D1, D2], [0.6, 0.4]), "0.512 -1.192 0.454 1.936 | 1.94 0.752 -0.502 -1.854"),
    "task_arithmetic w 1/1 norm l=.5": (task_arithmetic([D1, D2], [1, 1], True, 0.5), "0.495 -1.095 0.34 2.01 | 1.7125 0.745 -0.4825 -1.94"),
    "ties density .5 w .6/.4": (ties([trim(D1, 0.5), trim(D2, 0.5)], [0.6, 0.4]), "0.5 -1.18 0.55 1.6 | 1.94 0.75 -0.28 -1.75"),
    "ties density 1 w 1/1": (ties([D1, D2], [1, 1]), "0.38 -1.19 0.43 2.44 | 1.925 0.68 -0.28 -1.75"),
    "ties density .5 w .6/.4 rescale": (
        ties([rescaled(trim(d, 0.5), d) for d in (D1, D2)], [0.6, 0.4]),
        "0.5 -1.219328 0.653448 1.462069 | 2.074037 0.75 -0.231933 -1.663793",
    ),
    "breadcrumbs density .5 gamma .125": (
        task_arithmetic([trim_outliers(d, 0.5, 0.125) for d in (D1, D2)], [0.6, 0.4]),
        "0.452 -1.192 0.43 1.76 | 1.64 0.75 -0.412 -1.85",
    ),
    "sce": (sce(), "0.38 -1.192058 0.454695 2.44 | 1.940434 0.68 -0.28 -1.75"),
    "sce select_topk .5": (sce(0.5), "0.5 -1 0.448454 2.44 | 1.5 0.75 -0.28 -1.75"),
    "model_stock": (model_stock(), "0.499923 -1.001463 0.251386 2.000154 | 1.503273 0.749923 -0.49973 -1.999076"),
    "model_stock filter_wise": (model_stock(True), "0.519626 -0.62711 -0.103264 1.960748 | 1.804489 0.742836 -0.474924 -1.914027"),
    "nearswap t=.1": (nearswap(0.1), "0.6 -1.1 0.35 1.9 | 1.6 0.8 -0.6 -1.9"),
    "arcee_fusion": (arcee_fusion(), "0.5 -1 0.25 2 | 3.5 0.75 -0.5 -1.75"),
    "ram epsilon .11": (ram(0.11), "0.38 -1.19 0.55 2.02 | 1.925 0.75 -0.465 -1.75"),
    "ramplus_tl eps .11 r .1 alpha .2": (ram(0.11, 0.1, 0.2), "0.3776 -1.19 0.556 2.02 | 1.925 0.75 -0.465 -1.745"),
    "ramplus_tl eps .11 r .5 alpha 1": (ram(0.11, 0.5, 1), "0.32 -1.19 0.7 2.02 | 1.925 0.75 -0.465 -1.625"),
    "della keep probabilities of d1": (della_probabilities(D1, 0.5, 0.2), ".3 .4333 .5667 .7 | .7 .3 .4333 .5667"),
}


def by_mergekit():
    """The same vectors from mergekit itself; name -> result."""
    import torch
    from mergekit.merge_methods.api import merge_tensors

    w1, w2, base, fused = (torch.tensor(x, dtype=torch.float64) for x in (W1, W2, B, FUSED))
    two, three = [w1, w2], [base, w1, w2]
    weights = {"weight": [0.6, 0.4]}
    half = {**weights, "density": 0.5}
    calls = {
        "linear w .6/.4": (two, "linear", weights, None),
        "linear w .6/.6 normalize false": (two, "linear", {"weight": 0.6, "normalize": False}, None),
        "slerp base=W1 other=W2 t=.35": (two, "slerp", {"t": 0.35}, 0),
        "nuslerp base=B w .6/.4": (three, "nuslerp", weights, 0),
        "nuslerp flatten=false": (three, "nuslerp", {**weights, "nuslerp_flatten": False}, 0),
        "nuslerp flatten=false row_wise": (three, "nuslerp", {**weights, "nuslerp_flatten": False, "nuslerp_row_wise": True}, 0),
        "multislerp w .6/.4": (two, "multislerp", weights, None),
        "multislerp base=B w .6/.4": (three, "multislerp", weights, 0),
        "karcher of W1,W2,B": ([w1, w2, base], "karcher", {}, None),
        "task_arithmetic w .6/.4": (three, "task_arithmetic", weights, 0),
        "task_arithmetic w 1/1 norm l=.5": (three, "task_arithmetic", {"weight": 1.0, "normalize": True, "lambda": 0.5}, 0),
        "ties density .5 w .6/.4": (three, "ties", half, 0),
        "ties density 1 w 1/1": (three, "ties", {"weight": 1.0}, 0),
        "ties density .5 w .6/.4 rescale": (three, "ties", {**half, "rescale": True}, 0),
        "breadcrumbs density .5 gamma .125": (three, "breadcrumbs", {**half, "gamma": 0.125}, 0),
        "sce": (three, "sce", {}, 0),
        "sce select_topk .5": (three, "sce", {"select_topk": 0.5}, 0),
        "model_stock": (three, "model_stock", {}, 0),
        "model_stock filter_wise": (three, "model_stock", {"filter_wise": True}, 0),
        "nearswap t=.1": ([base, w1], "nearswap", {"t": 0.1}, 0),
        "arcee_fusion": ([base, fused], "arcee_fusion", {}, 0),
        "ram epsilon .11": (three, "ram", {"epsilon": 0.11}, 0),
        "ramplus_tl eps .11 r .1 alpha .2": (three, "ramplus_tl", {"epsilon": 0.11}, 0),
        "ramplus_tl eps .11 r .5 alpha 1": (three, "ramplus_tl", {"epsilon": 0.11, "r": 0.5, "alpha": 1.0}, 0),
    }
    return {
        name: merge_tensors(tensors, method, parameters=parameters, base_index=base_index).numpy()
        for name, (tensors, method, parameters, base_index) in calls.items()
    }


def main():
    peer = by_mergekit() if "--mergekit" in sys.argv else {}
    wrong = 0
    for name, (value, published) in VECTORS.items():
        expected = np.array([[float(x) for x in row.split()] for row in published.split("|")])
        off = np.abs(value - expected).max()
        limit = 5.1e-5 if "della" in name else 5.1e-7
        wrong += off > limit
        print(f"{name:36} off by {off:.1e} {'WRONG' if off > limit else 'ok'}", end="")
        print(f"; mergekit differs by {np.abs(peer[name] - value).max():.1e}" if name in peer else "")
        if off > limit:
            print("   computed", np.round(value, 6).tolist())
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
