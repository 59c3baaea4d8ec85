"""The NCF network in torch, and its ONNX graph for serving. Imports torch: import it inside functions only."""

# ruff: noqa: TID253

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import nn

from lambda_api.recommender.ncf import GRAPH_INPUTS, GRAPH_OUTPUT
from recsys_assets.models.onnx_writing import sealed_graph
from recsys_assets.models.torch_fit import initialise

_EMBEDDING_DEVIATION = 0.01


class NeuMF(nn.Module):
    """Fused GMF and MLP (He et al. 2017, arXiv 1708.05031, equation 12), scoring ``m`` items per user at once.

    The first MLP layer on the concatenation of user and item embedding is stored as two halves whose outputs are added:
    the same function, with each half computed once per user and once per item instead of once per pair.
    """

    def __init__(
        self, n_users: int, n_items: int, gmf_size: int, mlp_size: int, layers: Sequence[int], seed: int
    ) -> None:
        super().__init__()
        self.gmf_size = gmf_size
        # Torch's layers draw from its global generator when they are made; the draws are overwritten below.
        with torch.random.fork_rng(devices=[]):
            self.user = nn.Embedding(n_users, gmf_size + mlp_size)
            self.item = nn.Embedding(n_items, gmf_size + mlp_size)
            self.first_user = nn.Linear(mlp_size, layers[0], bias=False)
            self.first_item = nn.Linear(mlp_size, layers[0])
            self.tower = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(layers)])
            self.output_gmf = nn.Linear(gmf_size, 1, bias=False)
            self.output_mlp = nn.Linear(layers[-1], 1)
        initialise(self, _EMBEDDING_DEVIATION, seed)

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        """Logits of ``item`` (int ``[b, m]``) for ``user`` (int ``[b]``); ``[b, m]``."""
        user_gmf, user_hidden = self.user_side(self.user(user))
        item_gmf, item_hidden = self.item_side(self.item(item))
        gmf = (item_gmf @ (user_gmf * self.output_gmf.weight).unsqueeze(2)).squeeze(2)
        return gmf + self._mlp(user_hidden.unsqueeze(1) + item_hidden)

    def score_all(self, user: torch.Tensor) -> torch.Tensor:
        """Logits of every item for ``user`` (int ``[b]``); ``[b, n_items]``."""
        user_gmf, user_hidden = self.user_side(self.user(user))
        item_gmf, item_hidden = self.item_side(self.item.weight)
        gmf = (user_gmf * self.output_gmf.weight) @ item_gmf.T
        return gmf + self._mlp(user_hidden.unsqueeze(1) + item_hidden.unsqueeze(0))

    def user_side(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """GMF vector and share of the first MLP layer for user embeddings ``[..., gmf_size + mlp_size]``."""
        return embedding[..., : self.gmf_size], self.first_user(embedding[..., self.gmf_size :])

    def item_side(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `user_side`, for items."""
        return embedding[..., : self.gmf_size], self.first_item(embedding[..., self.gmf_size :])

    def _mlp(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(hidden)
        for layer in self.tower:
            hidden = torch.relu(layer(hidden))
        logits: torch.Tensor = self.output_mlp(hidden).squeeze(-1)
        return logits


def serving_arrays(
    network: NeuMF, trained_users: NDArray[np.bool_], trained_items: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """The arrays of an ``NcfRecommender``; users that were not trained are left out, untrained items get zeros."""
    with torch.no_grad():
        sides = {
            "user": network.user_side(network.user.weight[torch.from_numpy(trained_users)]),
            "item": network.item_side(network.item.weight),
        }
        served = {
            f"{side}_{part}": np.ascontiguousarray(value.detach().numpy())
            for side, parts in sides.items()
            for part, value in zip(("gmf", "hidden"), parts, strict=True)
        }
    embedding = network.item.weight.detach().numpy()
    parts = [embedding[:, : network.gmf_size], embedding[:, network.gmf_size :]]
    joint = np.concatenate([part / np.maximum(_lengths(part), 1e-12) for part in parts if part.shape[1]], axis=1)
    unit = joint / np.maximum(_lengths(joint), 1e-12)
    unit[~trained_items] = 0.0
    return {**served, "item_unit": unit.astype(np.float32)}


def serving_graph(network: NeuMF) -> bytes:
    """The pair-wise part of ``network`` as a serialised ONNX graph.

    Inputs ``user_gmf`` ``[B, gmf]``, ``user_hidden`` ``[B, hidden]``, ``item_gmf`` ``[N, gmf]``, ``item_hidden``
    ``[N, hidden]``; output ``scores`` ``[B, N]``; all float32. Written node by node: with pairs flattened every layer
    is one ``Gemm``, which takes two thirds of the time of the three-dimensional products of a traced graph.
    """
    hidden = network.first_item.out_features
    layers = [(layer.weight, layer.bias) for layer in [*network.tower, network.output_mlp]]
    constants = {
        "gmf_weight": network.output_gmf.weight.detach().numpy().reshape(-1),
        "axis_0": np.array([0], dtype=np.int64),
        "axis_1": np.array([1], dtype=np.int64),
        "flat": np.array([-1, hidden], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Mul", ["user_gmf", "gmf_weight"], ["user_weighted"]),
        helper.make_node("Transpose", ["item_gmf"], ["item_columns"], perm=[1, 0]),
        helper.make_node("MatMul", ["user_weighted", "item_columns"], ["gmf"]),
        helper.make_node("Unsqueeze", ["user_hidden", "axis_1"], ["user_rows"]),
        helper.make_node("Unsqueeze", ["item_hidden", "axis_0"], ["item_rows"]),
        helper.make_node("Add", ["user_rows", "item_rows"], ["pairs"]),
        helper.make_node("Reshape", ["pairs", "flat"], ["pairs_flat"]),
    ]
    value = "pairs_flat"
    for index, (weight, bias) in enumerate(layers):
        constants[f"weight_{index}"], constants[f"bias_{index}"] = weight.detach().numpy(), bias.detach().numpy()
        nodes += [
            helper.make_node("Relu", [value], [f"active_{index}"]),
            helper.make_node(
                "Gemm", [f"active_{index}", f"weight_{index}", f"bias_{index}"], [f"layer_{index}"], transB=1
            ),
        ]
        value = f"layer_{index}"
    nodes += [
        helper.make_node("Shape", ["gmf"], ["shape"]),
        helper.make_node("Reshape", [value, "shape"], ["mlp"]),
        helper.make_node("Add", ["gmf", "mlp"], [GRAPH_OUTPUT]),
    ]
    return _serialise(nodes, constants, gmf=network.gmf_size, hidden=hidden)


def _serialise(nodes: list[Any], constants: dict[str, NDArray[Any]], gmf: int, hidden: int) -> bytes:
    shapes = (["B", gmf], ["B", hidden], ["N", gmf], ["N", hidden])
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(GRAPH_INPUTS, shapes, strict=True)
    ]
    output = helper.make_tensor_value_info(GRAPH_OUTPUT, TensorProto.FLOAT, ["B", "N"])
    return sealed_graph("ncf", nodes, constants, inputs, output)


def _lengths(rows: NDArray[Any]) -> NDArray[Any]:
    lengths: NDArray[Any] = np.linalg.norm(rows, axis=1, keepdims=True)
    return lengths
