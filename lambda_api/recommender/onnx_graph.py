"""Running an ONNX graph of a bundle; used by every recommender that has one."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

THREADS: Final = 1
"""Threads of a session. A request takes a fraction of a millisecond, and a pool of spinning threads would slow down the
other requests; one thread also adds in the same order on every machine."""


class OnnxGraph:
    """A serialised graph; ONNX Runtime is loaded when it is first run.

    Attributes:
        content: the graph as stored in bundles.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._session: InferenceSession | None = None

    def run(self, output: str | None, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The value of ``output`` (``None``: the graph's first) for inputs by name."""
        value: NDArray[Any] = self._open().run(None if output is None else [output], feed)[0]
        return value

    def _open(self) -> "InferenceSession":
        if self._session is None:
            from onnxruntime import ExecutionMode, InferenceSession, SessionOptions

            options = SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = THREADS
            options.execution_mode = ExecutionMode.ORT_SEQUENTIAL
            self._session = InferenceSession(self.content, options, providers=["CPUExecutionProvider"])
        return self._session
