"""Write docs/performance.md and its pictures from the JSON of a run.

    python bench/report.py RUN.json FOLDER

The prose is in performance.md.j2; what it says about limits is written by hand and stays.
"""

import json
import sys
from pathlib import Path
from statistics import median

import jinja2
import matplotlib

from timing import spread

matplotlib.use("Agg")
from matplotlib import pyplot

TABLES = {
    "products, best": "Matrix products",
    "products, avx2": "Matrix products, AVX2 forced",
    "products, scalar": "Matrix products, portable C forced",
    "accumulators": "Matrix products in an accumulator",
    "online training": "Online training, two cores",
    "stochastic rounding": "Stochastic rounding",
    "observed training": "Observed training",
    "an epoch": "An epoch of mini-batches",
    "momentum and decay": "Momentum and decay",
    "looking for overflows": "Looking for overflows",
    "small calls": "Small calls",
    "memory": "Memory in training",
    "two threads": "Two threads",
    "element by element": "Element by element",
    "studies": "Studies",
}
COLOURS = {"ours": "#1f5fa8", "sgemm": "#c2541b", "dgemm": "#4a8f3c", "faint": "#8a8a8a"}


def number(value):
    """Return three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def time(seconds):
    for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if abs(seconds) * scale >= 1 or unit == "µs":
            return f"{number(seconds * scale)} {unit}"


def figure(info, side):
    """Return the median of a side as throughput, time or memory."""
    middle = median(info[side]) * info.get("scale", 1)
    if "gmac" in info:
        return f"{number(info['gmac'] / middle)} GMAC/s"
    return f"{middle / 2**20:.0f} MiB" if info["table"] == "memory" else time(middle)


def verdict(value, wanted, more_is_better):
    reached = value >= wanted if more_is_better else value <= wanted
    share = value / wanted - 1
    return "reached" if reached else f"**{abs(share):.0%} {'short' if more_is_better else 'over'}**"


def rows(infos):
    """Return the cells of a table: work, rival, theirs, ours, ratio, wanted, verdict."""
    for info in infos:
        ratio = info.get("ratios")
        row = {"work": info["work"], "ours": figure(info, "ours")}
        low, high = spread(ratio or info["ours"])
        if ratio:
            row["rival"] = info["rival"].replace("_", " ")
            row["theirs"] = figure(info, "theirs")
            row["ratio"] = f"{number(median(ratio))} ({number(low)}..{number(high)})"
        verdicts = []
        if info.get("target"):
            verdicts.append((f"{info['target']:g} x", median(ratio), info["target"], True))
        if info.get("at_most"):
            limit = {**info, "ours": [info["at_most"]]}
            wanted = f"at most {figure(limit, 'ours')}"
            verdicts.append((wanted, median(info["ours"]), info["at_most"], False))
        row["wanted"] = "; ".join(wanted for wanted, *_ in verdicts)
        row["reached"] = "; ".join(verdict(*rest) for _, *rest in verdicts)
        yield row


def axes(title, x, y):
    figure, ax = pyplot.subplots(figsize=(8, 4.8), layout="constrained")
    ax.set(title=title, xlabel=x, ylabel=y)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    return figure, ax


def save(figure, path):
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def width_picture(infos, path):
    """Throughput over width, beside the two lines of floating point."""
    figure, ax = axes(
        "Exact products of any values, 256x1000x1000, one thread", "bits of each operand", "GMAC/s"
    )
    points = sorted((info["bits"], info["gmac"] / median(info["ours"])) for info in infos)
    ax.plot(*zip(*points, strict=True), ".-", color=COLOURS["ours"], label="intmlp")
    for name, dashes in (("sgemm", "--"), ("dgemm", ":")):
        seconds = [s for info in infos if info["rival"] == name for s in info["theirs"]]
        rate = infos[0]["gmac"] / median(seconds)
        ax.axhline(
            rate, ls=dashes, color=COLOURS[name], label=f"OpenBLAS {name}, {rate:.0f} GMAC/s"
        )
    ax.set_ylim(bottom=0)
    ax.set_xlim(0, 65)
    ax.set_xticks(range(0, 65, 8))
    ax.legend(frameon=False)
    save(figure, path)


def merged(ceilings):
    """Return each ceiling with its names; those too close to tell apart are one."""
    lines = []
    for name, rate in sorted(ceilings.items(), key=lambda item: -item[1]):
        if lines and rate > 0.8 * lines[-1][0]:
            lines[-1][1] += f"\n{name}"
        else:
            lines.append([rate, name])
    return lines


def roofline_picture(products, machine, path):
    """Products over arithmetic intensity, under the ceilings of the machine."""
    figure, ax = axes(
        "Roofline, one core", "multiply-accumulates a byte of operands and result", ""
    )
    ax.set(xscale="log", yscale="log", ylabel="GMAC/s")
    ceilings = {info["work"]: max(info["ours"]) for info in machine}
    bandwidth = ceilings.pop("copy")
    products = [info for info in products if "bytes" in info]
    points = {}
    for info in products:
        intensity = info["gmac"] * 1e9 / info["bytes"]
        rate = info["gmac"] / median(info["ours"])
        points.setdefault(info["work"].rsplit(", ", 1)[0], {})[intensity] = rate
    lowest = min(rate for values in points.values() for rate in values.values())
    top = max([*ceilings.values(), *(r for values in points.values() for r in values.values())])
    left, right = 0.05, 400
    ax.plot([left, top / bandwidth], [left * bandwidth, top], color=COLOURS["faint"], lw=1.2)
    ax.annotate(
        f"copy, {bandwidth:.0f} GB/s",
        (left * 1.3, left * 1.3 * bandwidth),
        xytext=(8, -4),
        textcoords="offset points",
        fontsize=8,
        color="#555555",
    )
    for rate, names in merged(ceilings):
        ax.plot([rate / bandwidth, right], [rate, rate], color=COLOURS["faint"], lw=0.8)
        ax.annotate(
            f"{number(rate)}: {names}",
            (right, rate),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color="#555555",
            annotation_clip=False,
        )
    for index, (name, values) in enumerate(points.items()):
        ax.plot(
            *zip(*sorted(values.items()), strict=True),
            marker="osD^vP*Xh"[index % 9],
            ms=5,
            lw=1,
            label=name,
        )
    ax.set_xlim(left, right)
    ax.set_ylim(lowest / 3, top * 1.6)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=4)
    save(figure, path)


def main(source, folder):
    run = json.loads(Path(source).read_text(encoding="utf-8"))
    folder = Path(folder)
    tables = {}
    for bench in run["benchmarks"]:
        if "table" not in bench["extra_info"]:
            sys.exit(f"{bench['name']} has no figures in {source}: it failed")
        tables.setdefault(bench["extra_info"]["table"], []).append(bench["extra_info"])
    pictures = {}
    if "width" in tables:
        pictures["width"] = "performance-width.png"
        width_picture(tables["width"], folder / pictures["width"])
    if "machine" in tables and "products, best" in tables:
        pictures["roofline"] = "performance-roofline.png"
        roofline_picture(tables["products, best"], tables["machine"], folder / pictures["roofline"])
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = environment.get_template("performance.md.j2").render(
        machine=run["machine_info"]["intmlp"],
        tables=[(title, list(rows(tables[key]))) for key, title in TABLES.items() if key in tables],
        ceilings=[
            (info["work"], f"{number(median(info['ours']))} {info['unit']}")
            for info in tables.get("machine", [])
        ],
        pictures=pictures,
    )
    (folder / "performance.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
