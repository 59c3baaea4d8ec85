"""The two towers in torch, and the ONNX graph of the shopper tower. Imports torch: import it inside functions only."""

# ruff: noqa: TID253

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from lambda_api.interactions import InteractionType
from lambda_api.recommender.two_tower import GAP_DAYS, GRAPH_INPUTS, GRAPH_OUTPUT
from recsys_assets.models.onnx_writing import sealed_graph
from recsys_assets.models.torch_fit import initialise

HIDDEN_IDS = 0.1
"""Share of products that are represented by their description alone in a training step, as cold products are later."""

EMBEDDING_DEVIATION = 0.05

NOWHERE = -1e9
"""Attention logit of padding."""


class TwoTowers(nn.Module):
    """See `lambda_api.recommender.two_tower.TwoTowerRecommender`; trained with dropout on events and on ids.

    Args:
        described: float32 ``[n_products, c]``, descriptions of products; ``c`` may be 0.
        size: of vectors; heads: of attention.
    """

    def __init__(self, described: torch.Tensor, size: int, heads: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.described: torch.Tensor
        self.register_buffer("described", described)
        # Torch's layers draw from its global generator when they are made; the draws are overwritten below.
        with torch.random.fork_rng(devices=[]):
            self.own = nn.Embedding(len(described), size)
            self.describes = nn.Linear(described.shape[1], size, bias=False) if described.shape[1] else None
            self.kind = nn.Embedding(len(InteractionType), size)
            self.gap = nn.Embedding(len(GAP_DAYS) + 1, size)
            self.hidden = nn.Linear(size, size)
            self.heads = nn.Linear(size, heads)
            self.value = nn.Linear(size, size)
            self.wide = nn.Linear(size * heads, 2 * size)
            self.narrow = nn.Linear(2 * size, size)
        self.bias = nn.Parameter(torch.zeros(len(described)))
        self.dropout = dropout
        initialise(self, EMBEDDING_DEVIATION, seed)

    def item_vectors(
        self, products: torch.Tensor | None = None, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Vectors of ``products`` or of all, ``[n, size]``; with a generator some by description alone."""
        own = self.own.weight if products is None else self.own(products)
        if self.describes is None:
            return own
        described = self.described if products is None else self.described[products]
        if generator is not None:
            own = own * (torch.rand(len(own), 1, generator=generator) >= HIDDEN_IDS)
        vectors: torch.Tensor = own + self.describes(described)
        return vectors

    def forward(
        self,
        items: torch.Tensor,
        product: torch.Tensor,
        kind: torch.Tensor,
        gap: torch.Tensor,
        real: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Shopper vectors ``[b, size]`` of events ``[b, l]``, ``real`` false for padding; dropout with a generator."""
        event = self._drop(items[product] + self.kind(kind) + self.gap(gap), generator)
        logits = self.heads(torch.tanh(self.hidden(event))).masked_fill(~real.unsqueeze(2), NOWHERE)
        pooled = logits.softmax(1).transpose(1, 2) @ self.value(event)
        flat = self._drop(pooled.flatten(1), generator)
        shopper: torch.Tensor = self.narrow(torch.relu(self.wide(flat)))
        return shopper

    def _drop(self, values: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        # torch's own dropout draws from the global generator; the result would depend on who used it before.
        if generator is None or not self.dropout:
            return values
        kept = torch.rand(values.shape, generator=generator) >= self.dropout
        return values * kept / (1.0 - self.dropout)


def shopper_graph(network: TwoTowers) -> bytes:
    """The shopper tower for one shopper as a serialised ONNX graph.

    Inputs ``events`` float32 ``[L, size]`` (vectors of the events' products), ``types`` and ``gaps`` int64 ``[L]``,
    ``L`` at least 1; output ``shopper`` float32 ``[size]``.
    """
    layers = {name: getattr(network, name) for name in ("hidden", "heads", "value", "wide", "narrow")}
    constants = {f"{name}_weight": layer.weight.detach().numpy().T for name, layer in layers.items()}
    constants |= {f"{name}_bias": layer.bias.detach().numpy() for name, layer in layers.items()}
    constants |= {"type_table": network.kind.weight.detach().numpy(), "gap_table": network.gap.weight.detach().numpy()}
    constants |= {"flat": np.array([1, -1], dtype=np.int64), "whole": np.array([-1], dtype=np.int64)}

    def linear(source: str, name: str, target: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("MatMul", [source, f"{name}_weight"], [f"{target}_product"]),
            helper.make_node("Add", [f"{target}_product", f"{name}_bias"], [target]),
        ]

    nodes = [
        helper.make_node("Gather", ["type_table", "types"], ["type_rows"]),
        helper.make_node("Gather", ["gap_table", "gaps"], ["gap_rows"]),
        helper.make_node("Add", ["events", "type_rows"], ["typed"]),
        helper.make_node("Add", ["typed", "gap_rows"], ["event"]),
        *linear("event", "hidden", "hidden"),
        helper.make_node("Tanh", ["hidden"], ["bent"]),
        *linear("bent", "heads", "logits"),
        helper.make_node("Softmax", ["logits"], ["attention"], axis=0),
        helper.make_node("Transpose", ["attention"], ["heads_first"], perm=[1, 0]),
        *linear("event", "value", "values"),
        helper.make_node("MatMul", ["heads_first", "values"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "flat"], ["row"]),
        *linear("row", "wide", "wide"),
        helper.make_node("Relu", ["wide"], ["active"]),
        *linear("active", "narrow", "narrow"),
        helper.make_node("Reshape", ["narrow", "whole"], [GRAPH_OUTPUT]),
    ]
    size = network.kind.embedding_dim
    kinds = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT64)
    shapes: tuple[list[str | int], ...] = (["L", size], ["L"], ["L"])
    inputs = [helper.make_tensor_value_info(*described) for described in zip(GRAPH_INPUTS, kinds, shapes, strict=True)]
    output = helper.make_tensor_value_info(GRAPH_OUTPUT, TensorProto.FLOAT, [size])
    return sealed_graph("two_tower", nodes, constants, inputs, output)
