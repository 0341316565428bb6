"""Fused operations by torch: layer norm, GELU by its tanh form, and a linear layer with a low-rank change; values and gradients of a weighted sum."""

import torch
from common import FIXTURES, numbers, provenance, write_compact_json

OUT = FIXTURES / "nn" / "golden.json"


def case(function, *inputs):
    """Inputs, weights of the sum, value, and gradients of the inputs."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    value = function(*leaves)
    weights = torch.randn(value.shape)
    (value * weights).sum().backward()
    return {name: [numbers(tensor) for tensor in tensors] for name, tensors in {
        "inputs": inputs, "weights": [weights], "value": [value], "gradients": [leaf.grad for leaf in leaves],
    }.items()}


def main():
    torch.manual_seed(1)
    x, weight, bias = torch.randn(6, 13) * 3 + 1, torch.randn(13), torch.randn(13)
    layer, a, b = torch.randn(9, 13), torch.randn(2, 13), torch.randn(9, 2)
    functional = torch.nn.functional
    cases = {
        "layerNorm": case(lambda x, w, b: functional.layer_norm(x, (13,), w, b, 1e-5), x, weight, bias),
        "gelu": case(lambda x: functional.gelu(x, approximate="tanh"), x * 1.5),
        "loraLinear": case(lambda x, w, a, b: functional.linear(x, w) + 0.75 * functional.linear(functional.linear(x, a), b), x, layer, a, b),
    }
    write_compact_json(OUT, {"provenance": provenance("nn_goldens.py", ["torch"]), **cases})


main()
