"""The parts of tools/hotpotqa.py."""
