"""Files and folders on the disk: written whole or not at all, with a digest inside, held by one process at a time. No torch.

writer      one writer for everything that is saved
leftovers   what killed writers leave behind, and how it goes
reading     folders that somebody may be replacing meanwhile
seals       digests inside netCDF and JSON files
tensors     digests inside safetensors files
holds       who works on a folder, with and without locks of the file system
"""

from sleepkit.files.leftovers import sweep
from sleepkit.files.reading import read_folder
from sleepkit.files.writer import make_folder, whole_file, whole_folder, write_whole

__all__ = ["make_folder", "read_folder", "sweep", "whole_file", "whole_folder", "write_whole"]
