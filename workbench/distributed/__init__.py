"""More than one machine: a data set of any size encoded on Ray, read back as arrays, and what that takes in numbers."""

from typing import TYPE_CHECKING

from workbench._lazy import lazy

if TYPE_CHECKING:
    from workbench.distributed.encode import Encoded, encode_dataset
    from workbench.distributed.shards import read_encoded
    from workbench.distributed.sizes import Sizing, sizing

__all__ = ["Encoded", "Sizing", "encode_dataset", "read_encoded", "sizing"]

_HOMES = {
    "Encoded": "encode", "encode_dataset": "encode", "read_encoded": "shards", "Sizing": "sizes", "sizing": "sizes",
}  # fmt: skip

__getattr__, __dir__ = lazy(__name__, _HOMES)
