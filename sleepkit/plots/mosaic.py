"""All heads of a layer as one heatmap: a mosaic with gutters, which draws several times faster than one subplot a head."""

import math

import numpy as np
import plotly.graph_objects as go

from sleepkit.errors import require
from sleepkit.plots.draft import Draft

ROW_GUTTER = 2  # room for the name of the tile below
COLUMN_GUTTER = 1


def mosaic(tiles: np.ndarray, n_columns: int | None = None) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Lay tiles [H, R, C] out in a grid with NaN gutters.

    Returns:
        The mosaic as float32 and the (row, column) of each tile's first cell.
    """
    n_tiles, n_rows, n_cells = tiles.shape
    columns = n_columns or math.ceil(math.sqrt(n_tiles))
    lines = math.ceil(n_tiles / columns)
    shape = (lines * (n_rows + ROW_GUTTER) - ROW_GUTTER, columns * (n_cells + COLUMN_GUTTER) - COLUMN_GUTTER)
    picture = np.full(shape, np.nan, dtype=np.float32)
    corners = []
    for number, tile in enumerate(tiles):
        row, column = (number // columns) * (n_rows + ROW_GUTTER), (number % columns) * (n_cells + COLUMN_GUTTER)
        picture[row : row + n_rows, column : column + n_cells] = tile
        corners.append((row, column))
    return picture, corners


def labels(
    tiles_shape: tuple[int, int, int],
    corners: list[tuple[int, int]],
    picture_shape: tuple[int, int],
    row_name: str,
    column_name: str,
    *,
    first: int = 0,
) -> np.ndarray:
    """Return the hover text of every mosaic cell: head, row and column inside the head; ``first`` is the first head's number."""
    text = np.full(picture_shape, "", dtype=object)
    _, n_rows, n_cells = tiles_shape
    for head, (top, left) in enumerate(corners):
        for row in range(n_rows):
            for cell in range(n_cells):
                text[top + row, left + cell] = f"head {first + head}, {row_name} {row}, {column_name} {cell}"
    return text


def pick_head(tiles: np.ndarray, head: int | None) -> tuple[np.ndarray, int]:
    """Return the tiles [H, R, C] of one head, all if None, and the number of the first one.

    Raises:
        InvalidInputError: if there is no such head.
    """
    require(head is None or 0 <= head < len(tiles), "head", f"must be in [0, {len(tiles)})", head)
    return (tiles, 0) if head is None else (tiles[head : head + 1], head)


def head_numbers(
    tiles_shape: tuple[int, int, int], corners: list[tuple[int, int]], picture_shape: tuple[int, int], *, first: int = 0
) -> list[list[int | None]]:
    """Return the head that every mosaic cell belongs to, for clicks; None in the gutters."""
    heads = np.full(picture_shape, None, dtype=object)
    _, n_rows, n_cells = tiles_shape
    for head, (top, left) in enumerate(corners):
        heads[top : top + n_rows, left : left + n_cells] = first + head
    return heads.tolist()


def head_at(figure: go.Figure, x: float, y: float) -> int | None:
    """Return the head drawn at a place of a mosaic, None in a gutter or outside: what a click at (x, y) means.

    Panel's click event of a heatmap has x and y, but not the customdata.
    """
    heads, row, cell = figure.data[0].customdata, round(y), round(x)
    inside = 0 <= row < len(heads) and 0 <= cell < len(heads[0])
    return None if not inside or heads[row][cell] is None else int(heads[row][cell])


def pooled(tiles: np.ndarray, most: int = 512) -> tuple[np.ndarray, int]:
    """Return tiles [H, R, C] whose mosaic has about ``most`` cells a side at the most, and k.

    The entry of the largest magnitude, with its sign, stands for every k x k: a mean would let single strong entries vanish.
    """
    n_heads, n_rows, n_cells = tiles.shape
    beside = math.ceil(math.sqrt(n_heads))
    k = max(1, math.ceil(beside * max(n_rows, n_cells) / most))
    if k == 1:
        return tiles, 1
    rows, cells = math.ceil(n_rows / k), math.ceil(n_cells / k)
    padded = np.full((n_heads, rows * k, cells * k), np.nan, dtype=np.float32)
    padded[:, :n_rows, :n_cells] = tiles
    blocks = padded.reshape(n_heads, rows, k, cells, k).swapaxes(2, 3).reshape(n_heads, rows, cells, k * k)
    strongest = np.where(np.isnan(blocks), -1.0, np.abs(blocks)).argmax(axis=-1)
    return np.take_along_axis(blocks, strongest[..., None], axis=-1)[..., 0], k


def pooling_words(k: int) -> str:
    """Return what a title adds about pooling; nothing where every entry is drawn."""
    return "" if k == 1 else f", strongest of {k} x {k}"


def name_heads(figure: Draft, corners: list[tuple[int, int]], colour: str, *, first: int = 0) -> None:
    """Write the number of each head above its tile; ``first`` is the first head's number."""
    for head, (top, left) in enumerate(corners):
        figure.add_annotation(
            x=left,
            y=top - 0.6,
            text=f"head {first + head}",
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            font={"size": 11, "color": colour},
        )
