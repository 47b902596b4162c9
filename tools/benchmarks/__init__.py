"""One file for each subcommand of tools/benchmark.py."""
