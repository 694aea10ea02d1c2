"""netCDF files that are either whole or not there, with a digest that is checked before HDF5 sees a byte.

Files are made and read in memory: HDF5 cannot leave half of one on a full disk, needs no lock of the file system, and cannot be
led astray by what it finds.
"""

import io
import struct
from pathlib import Path

import xarray as xr

from sleepkit.errors import StoreError, one_line
from sleepkit.files import write_whole
from sleepkit.files.seals import SealError, opened, trailer, warn_unsealed

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END_PLACES = {0: 40, 1: 44, 2: 28, 3: 28}  # where a file says how long it is, by the version of its first block
_DAMAGE = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError)  # what HDF5 and xarray make of it


def save(data: xr.Dataset | xr.DataTree, path: str | Path) -> Path:
    """Write a Dataset or DataTree to one netCDF file, atomically; see ``files.whole_file`` for devices and links.

    Raises:
        StoreError: if the netCDF packages are not installed.
        OSError: if the disk refuses.
    """
    _need_netcdf()
    made = data.to_netcdf(engine="h5netcdf")
    write_whole(path, made, trailer(made))
    return Path(path)


def load(path: str | Path) -> xr.Dataset:
    """Read a Dataset into memory; warn once if the file has no digest.

    Raises:
        StoreError: if the file is missing or damaged; its name is in the message.
    """
    _need_netcdf()
    try:
        with xr.open_dataset(_checked(Path(path)), engine="h5netcdf") as dataset:
            return dataset.load()
    except _DAMAGE as error:
        raise _unreadable(path, error) from None


def load_tree(path: str | Path) -> xr.DataTree:
    """Read a DataTree into memory; warn once if the file has no digest.

    Raises:
        StoreError: if the file is missing or damaged; its name is in the message.
    """
    _need_netcdf()
    try:
        with xr.open_datatree(_checked(Path(path)), engine="h5netcdf") as tree:
            return tree.load()
    except _DAMAGE as error:
        raise _unreadable(path, error) from None


def sealed(path: Path) -> bytes:
    """Return a netCDF file with its digest, whether or not it had one.

    Raises:
        StoreError: if the file is missing or damaged; its name is in the message.
    """
    try:
        data = path.read_bytes()
        return data if _body(data) is not None else data + trailer(data)
    except (OSError, SealError) as error:
        raise _unreadable(path, error) from None


def _checked(path: Path) -> io.BytesIO:
    """Return the file in memory, without its digest."""
    data = path.read_bytes()
    body = _body(data)
    if body is None:
        warn_unsealed(path)
    return io.BytesIO(data if body is None else body)


def _body(data: bytes) -> memoryview | None:
    """Return what is HDF5's of a file, None if that is all of it; bytes behind the end it names are a damaged digest."""
    body = opened(data)
    if body is None and len(data) != _length_told(data):
        raise SealError("is cut short, or its digest is damaged")
    return body


def _length_told(data: bytes) -> int:
    if not data.startswith(_SIGNATURE) or len(data) < 64:
        raise SealError("is no HDF5")
    place = _END_PLACES.get(data[8])
    if place is None:
        raise SealError(f"is HDF5 of an unknown version {data[8]}")
    return int(struct.unpack_from("<Q", data, place)[0])


def _unreadable(path: str | Path, error: Exception) -> StoreError:
    return StoreError(f"path: must be a readable netCDF file ({one_line(error)}), got {str(path)!r}")


def _need_netcdf() -> None:
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401
    except ImportError as error:
        raise StoreError(f"netCDF: needs the packages h5netcdf and h5py, got {error}") from None
