"""Files and folders: where data and downloads lie, and how a file is written whole or not at all.

Scripts that run without the package's requirements import this door: the standard library is all
that it needs. `tensors`, which needs torch, has a door of its own.
"""

from recsys_tutorial._files.paths import cache_dir, data_dir
from recsys_tutorial._files.writing import whole, whole_folder

__all__ = ["cache_dir", "data_dir", "whole", "whole_folder"]
