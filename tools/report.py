#!/usr/bin/env python3
"""Fills in the tables of pages from result files, and draws their pictures.

    report.py RESULTS PAGE...            RESULTS holds the files that FILES names; pictures go to images/ beside the first page
    report.py RESULTS PAGE... --check    exit status 1 when a table of a page is not that of the files
    report.py --self-test                checks the arithmetic on made-up rows

A table stands between <!-- table: NAME --> and <!-- end -->; what is written around it is the page's own. A file that is
not there leaves its tables as they are.
"""
import json
import math
import pathlib
import re
import statistics
import sys

TRAININGS = ("experiments.json", "experiments_avx512.json")
FILES = ("exact.json", *TRAININGS, "inference.json", "reuse.json")
ALL_TRAININGS = " and ".join(TRAININGS)  # the rows of both

NETWORKS = {"cifarnet": "CifarNet", "alexnet": "AlexNet", "vgg19": "VGG-19", "vgg19-bn": "VGG-19 with batch norm",
            "vgg19-224": "VGG-19, 224 pixels"}
RUNS = {"dense": "dense, by the packages", "dense-openblas": "dense, im2col + OpenBLAS", "exact": "exact",
        "exact-direct": "exact without Winograd", "auto": "under the scheduler", "published-fixed": "published, fixed L, H",
        "published-plateau": "published, plateau ladder", "published-reuse": "published, cluster reuse first"}
OTHER_SYSTEMS = {"onednn3": "packages with oneDNN 3.7", "onednn3_bf16": "the same in bf16"}
RIVALS = {"package": "the fastest packages", **OTHER_SYSTEMS, "im2col_blas": "im2col + OpenBLAS",
          "own_exact": "the own exact engine"}
INSTRUCTIONS = {"avx2_fma": "AVX2", "avx512bw": "AVX-512"}
PASSES = ("forward", "input_gradient", "weight_gradient", "step")


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def unique(values):
    return list(dict.fromkeys(values))


def percent(value, digits=0):
    return f"{100 * value:.{digits}f} %"


def number(value, digits=2, suffix=""):
    return "-" if value is None else f"{value:.{digits}f}{suffix}"


def mean_and_error(values):
    """The mean and its standard error; the latter None of a single value."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return statistics.fmean(values), error


def points(values):
    mean, error = mean_and_error(values)
    return f"{100 * mean:+.2f}" + ("" if error is None else f" ± {100 * error:.2f}")


# ---- Trainings -------------------------------------------------------------------------------------

def of(rows, **wanted):
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def headline(data):
    """What a reader wants to know first: the time that each network saves, and what it costs in accuracy."""
    rows = []
    rivals = [rival for rival in RIVALS if [r for r in of(data["rows"], rival=rival) if r["run"] in ("exact", "auto")]]
    for isa, network in unique((row["isa"], row["network"]) for row in data["rows"]):
        for run in ("exact", "auto"):
            mine = of(data["rows"], isa=isa, network=network, run=run)
            package = of(mine, rival="package")
            if not package:
                continue
            cells = [of(mine, rival=rival) for rival in rivals]
            rows.append([NETWORKS.get(network, network), INSTRUCTIONS.get(isa, isa), RUNS[run]]
                        + [percent(statistics.fmean(r["time_saved_vs_dense"] for r in cell)) if cell else "-"
                           for cell in cells]
                        + [points([r["accuracy_minus_dense"] for r in package]), len(package)])
    return table(["network", "instructions", "run"] + [f"saved against {RIVALS[rival]}" for rival in rivals]
                 + ["points against dense", "seeds"], rows)


def trainings(data):
    rows = []
    # Seconds of another system do not belong beside these.
    data = {"rows": [row for row in data["rows"] if row["rival"] not in OTHER_SYSTEMS]}
    for network, run, isa in unique((r["network"], r["run"], r["isa"]) for r in data["rows"]):
        mine = list({r["seed"]: r for r in of(data["rows"], network=network, run=run, isa=isa)}.values())
        against = of(data["rows"], network=network, run=run, isa=isa, rival="package")
        reached = [r["seconds_to_dense_accuracy"] for r in against if r["seconds_to_dense_accuracy"] is not None]
        rows.append([NETWORKS.get(network, network), RUNS.get(run, run), len(mine), mine[0]["images"], mine[0]["epochs"],
                     number(statistics.fmean(r["seconds"] for r in mine), 0),
                     percent(statistics.fmean(r["final_accuracy"] for r in mine), 2),
                     "-" if run == "dense" or not against else
                     f"{len(reached)} of {len(against)}" + (f", {statistics.fmean(reached):.0f} s" if reached else "")])
    return table(["network", "run", "seeds", "images", "epochs", "seconds", "test accuracy",
                  "reaches its dense run's accuracy"], rows)


def draw_accuracy(plt, data, images):
    shown = [run for run in ("dense", "exact", "auto") if of(data["rows"], run=run)]
    networks = unique(row["network"] for row in data["rows"])
    figure, axes = plt.subplots(1, len(networks), figsize=(4.2 * len(networks), 3.4), squeeze=False,
                                constrained_layout=True)
    for axis, network in zip(axes[0], networks):
        for colour, run in enumerate(shown):
            for i, row in enumerate(of(data["rows"], network=network, run=run, rival="package")):
                axis.plot(row["seconds_by_epoch"], [100 * a for a in row["accuracy_by_epoch"]], "o-", markersize=3,
                          linewidth=1, color=f"C{colour}", label=None if i else RUNS[run])
        axis.set_title(NETWORKS.get(network, network))
        axis.set_xlabel("seconds of training")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("test accuracy, %")
    axes[0][0].legend(fontsize=8)
    figure.suptitle("The same accuracy in less time")
    save(plt, figure, images / "accuracy_against_time.svg")


def draw_saved(plt, data, images):
    mine = [row for row in of(data["rows"], rival="package") if row["run"] in ("exact", "auto")]
    bars = unique((row["network"], row["isa"], row["run"]) for row in mine)
    networks = unique(bar[0] for bar in bars)
    bars.sort(key=lambda bar: networks.index(bar[0]))
    figure, axis = plt.subplots(figsize=(8, 0.4 * len(bars) + 1), constrained_layout=True)
    for place, (network, isa, run) in enumerate(bars):
        rows = of(mine, network=network, isa=isa, run=run)
        mean, error = mean_and_error([100 * r["time_saved_vs_dense"] for r in rows])
        axis.barh(place, mean, xerr=error, color=f"C{1 + ('exact', 'auto').index(run)}",
                  alpha=0.7 if isa == "avx512bw" else 1)
        axis.text(mean + (error or 0) + 1, place, f"{mean:.0f} %, {points([r['accuracy_minus_dense'] for r in rows])} points",
                  va="center", fontsize=9)
    axis.set_yticks(range(len(bars)), [f"{NETWORKS.get(network, network)}, {RUNS[run]}, {INSTRUCTIONS.get(isa, isa)}"
                                       for network, isa, run in bars])
    axis.invert_yaxis()
    axis.set_xlim(0, 120)
    axis.set_title("Training time saved, % (and points of accuracy)")
    save(plt, figure, images / "time_saved.svg")


# ---- Exact passes ----------------------------------------------------------------------------------

def speeds(rows):
    """The speed of each pass, of rows of one layer."""
    by_pass = {row["pass"]: row["speedup_vs_best_dense"] for row in rows}
    return [number(by_pass.get(name)) for name in PASSES]


def exact_layers(data, network):
    mine = of(data["rows"], network=network, engine="adr_exact")
    rows = []
    for layer in unique(row["layer"] for row in mine):
        of_layer = of(mine, layer=layer)
        if layer == "sequence":
            rows.append(["in sequence", "", ""] + [f"**{speed}**" for speed in speeds(of_layer)])
        else:
            shape = of_layer[0]["shape"]
            rows.append([layer, " x ".join(str(shape[k]) for k in "nkm"), of_layer[0]["config"]] + speeds(of_layer))
    return table(["layer", "N x K x M", "form", "forward", "dX", "dW", "step"], rows)


def direct_layers(data):
    mine = of(data["rows"], network="direct", engine="adr_exact")
    batches = sorted(unique(row["batch"] for row in mine))
    rows = []
    for layer in unique(row["layer"] for row in mine):
        cells = [of(mine, layer=layer, batch=batch) for batch in batches]
        rows.append([layer] + [" / ".join(speeds(cell)[:3]) if cell else "" for cell in cells])
    return table(["layer"] + [f"batch {batch}" for batch in batches], rows)


def draw_exact(plt, data, images):
    sums = of(data["rows"], engine="adr_exact", layer="sequence")
    names = unique(row["network"] for row in sums)
    figure, axis = plt.subplots(figsize=(7, 3.2), constrained_layout=True)
    for i, name in enumerate(PASSES):
        heights = [of(sums, network=network, **{"pass": name})[0]["speedup_vs_best_dense"] for network in names]
        axis.bar([place + 0.2 * (i - 1.5) for place in range(len(names))], heights, 0.18, label=name.replace("_", " "))
    axis.axhline(1, color="black", linewidth=0.8)
    axis.text(-0.48, 1.03, "package", fontsize=8)
    axis.set_xticks(range(len(names)), [NETWORKS.get(name, name) for name in names])
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.set_ylim(0, 1.2 * max(row["speedup_vs_best_dense"] for row in sums))
    axis.set_title("Exact convolutions of networks: times the fastest package")
    axis.legend(fontsize=8, ncol=4, loc="upper center")
    save(plt, figure, images / "exact_speed.svg")


# ---- Inference -------------------------------------------------------------------------------------

def chosen(row):
    """The setting of a row; where the library chose, how many of the layers are not exact."""
    if not row["setting"].startswith("at most"):
        return row["setting"]
    reusing = sum(layer["config"] != "exact" for layer in row["layers"])
    return f"{row['setting']}: " + (f"{reusing} of {len(row['layers'])} layers reuse" if reusing else "all exact")


def inference(data):
    rows = [[NETWORKS.get(r["network"], r["network"]), r["batch"], chosen(r), percent(r["dense_accuracy"], 2),
             number(-r["points_lost_where_judged"]), number(r["speedup"], 2, "x"), number(r["convolution_speedup"], 2, "x")]
            for r in data["rows"]]
    return table(["network", "batch", "setting, or points that may be lost", "dense accuracy", "points", "whole network", "convolutions"], rows)


# ---- Reuse -----------------------------------------------------------------------------------------

ENGINES = {"adr_published": "published", "adr_clustered": "clusters with a radius", "adr_stream": "streams"}


def reuse_points(rows):
    """(data, engine) and what its rows computed and gained; data that were cut or taken frame by frame are of one name."""
    found = {}
    for row in rows:
        if row["engine"] in ENGINES:
            found.setdefault((row["data"].split(",")[0], row["engine"]), []).append(
                (row["share_computed"], row["speedup_vs_exact"]))
    return found


def draw_reuse(plt, data, images):
    found = reuse_points(data["rows"])
    names = unique(name for name, _ in found)
    figure, axis = plt.subplots(figsize=(8, 4.2), constrained_layout=True)
    marker = {name: "osD^vP*X<>"[i % 10] for i, name in enumerate(names)}
    colour = {engine: f"C{i}" for i, engine in enumerate(ENGINES)}
    for (name, engine), cells in found.items():
        axis.scatter(*zip(*cells), s=28, marker=marker[name], color=colour[engine], alpha=0.8)
    for engine, words in ENGINES.items():
        axis.plot([], [], "s", color=colour[engine], label=words)
    for name in names:
        axis.plot([], [], marker[name], color="grey", label=name)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_yscale("log", base=2)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("share of the multiply-adds that is computed")
    axis.set_ylabel("times the exact engine")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    axis.set_title("What is not computed is not always time saved")
    save(plt, figure, images / "reuse.svg")


# ---- The page --------------------------------------------------------------------------------------

TABLES = {
    "headline": (ALL_TRAININGS, headline),
    "trainings": ("experiments.json", trainings),
    "trainings avx512": ("experiments_avx512.json", trainings),
    "exact vgg19": ("exact.json", lambda data: exact_layers(data, "vgg19")),
    "exact alexnet": ("exact.json", lambda data: exact_layers(data, "alexnet")),
    "exact cifarnet": ("exact.json", lambda data: exact_layers(data, "cifarnet")),
    "exact vgg19-224": ("exact.json", lambda data: exact_layers(data, "vgg19-224")),
    "exact direct": ("exact.json", direct_layers),
    "inference": ("inference.json", inference),
}
PICTURES = ((ALL_TRAININGS, draw_saved), ("experiments.json", draw_accuracy), ("exact.json", draw_exact), ("reuse.json", draw_reuse))


def filled(page, results):
    """The page with the tables of the results. Errors: ValueError for a table that nothing makes."""
    def replace(match):
        name = match.group(2)
        if name not in TABLES:
            raise ValueError(f"there is no table '{name}'; there are {', '.join(TABLES)}")
        file, make = TABLES[name]
        if not results.get(file):
            return match.group(0)
        return match.group(1) + "\n".join(make(results[file])) + "\n" + match.group(4)
    return re.sub(r"(<!-- table: (.+?) -->\n)(.*?)(<!-- end -->)", replace, page, flags=re.DOTALL)


def save(plt, figure, path):
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    # matplotlib leaves blanks at the ends of lines.
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.split("\n")), encoding="utf-8")


def draw(results, images):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams["svg.hashsalt"] = "adr"  # the same data give the same file
    images.mkdir(exist_ok=True)
    for name, function in PICTURES:
        if results[name]:
            function(plt, results[name], images)


def read_results(folder):
    """The contents of each file, None where it is not there; the trainings together, too."""
    paths = {name: folder / name for name in FILES}
    results = {name: json.loads(path.read_text(encoding="utf-8")) if path.exists() else None for name, path in paths.items()}
    rows = [row for name in TRAININGS if results[name] for row in results[name]["rows"]]
    return results | {ALL_TRAININGS: {"rows": rows} if rows else None}


def self_test():
    def training(run, rival, seed, saved, points_lost):
        return {"network": "cifarnet", "run": run, "rival": rival, "seed": seed, "isa": "avx2", "images": 10, "epochs": 2,
                "seconds": 100 * (1 - saved), "final_accuracy": 0.5, "time_saved_vs_dense": saved,
                "accuracy_minus_dense": points_lost, "seconds_to_dense_accuracy": 3 if points_lost >= 0 else None}
    data = {"rows": [training("dense", "package", 1, 0, 0), training("auto", "package", 1, 0.6, 0.01),
                     training("auto", "package", 2, 0.7, -0.03), training("auto", "own_exact", 1, 0.1, 0) | {"seconds": 40}]}
    assert headline(data)[2:] == ["| CifarNet | avx2 | under the scheduler | 65 % | 10 % | -1.00 ± 2.00 | 2 |"]
    assert trainings(data)[3] == "| CifarNet | under the scheduler | 2 | 10 | 2 | 35 | 50.00 % | 1 of 2, 3 s |"
    def exact(layer, name, speed):
        return {"network": "vgg19", "engine": "adr_exact", "layer": layer, "pass": name, "speedup_vs_best_dense": speed,
                "shape": {"n": 1, "k": 2, "m": 3}, "config": "form", "batch": 4}
    rows = [exact(layer, name, 2.5) for layer in ("conv2", "sequence") for name in PASSES]
    lines = exact_layers({"rows": rows}, "vgg19")
    assert lines[2] == "| conv2 | 1 x 2 x 3 | form | 2.50 | 2.50 | 2.50 | 2.50 |", lines
    assert lines[3] == "| in sequence |  |  | **2.50** | **2.50** | **2.50** | **2.50** |", lines
    page = "before\n<!-- table: exact vgg19 -->\nold\n<!-- end -->\nafter\n"
    made = filled(page, {"exact.json": {"rows": rows}})
    assert made.startswith("before\n<!-- table: exact vgg19 -->\n| layer") and made.endswith("|\n<!-- end -->\nafter\n")
    assert filled(made, {"exact.json": {"rows": rows}}) == made and filled(page, {}) == page
    try:
        filled("<!-- table: nothing -->\n<!-- end -->", {})
        raise AssertionError("a table that nothing makes is refused")
    except ValueError:
        pass
    cut = {"data": "pages, patches of 8", "engine": "adr_clustered", "share_computed": 0.2, "speedup_vs_exact": 1.5}
    assert reuse_points([cut, cut | {"engine": "adr_exact"}]) == {("pages", "adr_clustered"): [(0.2, 1.5)]}
    layers = [{"config": "exact"}, {"config": "subspace of 8 coordinates"}]
    assert chosen({"setting": "at most 0.5", "layers": layers}) == "at most 0.5: 1 of 2 layers reuse"
    assert chosen({"setting": "at most 0.5", "layers": layers[:1]}) == "at most 0.5: all exact"
    assert chosen({"setting": "exact", "layers": []}) == "exact"
    assert points([0.01]) == "+1.00" and number(None) == "-"
    print("report.py: self-test passed")


def main():
    arguments = sys.argv[1:]
    if arguments == ["--self-test"]:
        return self_test()
    checks = arguments[-1:] == ["--check"]
    if checks:
        arguments.pop()
    if len(arguments) < 2:
        sys.exit(__doc__)
    folder, pages = pathlib.Path(arguments[0]), [pathlib.Path(page) for page in arguments[1:]]
    results = read_results(folder)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        made = filled(text, results)
        if not checks:
            page.write_text(made, encoding="utf-8")
            continue
        missing = [name for name in re.findall(r"<!-- table: (.+?) -->", text) if not results[TABLES[name][0]]]
        if missing:
            sys.exit(f"{page}: the results of {', '.join(missing)} are not in {folder}")
        if made != text:
            sys.exit(f"{page}: a table is not that of {folder}: run scripts/report")
    if not checks:
        draw(results, pages[0].parent / "images")
        print(f"{', '.join(map(str, pages))}: " + ", ".join(name for name in FILES if results[name]))


if __name__ == "__main__":
    main()
