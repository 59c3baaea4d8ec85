"""Reads files of answers, written by this process or by a batch transform.

``CreateTransformJob`` documents that the answers to an input object have its name and ``.out``, lie "in a corresponding
subfolder" of the output, and get a newline after every transformed record. Neither the subfolder nor what a record is
when whole batches of lines are sent is said, so both are read either way.
"""

import pyarrow.fs as pa_fs

from recsys_assets.batch.questions import Part
from recsys_assets.lake import open_filesystem


def read_answers(uri: str, part: Part) -> list[bytes] | None:
    """Lines of the answers to ``part`` at ``uri`` or below it, without blank ones; ``None``: there is no file."""
    filesystem, folder = open_filesystem(uri)
    name = f"{part.name}.out"
    path = f"{folder}/{name}"
    if filesystem.get_file_info(path).type != pa_fs.FileType.File:
        below = filesystem.get_file_info(pa_fs.FileSelector(folder, allow_not_found=True, recursive=True))
        found = sorted(one.path for one in below if one.type == pa_fs.FileType.File and one.base_name == name)
        if not found:
            return None
        path = found[0]
    with filesystem.open_input_stream(path) as stream:
        return [line for line in stream.read().splitlines() if line.strip()]


def is_answered(uri: str, part: Part) -> bool:
    """Whether the file of answers has a line for every question of ``part``."""
    lines = read_answers(uri, part)
    return lines is not None and len(lines) == part.shoppers
