"""What both trainings with torch share. Imports torch: import it inside functions only."""

# ruff: noqa: TID253

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lambda_api.errors import RecsysError


class ExportError(RecsysError):
    """The exported graph does not reproduce the trained network; the model must not be used."""


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def initialise(network: torch.nn.Module, embedding_deviation: float, seed: int) -> None:
    """Draw all weights anew: embeddings normal, layers Xavier uniform, biases zero.

    From a generator of our own, so that the result does not depend on who used torch's global one before.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=embedding_deviation, generator=generator)
        elif isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
