"""netCDF files that are either whole or not there, with a digest that is checked before HDF5 sees a byte.

Files are made in memory: HDF5 cannot leave half of one on a full disk, nor stumble over it at the end of the process.
"""

import io
import mmap
import struct
from pathlib import Path

import xarray as xr

from sleepkit.errors import StoreError, one_line
from sleepkit.files import write_whole
from sleepkit.files.seals import SealError, body_len, trailer, warn_unsealed

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_END_PLACES = {0: 40, 1: 44, 2: 28, 3: 28}  # where a file says how long it is, by the version of its first block
_NO_LOCK = {"locking": False}  # a file is replaced and never changed: there is nothing to lock
_DAMAGE = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError)  # what HDF5 and xarray make of it


def save(data: xr.Dataset | xr.DataTree, path: str | Path) -> Path:
    """Write a Dataset or DataTree to one netCDF file, atomically; see ``files.whole_file`` for devices and links.

    Raises:
        StoreError: if the netCDF packages are not installed.
        OSError: if the disk refuses.
    """
    _need_netcdf()
    made = _encoded(data if isinstance(data, xr.DataTree) else xr.DataTree(data))
    write_whole(path, made, trailer(made))
    return Path(path)


def load(path: str | Path) -> xr.Dataset:
    """Read a Dataset into memory; warn once if the file has no digest.

    Raises:
        StoreError: if the file is missing or damaged; its name is in the message.
    """
    _need_netcdf()
    try:
        with xr.open_dataset(_checked(Path(path)), engine="h5netcdf", driver_kwds=_NO_LOCK) as dataset:
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
        with xr.open_datatree(_checked(Path(path)), engine="h5netcdf", driver_kwds=_NO_LOCK) as tree:
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
        return data if _is_sealed(data) else data + trailer(data)
    except (OSError, SealError) as error:
        raise _unreadable(path, error) from None


def _encoded(tree: xr.DataTree) -> memoryview:
    """Return a tree as the bytes of a netCDF file.

    ``to_netcdf`` would do the same under a lock of the dask cluster, where a client or a worker is in the process, and
    name that lock by the buffer itself, which the cluster cannot know (``Semaphore or Lock ... not known``). Bytes in
    memory are nobody else's: HDF5's own lock is enough.
    """
    from xarray.backends import H5NetCDFStore
    from xarray.backends.locks import HDF5_LOCK

    buffer = io.BytesIO()
    store = H5NetCDFStore.open(buffer, mode="w", lock=HDF5_LOCK)
    try:
        for node in tree.subtree:
            at_root = node is tree
            group = store if at_root else store.get_child_store(node.path)
            node.to_dataset(inherit=at_root).dump_to_store(group)
    finally:
        store.close()
    return buffer.getbuffer()


def _checked(path: Path) -> Path:
    """Return the path of a file whose digest matches; warn once if it has none."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise SealError("is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if not _is_sealed(data):
                warn_unsealed(path)
    return path


def _is_sealed(data: bytes | mmap.mmap) -> bool:
    """Whether a file has a digest, which matches; bytes behind the end that HDF5 names are a damaged one."""
    if body_len(data) is not None:
        return True
    if len(data) != _length_told(data):
        raise SealError("is cut short, or its digest is damaged")
    return False


def _length_told(data: bytes | mmap.mmap) -> int:
    if data[: len(_SIGNATURE)] != _SIGNATURE or len(data) < 64:
        raise SealError("is no HDF5")
    place = _END_PLACES.get(data[8])
    if place is None:
        raise SealError(f"is HDF5 of an unknown version {data[8]}")
    return int(struct.unpack_from("<Q", data[:64], place)[0])


def _unreadable(path: str | Path, error: Exception) -> StoreError:
    return StoreError(f"path: must be a readable netCDF file ({one_line(error)}), got {str(path)!r}")


def _need_netcdf() -> None:
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401
    except ImportError as error:
        raise StoreError(f"netCDF: needs the packages h5netcdf and h5py, got {error}") from None
