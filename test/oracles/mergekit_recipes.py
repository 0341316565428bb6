"""The recipes whose results are stored: name -> (recipe, options of mergekit's command line that it needs)."""

RECIPES = {}


def add(name, recipe, **options):
    assert name not in RECIPES, name
    RECIPES[name] = (recipe, options)


def model(name, **parameters):
    entry = {"model": f"models/{name}"}
    if parameters:
        entry["parameters"] = parameters
    return entry


def source(name, first, last, **parameters):
    return {**model(name, **parameters), "layer_range": [first, last]}


def method(name, models, base=None, **more):
    recipe = {"merge_method": name}
    if base is not None:
        recipe["base_model"] = f"models/{base}"
    return {**recipe, "models": models, **more}


def weighted(*weights, suffix=""):
    return [model(name + suffix, weight=weight) for name, weight in zip("abc", weights)]


def plain(*names):
    return [model(name) for name in names]


# linear: weights, normalisation, gradients, filters, precedence, dtypes
add("linear-two", method("linear", weighted(0.6, 0.4)))
add("linear-three", method("linear", weighted(0.5, 0.3, 0.2)))
add("linear-unnormalised", method("linear", weighted(0.6, 0.6), parameters={"normalize": False}))
add("linear-negative", method("linear", weighted(1.5, -0.5, 0.25)))
add("linear-single", method("linear", weighted(0.3)))
add("linear-base-listed", method("linear", [model("base", weight=1.0), *weighted(0.5, 0.25)], base="base"))
add("linear-gradient", method("linear", weighted([0, 1], [1, 0.5, 0.25])))
add(
    "linear-filters",
    method(
        "linear",
        [
            model("a", weight=[{"filter": "self_attn", "value": [0.2, 0.8]}, {"filter": "mlp", "value": 0.7}, {"value": 0.4}]),
            model("b", weight=[{"filter": "down_proj", "value": 0}, {"filter": "*", "value": 1}]),
        ],
    ),
)
add(
    "linear-precedence",
    {
        "merge_method": "linear",
        "slices": [
            {"sources": [source("a", 0, 1, weight=0.9), source("b", 0, 1)], "parameters": {"weight": 0.2}},
            {"sources": [source("a", 1, 3, weight=[{"filter": "mlp", "value": 0.7}]), source("b", 1, 3)], "parameters": {"normalize": False}},
        ],
        "parameters": {"weight": 0.5},
    },
)
add("linear-bf16", method("linear", weighted(0.6, 0.4, suffix="-bf16")))
add("linear-bf16-negative", method("linear", weighted(1.3, -0.45, 0.3, suffix="-bf16")))
add("linear-f32-out-bf16", method("linear", weighted(0.6, 0.4, 0.3, suffix="-bf16"), dtype="float32", out_dtype="bfloat16"))
add("linear-f32-out-f16", method("linear", weighted(0.6, 0.4), dtype="float32", out_dtype="float16"))
add("linear-dtype-bf16-from-f32", method("linear", weighted(0.6, 0.4), dtype="bfloat16"))
add("linear-mixed-dtypes", method("linear", [model("a-bf16", weight=0.6), model("b", weight=0.4)]))
add("linear-f16-bf16", method("linear", [model("a-f16", weight=0.6), model("b-bf16", weight=0.4)]))
add("linear-modules", {"merge_method": "linear", "modules": {"default": {"models": weighted(0.6, 0.4), "parameters": {"normalize": False}}}})

# slerp and its relatives
add("slerp", method("slerp", plain("a", "b"), base="a", parameters={"t": 0.35}))
add("slerp-extrapolate", method("slerp", plain("base", "a"), base="base", parameters={"t": 1.2}))
add(
    "slerp-gradients",
    {
        "merge_method": "slerp",
        "base_model": "models/a",
        "slices": [{"sources": [source("a", 0, 3), source("b", 0, 3)]}],
        "parameters": {
            "t": [
                {"filter": "self_attn", "value": [0, 0.5, 0.3, 0.7, 1]},
                {"filter": "mlp", "value": [1, 0.5, 0.7, 0.3, 0]},
                {"value": 0.5},
            ]
        },
    },
)
add("slerp-bf16", method("slerp", plain("a-bf16", "b-bf16"), base="a-bf16", parameters={"t": 0.35}, dtype="bfloat16"))
add("slerp-f32-out-bf16", method("slerp", plain("a-bf16", "b-bf16"), base="a-bf16", parameters={"t": 0.35}, dtype="float32", out_dtype="bfloat16"))
add("nuslerp", method("nuslerp", weighted(0.6, 0.4)))
add("nuslerp-base", method("nuslerp", weighted(0.6, 0.4), base="base"))
add("nuslerp-rows", method("nuslerp", weighted(0.6, 0.4), parameters={"nuslerp_flatten": False}))
add("nuslerp-columns-base", method("nuslerp", weighted(0.6, 0.4), base="base", parameters={"nuslerp_flatten": False, "nuslerp_row_wise": True}))
add("nuslerp-zero-sum", method("nuslerp", weighted(0.5, -0.5)))
add("multislerp", method("multislerp", weighted(0.5, 0.3, 0.2)))
add("multislerp-base", method("multislerp", weighted(0.6, 0.4), base="base"))
add("multislerp-unnormalised", method("multislerp", weighted(0.6, 0.6), parameters={"normalize_weights": False}))
add("karcher", method("karcher", plain("a", "b", "c")))
add("karcher-base-listed", method("karcher", plain("base", "a", "b"), parameters={"max_iter": 3, "tol": 1e-4}))

# generalised task arithmetic
add("task-arithmetic", method("task_arithmetic", weighted(0.6, 0.4), base="base"))
add("task-arithmetic-three", method("task_arithmetic", weighted(0.5, 0.3, 0.7), base="base"))
add("task-arithmetic-normalised-lambda", method("task_arithmetic", weighted(1, 1), base="base", parameters={"normalize": True, "lambda": 0.5}))
add("task-arithmetic-negative", method("task_arithmetic", weighted(1, -0.7), base="base"))
add("task-arithmetic-lambda-gradient", method("task_arithmetic", weighted(0.6, 0.4), base="base", parameters={"lambda": [{"filter": "mlp", "value": [0, 2]}, {"value": 1}]}))
add("task-arithmetic-bf16", method("task_arithmetic", weighted(0.6, 0.4, suffix="-bf16"), base="base-bf16"))
add("task-arithmetic-f32-out-bf16", method("task_arithmetic", weighted(0.6, 0.4, suffix="-bf16"), base="base-bf16", dtype="float32", out_dtype="bfloat16"))
add("ties-bf16", method("ties", weighted(0.6, 0.4, 0.5, suffix="-bf16"), base="base-bf16"))
add("ties-all-f32-out-bf16", method("ties", weighted(0.6, 0.4, 0.5, suffix="-bf16"), base="base-bf16", dtype="float32", out_dtype="bfloat16"))
add("ties-density-1", method("ties", weighted(1, 1), base="base"))
add("ties", method("ties", weighted(0.6, 0.4), base="base", parameters={"density": 0.5}))
add(
    "ties-three-densities",
    method("ties", [model("a", weight=0.5, density=0.3), model("b", weight=0.3, density=0.6), model("c", weight=0.4, density=0.15)], base="base"),
)
add("ties-rescale", method("ties", weighted(0.6, 0.4), base="base", parameters={"density": 0.4, "rescale": True}))
add("ties-unnormalised-lambda", method("ties", weighted(0.6, 0.4, 0.5), base="base", parameters={"density": 0.5, "normalize": False, "lambda": 1.3, "int8_mask": True}))
add("ties-negative", method("ties", weighted(1, -0.5), base="base", parameters={"density": 0.5, "normalize": False}))
add(
    "ties-gradients",
    method("ties", [model("a", weight=[0.2, 0.9], density=[1, 0.3]), model("b", weight=[{"filter": "mlp", "value": [0.1, 0.8]}, {"value": 0.5}], density=0.45)], base="base"),
)
add("ties-f32-out-bf16", method("ties", weighted(0.6, 0.4, suffix="-bf16"), base="base-bf16", parameters={"density": 0.37}, dtype="float32", out_dtype="bfloat16"))
add("dare-linear-density-1", method("dare_linear", weighted(0.6, 0.4), base="base"))
add("dare-ties-density-1", method("dare_ties", weighted(0.6, 0.4, 0.5), base="base"))
add("della-density-1", method("della", weighted(0.6, 0.4, 0.5), base="base"))
add("della-linear-density-1", method("della_linear", weighted(0.6, 0.4), base="base", parameters={"lambda": 0.8}))
add("breadcrumbs", method("breadcrumbs", weighted(0.6, 0.4), base="base", parameters={"density": 0.4, "gamma": 0.1}))
add("breadcrumbs-rescale", method("breadcrumbs", weighted(0.6, 0.4), base="base", parameters={"density": 0.4, "gamma": 0.1, "rescale": True}))
add("breadcrumbs-default-gamma", method("breadcrumbs", weighted(0.6, 0.4), base="base", parameters={"density": 0.5}))
add("breadcrumbs-gamma-trimmed", method("breadcrumbs", weighted(0.6, 0.4), base="base", parameters={"density": 0.95, "gamma": 0.1}))
add("breadcrumbs-ties", method("breadcrumbs_ties", weighted(0.6, 0.4, 0.5), base="base", parameters={"density": 0.4, "gamma": 0.05}))

# the others that need a base
add("sce", method("sce", plain("a", "b", "c"), base="base"))
add("sce-topk", method("sce", plain("a", "b", "c"), base="base", parameters={"select_topk": 0.4}))
add("sce-topk-equal-models", method("sce", plain("a", "a-again"), base="base", parameters={"select_topk": 0.4}))
add("ties-equal-models", method("ties", [model("a", weight=0.6), model("a-again", weight=0.4)], base="base", parameters={"density": 0.5}))
add("model-stock", method("model_stock", plain("a", "b", "c"), base="base"))
add("model-stock-filter-wise", method("model_stock", plain("a", "b"), base="base", parameters={"filter_wise": True}))
add("nearswap", method("nearswap", plain("a"), base="base", parameters={"t": 0.02}))
add("arcee-fusion", method("arcee_fusion", plain("a"), base="base"))
add("ram", method("ram", plain("a", "b", "c"), base="base"))
add("ram-epsilon", method("ram", plain("a", "b"), base="base", parameters={"epsilon": 0.03}))
add("ramplus-tl", method("ramplus_tl", plain("a", "b", "c"), base="base", parameters={"r": 0.5, "alpha": 1.0}))

# layer stacking
add(
    "passthrough-stack",
    {"merge_method": "passthrough", "slices": [{"sources": [source("a", 0, 2)]}, {"sources": [source("b", 1, 3)]}]},
)
add(
    "passthrough-scale",
    {
        "merge_method": "passthrough",
        "slices": [
            {"sources": [source("a", 0, 2)]},
            {"sources": [source("a", 1, 3, scale=[{"filter": "o_proj", "value": 0}, {"filter": "down_proj", "value": 0.5}, {"value": 1}])]},
        ],
    },
)
add("passthrough-bf16", {"merge_method": "passthrough", "slices": [{"sources": [source("a-bf16", 0, 3)]}, {"sources": [source("b-bf16", 2, 3)]}], "dtype": "bfloat16"})
add(
    "slices-linear-offsets",
    {
        "merge_method": "linear",
        "slices": [
            {"sources": [source("a", 0, 2, weight=0.7), source("b", 1, 3, weight=0.3)]},
            {"sources": [source("a", 2, 3, weight=0.5), source("c", 0, 1, weight=[{"filter": "layers.0.mlp", "value": 1}, {"value": 0.5}])]},
        ],
    },
)
add(
    "slices-task-arithmetic-base",
    {
        "merge_method": "task_arithmetic",
        "base_model": "models/base",
        "slices": [
            {"sources": [source("base", 0, 2), source("a", 0, 2, weight=[0.3, 1])]},
            {"sources": [source("c", 2, 3), source("b", 2, 3, weight=0.5)], "base_model": "models/c"},
        ],
    },
)

# heads, vocabularies, layouts
add("tied", method("ties", [model("tied-a", weight=1)], base="tied-base", parameters={"density": 0.6}))
add("tied-and-untied", method("linear", [model("tied-a", weight=0.5), model("untied-b", weight=0.5)], base="tied-a"))
add("rows-cropped", method("linear", [model("a-rows70", weight=0.5), model("b", weight=0.5)], base="b"), unsafe_truncate_embeddings=True)
add("rows-cropped-bigger-base", method("linear", [model("a-rows70", weight=0.5), model("b", weight=0.5)], base="a-rows70"), unsafe_truncate_embeddings=True)
add("rows-cropped-task-arithmetic", method("task_arithmetic", [model("a-rows70", weight=0.5)], base="base"), unsafe_truncate_embeddings=True)
add("qwen2", method("ties", [model("qwen2-a", weight=0.6), model("qwen2-b", weight=0.4)], base="qwen2-base", parameters={"density": 0.5}))
add("gpt2", method("task_arithmetic", [model("gpt2-a", weight=0.6), model("gpt2-b", weight=0.4)], base="gpt2-base"))
add("gpt2-stack", {"merge_method": "passthrough", "slices": [{"sources": [source("gpt2-a", 0, 2)]}, {"sources": [source("gpt2-b", 0, 2)]}]})

# tokenizers
tokenised = [model("t-a", weight=0.6), model("t-b", weight=0.4)]
add("tokenizer-base", method("linear", [model("t-base", weight=0.2), *tokenised], base="t-base", tokenizer_source="base"))
add("tokenizer-union", method("linear", [model("t-base", weight=0.2), *tokenised], base="t-base", tokenizer_source="union"))
add("tokenizer-model", method("task_arithmetic", tokenised, base="t-base", tokenizer_source="models/t-b"))
add("tokenizer-padded", method("linear", [model("t-base", weight=0.2), *tokenised], base="t-base", tokenizer={"source": "union", "pad_to_multiple_of": 16}))
add(
    "tokenizer-tokens",
    method(
        "linear",
        [model("t-base", weight=0.2), *tokenised],
        base="t-base",
        tokenizer={
            "source": "union",
            "tokens": {
                "<|im_start|>": {"source": "models/t-b", "force": True},
                "<|im_end|>": {"source": {"kind": "model_token", "model": "models/t-base", "token": "</s>"}},
                "st": {"source": {"kind": "model_token", "model": "models/t-a", "token_id": 5}, "force": True},
                "ar": {"source": {"kind": "zero"}},
            },
        },
    ),
)

# adapters
add("lora-linear", method("linear", [{"model": "models/base+models/lora-q-v-down", "parameters": {"weight": 0.5}}, model("b", weight=0.5)], base="b"))
add("lora-task-arithmetic", method("task_arithmetic", [{"model": "models/base+models/lora-q-v-down", "parameters": {"weight": 0.8}}, model("a", weight=0.4)], base="base"))

# Where mergekit's float32 sums, norms and coefficients stray by more than a unit in the last place from its own float64:
# these are run again in float64, and the result, rounded to float32, is stored beside the other.
AGAIN_IN_FLOAT64 = [
    "karcher",
    "karcher-base-listed",
    "linear-base-listed",
    "linear-filters",
    "linear-gradient",
    "linear-negative",
    "linear-precedence",
    "linear-three",
    "model-stock",
    "model-stock-filter-wise",
    "nearswap",
    "multislerp",
    "multislerp-base",
    "multislerp-unnormalised",
    "nuslerp-base",
    "nuslerp-columns-base",
    "nuslerp-rows",
    "nuslerp",
    "nuslerp-zero-sum",
    "ram",
    "ramplus-tl",
    "sce",
    "sce-topk",
    "slerp",
    "slerp-gradients",
    "slerp-extrapolate",
    "slices-linear-offsets",
    "ties-rescale",
    "breadcrumbs-rescale",
]
