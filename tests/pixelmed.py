"""PixelMed's programs, as Debian's pixelmed-apps installs them."""

import shutil
from pathlib import Path

JAR = Path("/usr/share/java/pixelmed.jar")
IS_THERE = shutil.which("java") is not None and JAR.exists()
"""Whether they can be run."""
