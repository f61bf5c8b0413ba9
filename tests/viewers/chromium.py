"""The browser that the viewers are looked at in, and where its pictures go."""

from pathlib import Path

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PICTURES = Path("viewer-out")


def picture_path(name: str) -> Path:
    """Gives the file of the picture of this name, in a folder that is there."""
    PICTURES.mkdir(exist_ok=True)
    return PICTURES / f"{name}.png"
