"""Verdicts: what a strategy did to a program, and whether its gradients agree with those of `none`. No JAX."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import force_setattr

from artifex_bench.core.convert import ConvertError, show_value, suggest_choice
from artifex_bench.core.fields import Amount, Difference


class VerdictName(StrEnum):
    """What a strategy did to a program, compared with strategy `none`."""

    EFFECTIVE = "effective"  # the compiled program needs fewer activation bytes
    NO_OP = "no-op"  # nothing is recomputed, and the residuals are those of `none`
    ELIMINATED = "eliminated"  # the compiler removed the recomputation
    NO_SAVING = "no-saving"  # the program recomputes and needs no fewer activation bytes

    @classmethod
    def _missing_(cls, value: object) -> VerdictName | None:
        """Return the present name of a verdict that older records call otherwise."""
        return {"undone": cls.ELIMINATED, "paid for nothing": cls.NO_SAVING}.get(str(value))


class Verdict(Struct, frozen=True, forbid_unknown_fields=True):
    """What a strategy did to a program, with the figures that show it.

    Activation bytes are the compiled peak less the arguments. A figure is None where one of its sources was not taken.

    Attributes:
        name: A `VerdictName`, or its value; the names of older records are converted.
        reason: The figures in words, in records older than the fields below. Empty in later ones.
        recomputed_flops: FLOPs of the traced gradient beyond those of strategy `none`.
        saved_bytes: Activation bytes of `none` less those of the strategy; negative where the strategy needs more.
        saved_share: `saved_bytes` as a share of the activation bytes of `none`.
        kept_share: Share of the recomputation that the compiled program still contains.
    """

    name: str
    reason: str = ""
    recomputed_flops: Difference | None = None
    saved_bytes: Difference | None = None
    saved_share: Difference | None = None
    kept_share: Amount | None = None

    def __post_init__(self) -> None:
        try:
            force_setattr(self, "name", VerdictName(self.name))
        except ValueError:
            raise ConvertError(
                f"unknown verdict {show_value(self.name)}: {suggest_choice(self.name, list(VerdictName))}"
            ) from None

    def describe(self) -> str:
        """Return the figures in words, for tables and messages."""
        if self.reason:
            return self.reason
        share = self.saved_share or 0.0
        needs = "no fewer activation bytes" if share > -0.005 else f"{-share:.0%} more activation bytes"
        kept = "" if self.kept_share is None else f" ({self.kept_share:.0%} left)"
        return {
            VerdictName.EFFECTIVE: f"the compiled program needs {share:.0%} fewer activation bytes",
            VerdictName.NO_OP: "nothing is recomputed and the residuals are those of strategy none",
            VerdictName.ELIMINATED: f"the compiler removed the recomputation{kept} and the program needs {needs}",
            VerdictName.NO_SAVING: f"the program recomputes and needs {needs}",
        }[VerdictName(self.name)]


class Agreement(Struct, frozen=True, forbid_unknown_fields=True):
    """Loss and gradients of a strategy compared with those of strategy `none`.

    Attributes:
        ok: Whether both errors are within the tolerance; None where there was nothing to compare with.
        reason: Why there are no errors; in older records also the errors in words.
        loss_error: Relative error of the loss; None where it was not computed or is not finite.
        gradient_error: Largest error of a parameter's gradient, relative to its norm; None likewise.
        tolerance: Largest error allowed for the case's dtype.
        worst_parameter: Name of the parameter with the largest error.
    """

    ok: bool | None
    reason: str = ""
    loss_error: Amount | None = None
    gradient_error: Amount | None = None
    tolerance: Amount | None = None
    worst_parameter: str = ""

    def describe(self) -> str:
        """Return the errors in words, or why there are none, for tables and messages."""
        if self.reason or self.tolerance is None:
            return self.reason
        loss, gradient = (
            "not finite" if error is None else f"{error:.1e}" for error in (self.loss_error, self.gradient_error)
        )
        return (
            f"relative error of the loss {loss}, of the gradients {gradient} (largest in {self.worst_parameter}); "
            f"tolerance {self.tolerance:g}"
        )
