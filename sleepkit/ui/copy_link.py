"""A button that copies the address of the page, and says whether it did."""

from pathlib import Path
from typing import Any

from panel.custom import JSComponent


class CopyLink(JSComponent):
    """Copies the address, over plain http too; where no way works, opens a field to copy from."""

    _esm = Path(__file__).with_name("copy_link.js")

    def __init__(self, **params: Any) -> None:
        super().__init__(**{"height": 30, "margin": (0, 8, 0, 0), **params})  # type: ignore[no-untyped-call]
