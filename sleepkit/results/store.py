"""netCDF files that are either whole or not there."""

from pathlib import Path

import xarray as xr

from sleepkit.errors import StoreError, one_line
from sleepkit.files import whole_file


def save(data: xr.Dataset | xr.DataTree, path: str | Path) -> Path:
    """Write a Dataset or DataTree to one netCDF file, atomically.

    Raises:
        StoreError: if the netCDF packages are not installed.
    """
    _need_netcdf()
    with whole_file(path) as temporary:
        data.to_netcdf(temporary, engine="h5netcdf")
    return Path(path)


def load(path: str | Path) -> xr.Dataset:
    """Read a Dataset into memory.

    Raises:
        StoreError: if the file is missing or damaged; its name is in the message.
    """
    _need_netcdf()
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StoreError(f"path: must be a readable netCDF file ({one_line(error)}), got {str(path)!r}") from None


def load_tree(path: str | Path) -> xr.DataTree:
    """Read a DataTree into memory.

    Raises:
        StoreError: if the file is missing or damaged; its name is in the message.
    """
    _need_netcdf()
    try:
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            return tree.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StoreError(f"path: must be a readable netCDF file ({one_line(error)}), got {str(path)!r}") from None


def _need_netcdf() -> None:
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401
    except ImportError as error:
        raise StoreError(f"netCDF: needs the packages h5netcdf and h5py, got {error}") from None
