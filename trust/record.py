"""What a check found: printed, and kept for the page that report.py writes."""

import json
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
WORK = CHECKOUT / "build" / "trust"  # all that the checks build, and what they found

_started = time.monotonic()


def record(check, short, **figures):
    """Keep the figures of a check that held, with the command that found them.

    `check` is the name of the script, `short` whether this was its short form.
    """
    command = f"python trust/{check}.py" + " --short" * short
    found = {"command": command, "seconds": round(time.monotonic() - _started), **figures}
    folder = WORK / ("short" if short else "long")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{check}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
