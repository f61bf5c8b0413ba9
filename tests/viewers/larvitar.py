"""larvitar, a toolkit of another maker that draws presentation states, on a page of our own in Chromium."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset

from tests.builders import as_bytes

DIST = Path(".viewers/larvitar/package/dist")
"""The toolkit, as `make screenshots` fetches it from the package index of npm."""
SIDE_PX = 800
"""The viewport is a square, so that an image of any shape leaves bars at two of its sides."""

_ADDRESS = "http://larvitar.invalid/"
_PAGE = f"""<!doctype html><meta charset="utf-8"><body style="margin: 0; background: black">
<div id="viewer" style="width: {SIDE_PX}px; height: {SIDE_PX}px"></div><script src="larvitar.js"></script>"""

_NOTE_WORDS = """
window.written = new Map();
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (words, x, y, ...more) {
    window.written.set(words, [x, y]);
    return fillText.call(this, words, x, y, ...more);
};
"""

_SHOW = """async () => {
    const element = document.getElementById("viewer");
    const read = async name => {
        const content = await (await fetch(name)).blob();
        const stack = await larvitar.readFiles([new File([content], name)]);
        const [series] = Object.entries(stack);
        larvitar.populateImageManager(...series);
        return series[1];
    };
    larvitar.initializeImageLoader();
    larvitar.initializeCSTools();
    larvitar.store.initialize();
    larvitar.store.addViewport("viewer");
    const image = await read("image.dcm");
    await read("state.dcm");
    await larvitar.renderImage(image, "viewer");
    larvitar.addTool("Gsps", {}, "viewer");
    larvitar.setToolEnabled("Gsps", ["viewer"]);
    const tool = larvitar.cornerstoneTools.getToolForElement(element, "Gsps");
    let drawn = 0;
    await new Promise((resolve, reject) => {
        element.addEventListener("cornerstoneimagerendered", () => {
            drawn += tool.gspsViewport ? 1 : 0;
            if (drawn === 3) resolve();
        });
        setTimeout(() => reject(new Error("the state was not drawn within 60 s")), 60_000);
    });
    return JSON.stringify(Object.fromEntries(window.written));
}"""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the toolkit shows of one image under one presentation state.

    Attributes:
        pixels: uint8 (SIDE_PX, SIDE_PX, 3), the viewport as a person sees it.
        words: what the toolkit wrote on it: the text to its (x, y) in the viewport.
        faults: errors that the page met and nobody caught.
    """

    pixels: NDArray[np.uint8]
    words: dict[str, tuple[float, float]]
    faults: tuple[str, ...]


def shown(browser: Any, image: Dataset, state: Dataset, picture: Path | None = None) -> Shown:
    """Shows an image by its presentation state; keeps a picture of it if a path is given."""
    files = {"image.dcm": as_bytes(image), "state.dcm": as_bytes(state), "": _PAGE.encode()}
    faults: list[str] = []

    def answer(route: Any) -> None:
        name = route.request.url.removeprefix(_ADDRESS)
        if name in files:
            route.fulfill(body=files[name], content_type="application/dicom" if name else "text/html")
        elif (DIST / name).is_file():
            route.fulfill(path=DIST / name)
        else:  # nothing comes from elsewhere
            route.fulfill(status=404)

    page = browser.new_page(viewport={"width": SIDE_PX, "height": SIDE_PX})
    try:
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.add_init_script(_NOTE_WORDS)
        page.route("**/*", answer)
        page.goto(_ADDRESS)
        words = json.loads(page.evaluate(_SHOW))
        content = page.screenshot(path=picture)
    finally:
        page.close()
    pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    return Shown(pixels, {text: tuple(place) for text, place in words.items()}, tuple(faults))
