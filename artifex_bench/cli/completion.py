"""Shell completion: what options and arguments offer, and words with colons in bash."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from typing import Any

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string


def complete_from(choices: Callable[[], Collection[str]]) -> Callable[[Any, Any, str], list[CompletionItem]]:
    """Return the `shell_complete` callback of an option or argument that takes one of some names."""
    return lambda ctx, param, incomplete: [CompletionItem(one) for one in choices() if one.startswith(incomplete)]


class ColonBash(BashComplete):
    """Completion in bash, which splits words at colons and equals signs: ``tpu:v5e`` arrives as three words."""

    _before = ""  # the part of the incomplete word that bash does not replace

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the complete words and the incomplete one, with the split words joined."""
        words, current = split_arg_string(os.environ["COMP_WORDS"]), int(os.environ["COMP_CWORD"])
        joined: list[str] = []
        for word in words[: current + 1]:
            if len(joined) > 1 and (re.fullmatch("[:=]+", word) or joined[-1].endswith((":", "="))):
                joined[-1] += word
            else:
                joined.append(word)
        incomplete = joined.pop() if current < len(words) else ""
        last = re.sub("^[:=]+$", "", words[current]) if current < len(words) else ""
        self._before = incomplete.removesuffix(last)
        return joined[1:], incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return the completions, without the part of the word that bash does not replace."""
        before = self._before.rpartition("=")[2] if self._before.startswith("-") else self._before
        items = super().get_completions(args, incomplete)
        return [CompletionItem(item.value.removeprefix(before), item.type, item.help) for item in items]


def use_colon_bash() -> None:
    """Replace click's bash completion in this process, if a shell has started it to complete a command line."""
    if os.environ.get("_ARTIFEX_BENCH_COMPLETE", "").startswith("bash_"):
        add_completion_class(ColonBash, "bash")
