"""MODELS: name -> a model as layers. This table imports no JAX; a model's own file is imported when it is built.

A model is a class with three things (the whole protocol; `case` is the RematCase):

    class Model(nnx.Module):
        def __init__(self, case, rngs): self.layers = nnx.List(Layer(case, rngs) for _ in range(case.depth))
        def loss(self, batch, run): x = run("layers", batch["x"]); return jnp.mean((x - batch["y"]) ** 2)
        @staticmethod
        def batch(case, key): return {"x": ..., "y": ...}

`run(name, x)` applies the layers held in that attribute, under the strategy, scanned or unrolled as the case
says. Several stacks are named in a class attribute `stacks` (default ``("layers",)``). A layer maps x to x of the
same shape; one that also offers `parts()`, a dict of functions x -> x that applied in order are the layer, can be
rematerialized part by part (`attention-only`).

A model whose weight matrices tensor parallelism can split says how in a class attribute `tensor`: the name of a module
-> ``column`` (its outputs: the last dimension of kernel and bias) or ``row`` (its inputs: the first dimension of the
kernel; the bias stays whole), as in Megatron-LM: ``tensor = {"up": "column", "down": "row"}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from artifex_bench.core.case import CaseError, RematCase, mesh_axes
from artifex_bench.core.convert import suggest_choice
from artifex_bench.core.plugin import import_user_object
from artifex_bench.core.registry import load_attribute

VOCABULARY = 256  # of the transformer, bytes: keeps the head small, so that the layers decide


def _no_rule(case: RematCase) -> str | None:
    return None


def _width_is_split(case: RematCase) -> str | None:
    split = mesh_axes(case.mesh).get("tensor", 1)
    return f"width {case.width} is not divisible by tensor={split} of the mesh" if case.width % split else None


def _heads_divide(case: RematCase) -> str | None:
    if case.heads is None or case.width % case.heads:
        return f"width {case.width} is not divisible by heads {case.heads}: choose a multiple"
    split = mesh_axes(case.mesh).get("tensor", 1)
    if case.heads % split:
        return f"heads {case.heads} is not divisible by tensor={split} of the mesh, which splits them"
    if VOCABULARY % split:
        return f"the vocabulary of {VOCABULARY} is not divisible by tensor={split} of the mesh, which splits it"
    return None


def _latent(case: RematCase) -> str | None:
    if case.width < 2:
        return "width 1: the vae halves it for its latents; choose 2 or more"
    return _width_is_split(case)


@dataclass(frozen=True)
class ModelEntry:
    """Where a model is defined and what it offers; `rule` says in a line why a case cannot be, or None."""

    factory: str
    summary: str
    sequential: bool = False  # has the axes sequence and heads
    parts: tuple[str, ...] | None = ()  # None: not known before the model is built
    tags: tuple[str, ...] | None = ()  # the names given by checkpoint_name, likewise
    rule: Callable[[RematCase], str | None] = _no_rule


MODELS = {
    "mlp": ModelEntry(
        "artifex_bench.models.mlp:Mlp",
        "linear + relu layers of one width; depth layers",
        tags=("linear", "relu"),
        rule=_width_is_split,
    ),
    "transformer": ModelEntry(
        "artifex_bench.models.transformer:Transformer",
        "decoder with explicit attention scores; depth blocks",
        sequential=True,
        parts=("attention", "mlp"),
        tags=("query", "key", "value", "scores", "probs", "context", "attention_out", "mlp_up", "mlp_act", "mlp_down"),
        rule=_heads_divide,
    ),
    "vae": ModelEntry(
        "artifex_bench.models.vae:Vae",
        "variational autoencoder; depth layers in the encoder and as many in the decoder",
        tags=("linear", "gelu"),
        rule=_latent,
    ),
}


def entry(model: str) -> ModelEntry:
    """The model's entry; for ``package.module:attribute`` one made for the occasion. Raises CaseError."""
    if model in MODELS:
        return MODELS[model]
    if ":" in model:
        return ModelEntry(model, "a model of your own", sequential=True, parts=None, tags=None)
    raise CaseError(f"unknown model {model!r}: {suggest_choice(model, [*MODELS, 'package.module:attribute'])}")


def load(model: str) -> Any:
    """The model's class. Raises CaseError when it cannot be imported or lacks a part of the protocol."""
    factory = entry(model).factory
    found = load_attribute(factory) if model in MODELS else import_user_object("model", factory)
    missing = [name for name in ("loss", "batch") if not callable(getattr(found, name, None))]
    if missing or not callable(found):
        raise CaseError(f"model {model!r}: needs a class with loss(batch, run) and batch(case, key)")
    return found


def tensor(model: str) -> Mapping[str, str]:
    """How tensor parallelism splits a model: its attribute `tensor`. Raises CaseError where that says nothing."""
    found = getattr(load(model), "tensor", None)
    if not isinstance(found, Mapping) or not found or not set(found.values()) <= {"column", "row"}:
        raise CaseError(
            f"model {model!r}: does not say what the axis tensor of a mesh splits: give its class an attribute "
            "tensor = {'up': 'column', 'down': 'row'} of its modules' names, or use the axes data and fsdp"
        )
    return found
