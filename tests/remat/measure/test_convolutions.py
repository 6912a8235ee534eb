"""FLOPs of every variant of a convolution and of its gradients, compared with XLA's cost analysis."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from artifex_bench.remat.measure.jaxprs import count_flops

LAYOUTS = {1: ("NCW", "OIW", "NCW"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}
FEATURES, OUTPUTS, BATCH = 8, 16, 2


def shapes(dimensions, kernel, groups):
    """(input, kernel) of a convolution over so many dimensions."""
    space = {1: (64,), 2: (16, 12), 3: (8, 6, 7)}[dimensions]
    window = (kernel,) * dimensions
    if dimensions == 1:  # features before space
        return (BATCH, FEATURES, *space), (OUTPUTS, FEATURES // groups, *window)
    return (BATCH, *space, FEATURES), (*window, FEATURES // groups, OUTPUTS)


def counted(function, *shapes):
    """(ours, XLA's) of a function at float32 arrays of those shapes."""
    arrays = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    theirs = jax.jit(function).lower(*arrays).cost_analysis().get("flops", 0.0)  # none: XLA counts no work
    return count_flops(jax.make_jaxpr(function)(*arrays)), theirs


@pytest.mark.parametrize("dimensions", LAYOUTS)
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 0), (3, 1), (4, 2)])
def test_a_convolution_and_its_gradients(dimensions, kernel, padding):
    for stride, kernel_dilation, input_dilation, groups in itertools.product((1, 2), (1, 2), (1, 2), (1, 4)):

        def convolve(x, w, stride=stride, rd=kernel_dilation, ld=input_dilation, groups=groups):
            same = {"dimension_numbers": LAYOUTS[dimensions], "feature_group_count": groups}
            n = dimensions
            return lax.conv_general_dilated(x, w, (stride,) * n, ((padding,) * 2,) * n, (ld,) * n, (rd,) * n, **same)

        def loss(x, w, convolve=convolve):
            return jnp.sum(convolve(x, w))

        where = stride, kernel_dilation, input_dilation, groups
        for function in (convolve, jax.grad(loss), jax.grad(loss, 1)):
            ours, theirs = counted(function, *shapes(dimensions, kernel, groups))
            assert ours == pytest.approx(theirs, rel=0.05), where


def test_a_batch_in_groups():
    """The kernel gradient of a grouped convolution has this form."""

    def convolve(x, w):
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=layout, batch_group_count=2)

    ours, theirs = counted(convolve, (4, 16, 12, 8), (3, 3, 8, 16))
    assert ours == theirs


def test_a_transposed_convolution():
    ours, theirs = counted(lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME"), (2, 8, 8, 4), (3, 3, 4, 6))
    assert ours == pytest.approx(theirs, rel=0.05)


def test_the_input_gradient_of_a_strided_convolution_costs_its_forward_pass():
    """The input gradient of a stride-2 convolution costs what its forward pass costs: inserted zeros are no work."""

    def forward(x, w):
        return lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    shapes = (2, 32, 32, 8), (3, 3, 8, 16)
    once, _ = counted(forward, *shapes)
    backward, _ = counted(jax.grad(lambda x, w: jnp.sum(forward(x, w))), *shapes)
    assert backward == pytest.approx(once, rel=0.1)
