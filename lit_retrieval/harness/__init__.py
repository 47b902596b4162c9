"""Runs and pretrained models as a model of lm-evaluation-harness, the package lm_eval."""
