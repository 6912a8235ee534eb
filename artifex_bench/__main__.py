"""`python -m artifex_bench`: the command `artifex-bench`."""

from artifex_bench.cli import main

if __name__ == "__main__":
    main()
