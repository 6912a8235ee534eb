"""Save and restore JAX training state on Orbax: fast saves, verified loads, and no silent failures.

Names are imported when they are first used, so that `frequency`, `faults` and `errors` work without JAX.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "errors": (
        "CheckpointError CheckpointNotFoundError CheckpointPermissionError CorruptCheckpointError "
        "DirectoryInUseError DiskFullError SaveFailedError StepDeletedError StepExistsError TemplateMismatchError "
        "UnsupportedLeafError UnsupportedPathError UnverifiedCheckpointError UnverifiedCheckpointWarning"
    ),
    "faults": "FAULTS",
    "formats": "FORMATS Format",
    "frequency": "AdaptiveCheckpointing SavePlan lost_share save_plan young_daly_interval",
    "loading": "Loaded",
    "manager": "CheckpointManager",
    "nnx_models": "save_checkpoint load_checkpoint save_checkpoint_with_optimizer load_checkpoint_with_optimizer",
    "recovery": "Recovery Skipped recover recover_from_corruption set_aside",
    "resume": "TrainingState advanced save_training setup_training_from_checkpoint",
    "retention": "KEEP_ALL Retention",
    "setup_manager": "setup_checkpoint_manager",
    "sharding": "load_numpy load_sharded_checkpoint save_sharded_checkpoint shard_mesh shard_tree",
    "trees": "load_items load_tree save_items save_tree",
    "validation": "validate_checkpoint",
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
