"""All heads of a layer as one heatmap: a mosaic with gutters, which draws several times faster than one subplot a head."""

import math

import numpy as np
import plotly.graph_objects as go

from sleepkit.errors import require

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


def pooled(tiles: np.ndarray, most: int = 512) -> tuple[np.ndarray, int]:
    """Return tiles [H, R, C] whose mosaic has at most ``most`` cells a side: the largest of every k x k, and k."""
    n_heads, n_rows, n_cells = tiles.shape
    beside = math.ceil(math.sqrt(n_heads))
    k = max(1, math.ceil(beside * max(n_rows, n_cells) / most))
    if k == 1:
        return tiles, 1
    rows, cells = math.ceil(n_rows / k), math.ceil(n_cells / k)
    padded = np.full((n_heads, rows * k, cells * k), -np.inf, dtype=np.float32)
    padded[:, :n_rows, :n_cells] = np.where(np.isnan(tiles), -np.inf, tiles)
    largest = padded.reshape(n_heads, rows, k, cells, k).max(axis=(2, 4))
    return np.where(np.isinf(largest), np.nan, largest), k


def name_heads(figure: go.Figure, corners: list[tuple[int, int]], colour: str, *, first: int = 0) -> None:
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
