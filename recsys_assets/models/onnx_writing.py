"""Serialising an ONNX graph that was written node by node."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

OPSET: Final = 17
IR_VERSION: Final = 8
"""Readable by every ONNX Runtime from 1.14 on."""


def sealed_graph(
    name: str,
    nodes: Sequence["onnx.NodeProto"],
    constants: Mapping[str, NDArray[Any]],
    inputs: Sequence["onnx.ValueInfoProto"],
    output: "onnx.ValueInfoProto",
) -> bytes:
    """The serialised graph of ``nodes``. Raises ``onnx.checker.ValidationError`` when it is not valid."""
    import onnx
    from onnx import helper, numpy_helper

    initial = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), name, list(inputs), [output], initial)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="recsys"
    )
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString()
    return serialised
