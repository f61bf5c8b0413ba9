"""One picture for each synthetic patient: the current image with its boxes, beside the earlier one."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset

from agent.demo.studies import DemoPatient
from inference.reading import Reading

PANEL_ROWS = 640
BANNER = "AI DRAFT - NOT VERIFIED - SYNTHETIC DEMO MODEL"
OUTLINED = {"stroke_width": 2, "stroke_fill": "#000000"}
"""White film or black air behind it: text stays readable."""
BOX_COLOURS = ("#ffd166", "#06d6a0", "#ef476f", "#4cc9f0", "#f78c6b", "#c77dff")


def write_picture(folder: Path, patient: DemoPatient, reading: Reading) -> Path:
    """Writes `<patient>.png`: every current image with the draft's boxes, then the images of the earlier exam."""
    folder.mkdir(parents=True, exist_ok=True)
    panels = [_panel(image, f"current · {image.ViewPosition}", reading) for image in patient.current_objects]
    panels += [
        _panel(image, f"prior {image.StudyDate} · {image.ViewPosition}", None)
        for image in patient.prior_objects
        if image.Modality == "DX"
    ]
    sheet = Image.new(
        "RGB", (sum(panel.width for panel in panels) + 8 * (len(panels) - 1), PANEL_ROWS), "#202020"
    )
    left = 0
    for panel in panels:
        sheet.paste(panel, (left, 0))
        left += panel.width + 8
    path = folder / f"{patient.patient_id}.png"
    sheet.save(path)
    return path


def _panel(image: Dataset, title: str, reading: Reading | None) -> Image.Image:
    grey = Image.fromarray(_eight_bits(image))
    scale = PANEL_ROWS / grey.height
    panel = grey.resize((round(grey.width * scale), PANEL_ROWS), Image.Resampling.LANCZOS).convert("RGB")
    draw = ImageDraw.Draw(panel)
    font = ImageFont.load_default(size=15)
    if reading is not None:
        _draw_boxes(draw, font, str(image.SOPInstanceUID), scale, reading)
        draw.text((8, PANEL_ROWS - 24), BANNER, fill="#ffd166", font=font, **OUTLINED)
    draw.text((8, 6), title, fill="#ffffff", font=font, **OUTLINED)
    return panel


def _draw_boxes(
    draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont, key: str, scale: float, reading: Reading
) -> None:
    for number, finding in enumerate(reading.findings):
        colour = BOX_COLOURS[number % len(BOX_COLOURS)]
        for box in finding.boxes:
            if box.image_key == key:
                corners = (box.left * scale, box.top * scale, box.right * scale, box.bottom * scale)
                draw.rectangle(corners, outline=colour, width=3)
                draw.text(
                    (corners[0] + 4, max(corners[1] - 18, 24)),
                    finding.name,
                    fill=colour,
                    font=font,
                    **OUTLINED,
                )


def _eight_bits(image: Dataset) -> NDArray[np.uint8]:
    stored = np.frombuffer(image.PixelData, "<u2").reshape(
        image.Rows, image.Columns
    )  # (rows, columns), 12 bits
    bright_is_dense = 4095 - stored if image.PhotometricInterpretation == "MONOCHROME1" else stored
    return (bright_is_dense >> 4).astype(np.uint8)
