"""Where results are to go, looked at before anything is computed for them."""

import contextlib
import errno
import os
from pathlib import Path


def require_file_place(path: str | Path | None) -> None:
    """Refuse the place of a file that could not be written there; None is none.

    Raises:
        OSError: as the system would say it when the file is written.
    """
    if path is not None and os.path.isdir(path):
        raise _error(errno.EISDIR, path)
    require_folder_place(path)


def require_folder_place(path: str | Path | None) -> None:
    """Refuse the place of a folder that could not be made or written there; None is none.

    Raises:
        OSError: as the system would say it when the folder is made.
    """
    if path is None:
        return
    with contextlib.suppress(FileNotFoundError):
        os.stat(path)  # names too long, files taken for folders, links in a circle
    above = Path(os.path.abspath(path))
    while not os.path.exists(above):
        above = above.parent
    if not os.access(above, os.W_OK):
        read_only = bool(os.statvfs(above).f_flag & os.ST_RDONLY)
        raise _error(errno.EROFS if read_only else errno.EACCES, path)


def _error(number: int, path: str | Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
