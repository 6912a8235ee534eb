"""MODELS: name -> a model as layers. This table imports no JAX; a model's own file is imported when it is built.

A model is a class with three things (`case` is the RematCase):

    class Model(nnx.Module):
        def __init__(self, case, rngs): self.layers = nnx.List(Layer(case, rngs) for _ in range(case.depth))
        def loss(self, batch, run): x = run("layers", batch["x"]); return jnp.mean((x - batch["y"]) ** 2)
        @staticmethod
        def batch(case, key): return {"x": ..., "y": ...}

`run(name, x)` applies the layers in that attribute under the strategy, scanned or unrolled as the case says. Several
stacks are named in a class attribute `stacks` (default ``("layers",)``). A layer maps x to x of the same shape. A layer
with `parts()`, a dict of functions x -> x that are the layer when applied in order, can be rematerialized part by part
(`attention-only`).

The class attribute `tensor` says how tensor parallelism splits a model's weight matrices, as in Megatron-LM:
``tensor = {"up": "column", "down": "row"}``. Keys are names of modules. ``column`` splits a module's outputs: the last
dimension of kernel and bias. ``row`` splits its inputs: the first dimension of the kernel, while the bias stays whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from artifex_bench.core.case import CaseError, RematCase, mesh_axes, replace_fields
from artifex_bench.core.convert import suggest_choice
from artifex_bench.core.plugin import import_user_object
from artifex_bench.core.registry import load_attribute

VOCABULARY = 256  # tokens of the transformer are bytes: a small head leaves time and memory to the layers


def _check_width(case: RematCase) -> str | None:
    split = mesh_axes(case.mesh).get("tensor", 1)
    return f"width {case.width} is not divisible by tensor={split} of the mesh" if case.width % split else None


def _check_heads(case: RematCase) -> str | None:
    if case.heads is None or case.width % case.heads:
        return f"width {case.width} is not divisible by heads {case.heads}: choose a multiple"
    split = mesh_axes(case.mesh).get("tensor", 1)
    if case.heads % split:
        return f"heads {case.heads} is not divisible by tensor={split} of the mesh, which splits them"
    if VOCABULARY % split:
        return f"the vocabulary of {VOCABULARY} is not divisible by tensor={split} of the mesh, which splits it"
    return None


def _check_latents(case: RematCase) -> str | None:
    if case.width < 2:
        return "width 1: the vae halves it for its latents; choose 2 or more"
    return _check_width(case)


@dataclass(frozen=True)
class ModelEntry:
    """Where a model is defined and what it offers.

    Attributes:
        path: Its class, as ``package.module:attribute``.
        summary: What it is, in a few words.
        sequential: Whether it has the axes sequence and heads.
        parts: Names of the parts of its layers; None if they are not known before the model is built.
        tags: Names that it gives to values by `checkpoint_name`; None likewise.
        find_problem: Returns why a case is impossible, in a line, or None.
    """

    path: str
    summary: str
    sequential: bool = False
    parts: tuple[str, ...] | None = ()
    tags: tuple[str, ...] | None = ()
    find_problem: Callable[[RematCase], str | None] = lambda case: None


MODELS = {
    "mlp": ModelEntry(
        "artifex_bench.models.mlp:Mlp",
        "linear + relu layers of one width; depth layers",
        tags=("linear", "relu"),
        find_problem=_check_width,
    ),
    "transformer": ModelEntry(
        "artifex_bench.models.transformer:Transformer",
        "decoder with explicit attention scores; depth blocks",
        sequential=True,
        parts=("attention", "mlp"),
        tags=("query", "key", "value", "scores", "probs", "context", "attention_out", "mlp_up", "mlp_act", "mlp_down"),
        find_problem=_check_heads,
    ),
    "vae": ModelEntry(
        "artifex_bench.models.vae:Vae",
        "variational autoencoder; depth layers in the encoder and as many in the decoder",
        tags=("linear", "gelu"),
        find_problem=_check_latents,
    ),
}


def find_model(model: str) -> ModelEntry:
    """Return a model's entry; one is made for ``package.module:attribute``, which is not imported here.

    Raises:
        CaseError: The model is unknown.
    """
    if model in MODELS:
        return MODELS[model]
    if ":" in model:
        return ModelEntry(model, "a model of your own", sequential=True, parts=None, tags=None)
    raise CaseError(f"unknown model {model!r}: {suggest_choice(model, [*MODELS, 'package.module:attribute'])}")


def drop_unused_axes(case: RematCase) -> RematCase:
    """Return the case without axes that its model lacks, so that a grid does not repeat it for each of their values."""
    return case if find_model(case.model).sequential else replace_fields(case, sequence=None, heads=None)


def load_model(model: str) -> Any:
    """Import a model's class.

    Raises:
        CaseError: The model is unknown or cannot be imported, or it lacks a part of the protocol.
    """
    path = find_model(model).path
    model_class = load_attribute(path) if model in MODELS else import_user_object("model", path)
    missing = [name for name in ("loss", "batch") if not callable(getattr(model_class, name, None))]
    if missing or not callable(model_class):
        raise CaseError(f"model {model!r}: needs a class with loss(batch, run) and batch(case, key)")
    return model_class


def load_tensor_split(model: str) -> Mapping[str, str]:
    """Return how tensor parallelism splits a model: {name of a module: ``column`` or ``row``}.

    Raises:
        CaseError: The model's class has no valid attribute `tensor`.
    """
    split = getattr(load_model(model), "tensor", None)
    if not isinstance(split, Mapping) or not split or not set(split.values()) <= {"column", "row"}:
        raise CaseError(
            f"model {model!r}: does not say what the axis tensor of a mesh splits: give its class an attribute "
            "tensor = {'up': 'column', 'down': 'row'} of its modules' names, or use the axes data and fsdp"
        )
    return split
