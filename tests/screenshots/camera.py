"""Takes a picture of a page and makes its file small."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP, PHONE = (1280, 800), (390, 844)
MOST_BYTES = 150_000


@dataclass(frozen=True)
class Camera:
    """Looks at pages in one size and scheme, and puts the pictures into a folder."""

    page: Page
    folder: Path
    suffix: str

    def take(self, name: str) -> None:
        path = self.folder / f"{name}{self.suffix}.png"
        path.write_bytes(small(self.page.screenshot(animations="disabled")))
        size = path.stat().st_size
        print(f"{path}  {size / 1000:.0f} kB{'  too large' if size > MOST_BYTES else ''}")


@contextmanager
def camera(
    browser: Browser,
    folder: Path,
    size: tuple[int, int],
    scheme: str,
    prepare: Callable[[Page], None],
) -> Iterator[Camera]:
    """A browser of its own kind: nothing it has seen is known to another."""
    width, height = size
    is_phone = size == PHONE
    with browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        device_scale_factor=2 if is_phone else 1,
        has_touch=is_phone,
        is_mobile=is_phone,
    ) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: (_ for _ in ()).throw(AssertionError(str(error))))
        prepare(page)
        suffix = ("-phone" if is_phone else "") + ("-dark" if scheme == "dark" else "")
        yield Camera(page, folder, suffix)


def small(png: bytes) -> bytes:
    """The same in at most 256 colours: text on plain ground has hardly more."""
    with Image.open(io.BytesIO(png)) as image:
        reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        out = io.BytesIO()
        reduced.save(out, "PNG", optimize=True)
    return out.getvalue()
