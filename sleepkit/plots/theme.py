"""Colours and layout shared by every figure, light and dark."""

from typing import Literal, NamedTuple

from sleepkit.plots.draft import Draft

Theme = Literal["light", "dark"]


class Palette(NamedTuple):
    """Colours of one theme; the ground is that of the pages, and makes a figure readable wherever it is put."""

    ground: str
    text: str
    muted: str
    grid: str
    floor: str
    accent: str
    right: str
    wrong: str
    passes: tuple[str, ...]
    diverging: tuple[tuple[float, str], ...]
    sequential: tuple[tuple[float, str], ...]


# N = 1 stands apart (grey: no sleep); more passes get deeper colours. Distinguishable in the common colour deficiencies.
_LIGHT = Palette(
    ground="#ffffff",
    text="#1f2937",
    muted="#6b7280",
    grid="#e5e7eb",
    floor="#9ca3af",
    accent="#c2410c",
    right="#237a37",
    wrong="#c92a2a",
    passes=("#868e96", "#4dabf7", "#1c7ed6", "#1a3f94", "#7048e8", "#9c36b5", "#c2255c", "#e8590c"),
    diverging=((0.0, "#2166ac"), (0.25, "#92c5de"), (0.5, "#f7f7f7"), (0.75, "#f4a582"), (1.0, "#b2182b")),
    sequential=((0.0, "#f8fafc"), (0.15, "#dbe4f5"), (0.5, "#6f93d6"), (1.0, "#14296b")),
)
_DARK = Palette(
    ground="#121212",
    text="#e5e7eb",
    muted="#9ca3af",
    grid="#374151",
    floor="#6b7280",
    accent="#ff922b",
    right="#69db7c",
    wrong="#ff8787",
    passes=("#adb5bd", "#a5d8ff", "#4dabf7", "#748ffc", "#b197fc", "#e599f7", "#faa2c1", "#ffc078"),
    diverging=((0.0, "#6cb6ff"), (0.25, "#2b5c8a"), (0.5, "#161b22"), (0.75, "#8f3a3a"), (1.0, "#ff8a80")),
    sequential=((0.0, "#12161c"), (0.15, "#1b2a4a"), (0.5, "#3d6fc4"), (1.0, "#e3eeff")),
)
_PALETTES = {"light": _LIGHT, "dark": _DARK}
FONT = "Inter, Segoe UI, Helvetica Neue, Arial, sans-serif"


def palette(theme: Theme) -> Palette:
    """Return the colours of a theme."""
    return _PALETTES[theme]


def pass_colour(n_passes: int, theme: Theme) -> str:
    """Return the colour that stands for N everywhere; beyond the palette the last one is used."""
    colours = palette(theme).passes
    return colours[min(n_passes, len(colours)) - 1]


def ink_on(ground: str) -> str:
    """Return black or white, whichever is read better on a ground "#rrggbb" (WCAG contrast)."""
    channels = [int(ground[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def legend_below(figure: Draft) -> Draft:
    """Lay the legend out in rows under the figure, so that the plot keeps its whole width in a narrow pane."""
    place = {"orientation": "h", "yref": "container", "y": 0.0, "yanchor": "bottom", "x": 0.0, "xanchor": "left"}
    figure.update_layout(legend={**place, "font": {"size": 11}, "tracegroupgap": 0, "itemwidth": 30})
    return figure


def dress(figure: Draft, *, theme: Theme, title: str | None = None, height: int = 360) -> Draft:
    """Apply the common layout: the ground of the theme, quiet grid, tight margins, title on the left."""
    colours = palette(theme)
    axis = {
        "gridcolor": colours.grid,
        "zerolinecolor": colours.grid,
        "linecolor": colours.grid,
        "ticks": "",
        "automargin": True,
        "title": {"font": {"size": 13}, "standoff": 8},
    }
    figure.update_layout(
        height=height,
        paper_bgcolor=colours.ground,
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "color": colours.text, "size": 13},
        margin={"l": 56, "r": 16, "t": 48 if title else 16, "b": 48},
        legend={"orientation": "v", "y": 1.0, "yanchor": "top", "x": 1.01, "xanchor": "left", "font": {"size": 12}},
        hoverlabel={"font": {"family": FONT}},
        uirevision="keep",
        template="none",
    )
    if title:
        figure.update_layout(title={"text": title, "x": 0.0, "xref": "paper", "xanchor": "left", "font": {"size": 15}})
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure
