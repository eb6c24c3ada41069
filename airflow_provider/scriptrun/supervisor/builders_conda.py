"""Environments by conda, mamba or micromamba: solved and built in one step, in place, the mark written last."""
