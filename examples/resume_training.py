"""Train a model so that you can kill it at any moment: a resumed training ends with the same weights, bit for bit.

    python examples/resume_training.py --dir checkpoints --steps 200
    python examples/resume_training.py --dir checkpoints --steps 200 --kill-at 120    # kills itself: run it again

A checkpoint holds everything that the next steps depend on: parameters, optimizer, PRNG streams (dropout and noise),
position in the data, and step. The last line printed is a digest of the final weights. It does not depend on how often
training was killed.
"""

from __future__ import annotations

import argparse
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xxhash
from flax import nnx

from artifex_bench.checkpointing import TrainingState, advanced, save_training, setup_training_from_checkpoint

SAMPLES, WIDTH, BATCH = 64, 16, 8  # samples in the data set, features per sample, samples per step


class Net(nnx.Module):
    """Two layers with dropout, so that the steps depend on a PRNG stream."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.inner = nnx.Linear(WIDTH, 32, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.outer = nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, x_BF: jax.Array) -> jax.Array:
        return self.outer(self.dropout(nnx.relu(self.inner(x_BF))))


def make_initial_state() -> TrainingState:
    """Return the state at step 0."""
    model = Net(nnx.Rngs(0))
    return TrainingState(
        model=model,
        optimizer=nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param),
        rngs=nnx.Rngs(noise=1),
        position={"epoch": 0, "offset": 0},
    )


def load_batch(position: dict[str, int]) -> tuple[jax.Array, dict[str, int]]:
    """Return (samples, next position). The order of the samples depends on the number of the epoch alone."""
    data_SF = np.random.default_rng(0).standard_normal((SAMPLES, WIDTH), np.float32)
    order_S = np.random.default_rng(position["epoch"]).permutation(SAMPLES)
    offset = position["offset"]
    x_BF = jnp.asarray(data_SF[order_S[offset : offset + BATCH]])
    if offset + BATCH >= SAMPLES:
        return x_BF, {"epoch": position["epoch"] + 1, "offset": 0}
    return x_BF, {"epoch": position["epoch"], "offset": offset + BATCH}


@nnx.jit
def train_step(model: Net, optimizer: nnx.Optimizer, rngs: nnx.Rngs, x_BF: jax.Array) -> jax.Array:
    """Update model and optimizer once. Returns the loss."""
    noisy_BF = x_BF + 0.1 * rngs.noise.normal(x_BF.shape)
    loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(noisy_BF)[:, 0] - x_BF.sum(-1)) ** 2))(model)
    optimizer.update(model, grads)
    return loss


def main() -> None:
    """Train from the newest checkpoint in the folder up to `--steps`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True, help="folder for the checkpoints")
    parser.add_argument("--steps", type=int, default=200, help="number of steps to train in all")
    parser.add_argument("--save-every", type=int, default=5, help="steps between checkpoints")
    parser.add_argument("--kill-at", type=int, default=-1, help="step at which the process kills itself with SIGKILL")
    options = parser.parse_args()

    state, manager = setup_training_from_checkpoint(options.dir, make_initial_state, asynchronous=True)
    print(f"resumed at step {state.step}" if state.step else "started at step 0", flush=True)
    with manager:
        while state.step < options.steps:
            x_BF, position = load_batch(state.position)
            train_step(state.model, state.optimizer, state.rngs, x_BF)
            if state.step == options.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            state = advanced(state, position=position)
            if state.step % options.save_every == 0:
                save_training(manager, state)
    weights = xxhash.xxh3_128()
    for leaf in jax.tree.leaves(nnx.to_pure_dict(nnx.state(state.model, nnx.Param))):
        weights.update(np.asarray(leaf).tobytes())
    print(f"finished step {state.step}: weights {weights.hexdigest()}")


if __name__ == "__main__":
    main()
