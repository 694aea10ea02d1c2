"""All heads of a layer as one heatmap: a mosaic with gutters, which draws several times faster than one subplot a head."""

import math

import numpy as np
import plotly.graph_objects as go

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
) -> np.ndarray:
    """Return the hover text of every mosaic cell: head, row and column inside the head."""
    text = np.full(picture_shape, "", dtype=object)
    _, n_rows, n_cells = tiles_shape
    for head, (top, left) in enumerate(corners):
        for row in range(n_rows):
            for cell in range(n_cells):
                text[top + row, left + cell] = f"head {head}, {row_name} {row}, {column_name} {cell}"
    return text


def name_heads(figure: go.Figure, corners: list[tuple[int, int]], colour: str) -> None:
    """Write the number of each head above its tile."""
    for head, (top, left) in enumerate(corners):
        figure.add_annotation(
            x=left,
            y=top - 0.6,
            text=f"head {head}",
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            font={"size": 11, "color": colour},
        )
