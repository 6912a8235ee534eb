"""The four choices of how layers are rematerialized: SaveNamed, NoRemat, JaxPolicy and Blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from artifex_bench.compat import PreventCse
from artifex_bench.remat.apply import make_policy
from artifex_bench.remat.planner.graph import Saved
from artifex_bench.remat.planner.inlined_program import Span
from artifex_bench.remat.planner.layer_choice import Added, Choice, Part
from artifex_bench.remat.planner.layer_kinds import LayerKind
from artifex_bench.remat.planner.residual_names import Function, JvpObserver, save_named
from artifex_bench.remat.planner.scan_blocks import Step, scan_in_blocks
from artifex_bench.remat.strategies import Plan, Policy


@dataclass(frozen=True)
class SaveNamed(Choice):
    """Save the values of those names (`residual_names`), offload others to host memory, recompute the rest."""

    names: frozenset[str]
    on_host: frozenset[str] = frozenset()

    def wrap(self, layer: Function, prevent_cse: PreventCse, observe: JvpObserver) -> Function:
        return save_named(layer, self.names, prevent_cse, observe, self.on_host)

    def find_saved(self, kind: LayerKind) -> Saved:
        values = enumerate(kind.graph.values)
        return frozenset(v for v, x in values if x.name in (self.names if x.copy_of is None else self.on_host))

    def describe(self) -> str:
        return "selected residuals saved" if self.names or self.on_host else "everything recomputed"

    def to_json(self) -> dict[str, Any]:
        return {"saved": sorted(self.names), "on_host": sorted(self.on_host)}


@dataclass(frozen=True)
class NoRemat(Choice):
    """No rematerialization: XLA keeps what the backward pass reads."""

    def find_saved(self, kind: LayerKind) -> Saved:
        return frozenset(kind.graph.find_materialized())

    def find_recomputed(self, kind: LayerKind) -> set[int]:
        return set()

    def estimate_layers(self, kind: LayerKind, count: int) -> Added:
        graph, saved = kind.graph, self.find_saved(kind)
        return Added(count * graph.count_bytes(saved), count * sum(graph.values[v].save_seconds for v in saved), 0.0)

    def describe(self) -> str:
        return "no rematerialization"

    def to_json(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class JaxPolicy(Choice):
    """Each layer under `jax.checkpoint` with a policy of JAX (`layer_kinds.POLICIES`)."""

    policy: Policy

    def wrap(self, layer: Function, prevent_cse: PreventCse, observe: JvpObserver) -> Function:
        return jax.checkpoint(layer, policy=make_policy(self.policy), prevent_cse=prevent_cse)

    def find_saved(self, kind: LayerKind) -> Saved:
        return kind.saved_by_policy[self.policy]

    def describe(self) -> str:
        return self.policy.name

    def to_json(self) -> dict[str, Any]:
        return {"policy": self.policy.name}


RECOMPUTE_ALL = JaxPolicy(Policy("nothing_saveable"))


@dataclass(frozen=True)
class Blocks(Choice):
    """Consecutive layers in blocks.

    Attributes:
        layers: For each layer of a block, whether it is checkpointed by itself.
        as_one: Whether each block is checkpointed as one.
    """

    layers: tuple[bool, ...]
    as_one: bool
    in_blocks = True

    @classmethod
    def from_plan(cls, plan: Plan) -> Blocks:
        """Return the blocks of a strategy's plan."""
        return cls(plan.layers, plan.group)

    @property
    def period(self) -> int:
        """Number of layers of a block."""
        return len(self.layers)

    def scan(
        self, step: Step, carry: list[Any], xs: list[Any], length: int, reverse: bool, unroll: int
    ) -> tuple[list[Any], list[Any]]:
        return scan_in_blocks(step, carry, xs, length, reverse, self.layers, self.as_one)

    def split_by_layer(self, places: Sequence[int]) -> list[Choice]:
        return [RECOMPUTE_ALL if self.layers[place % self.period] else NoRemat() for place in places]

    def find_spans(self, positions: Sequence[int]) -> list[Span]:
        starts = range(0, len(positions), self.period) if self.as_one else ()
        blocks = (positions[start : start + self.period] for start in starts)
        return [(block[0], block[-1] + 1) for block in blocks]

    def find_saved(self, kind: LayerKind) -> Saved:
        return frozenset()

    def find_saved_by_last(self, kind: LayerKind, places: Sequence[int]) -> Saved:
        return frozenset() if self.as_one else self.split_by_layer(places)[-1].find_saved(kind)

    def estimate(self, kind: LayerKind, part: Part) -> Added:
        """Estimate what layers in blocks add (Chen et al. 2016).

        Of a block checkpointed as one only the input is saved, and all its layers but the last are run again. While the
        block is differentiated, either the residuals of all its layers are in memory, or (nested) only the layers'
        inputs are, and each layer is run once more.
        """
        graph, carried, count = kind.graph, kind.stack.carried_bytes, len(part.places)
        again = sum(self.layers[place % self.period] for place in part.places)
        if not self.as_one:
            pairs = zip(
                RECOMPUTE_ALL.estimate_layers(kind, again), NoRemat().estimate_layers(kind, count - again), strict=True
            )
            return Added(*(one + other for one, other in pairs))
        ends = sum(place % self.period == self.period - 1 or place == part.count - 1 for place in part.places)
        inner = count - ends
        layer_bytes = carried if again else graph.count_bytes(graph.find_materialized())
        last = RECOMPUTE_ALL.estimate_layers(kind, count if again else ends)
        size = (self.period - 1) * layer_bytes - inner * carried
        return Added(size, inner * graph.forward.seconds + last.seconds, inner * graph.forward.flops + last.flops)

    def split_alike(self, part: Part) -> list[Part]:
        if self.as_one:
            return [part]
        pairs = list(zip(part.places, self.split_by_layer(part.places), strict=True))
        choices = dict.fromkeys(choice for _, choice in pairs)
        return [Part(tuple(p for p, one in pairs if one == choice), part.count, choice) for choice in choices]

    def describe(self) -> str:
        if not self.as_one:
            return f"blocks of {self.period} layers, the first of each recomputed"
        return f"blocks of {self.period} layers, each block {'and each layer ' if self.layers[0] else ''}recomputed"

    def to_json(self) -> dict[str, Any]:
        return {"period": self.period, "layers": self.layers, "group": self.as_one}


def choice_from_json(data: Mapping[str, Any]) -> Choice:
    """Return the choice that `to_json` gave."""
    if "saved" in data:
        return SaveNamed(frozenset(data["saved"]), frozenset(data.get("on_host", ())))
    if "policy" in data:
        return JaxPolicy(Policy(data["policy"]))
    return Blocks(tuple(data["layers"]), data["group"]) if data else NoRemat()
