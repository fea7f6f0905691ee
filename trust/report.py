"""Write docs/reliability.md from the records of the checks.

    python trust/report.py

The prose is in reliability.md.j2; every figure in it comes from a record. Where a check was run in
its short form alone, its figures are of that, as the command beside them says.
"""

import json
from pathlib import Path

import jinja2

from check import CHECKOUT, WORK
from faults import EQUIVALENT


class Records(dict):
    """The record of each check by its name."""

    def __missing__(self, check):
        raise SystemExit(f"no record of {check}: run python trust/{check}.py first")


def machine_of(found):
    """Return the machine on which all checks ran."""
    machine = found["golden"]["machine"]
    for check, record in found.items():
        if record["machine"] != machine:
            raise SystemExit(f"golden and {check} were not run on the same machine")
    return machine


def main():
    """Read the records and write the page."""
    found = Records()
    for form in ("short", "long"):
        for path in sorted((WORK / form).glob("*.json")):
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: f"{value:,}" if isinstance(value, int) else value,
    ).get_template("reliability.md.j2")
    text = template.render(found=found, equivalent=EQUIVALENT, machine=machine_of(found))
    page = CHECKOUT / "docs" / "reliability.md"
    page.write_text(text, encoding="utf-8")
    print(f"wrote {page.relative_to(CHECKOUT)}")


if __name__ == "__main__":
    main()
