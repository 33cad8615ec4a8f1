#!/usr/bin/env python3
"""Makes performance.md and its pictures from result files.

    report.py RESULTS DOCS     RESULTS holds the files that FILES names
    report.py --self-test      checks the arithmetic on made-up rows

A section whose file is not there says so. Nothing in the document is written by hand: change this program or the
results, and make it again (scripts/report).
"""
import json
import pathlib
import statistics
import sys

import experiments

WORTH_THREADS = 1e8  # multiply-adds: less takes microseconds, in which waking a thread is what is timed
SHARED = ("adr_codebook", "adr_subspace")  # this library's methods in training; codebooks in earlier recordings alone
GRADIENTS = "adr_gradients"  # exact forward passes, gradients over non-zeros
PUBLISHED = ("adr_published", "adr_hyperplane")  # the published method; the latter in earlier recordings
MAIN_PASSES = ("forward", "weight_gradient", "input_gradient")


def read(folder, name):
    path = folder / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def mean(values):
    values = [v for v in values if v is not None]
    return statistics.fmean(values) if values else None


def number(value, digits=2, suffix=""):
    return "-" if value is None else f"{value:.{digits}f}{suffix}"


def percent(value, digits=0):
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def points(value):
    return "-" if value is None else f"{100 * value:+.2f}"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def unique(values):
    return list(dict.fromkeys(values))


# ---- Machines --------------------------------------------------------------------------------------

def machine_lines(machines):
    lines = []
    for m in unique(json.dumps(m, sort_keys=True) for m in machines):
        facts = json.loads(m)
        parts = []
        for key, value in facts.items():
            if isinstance(value, dict):
                value = ", ".join(f"{k} {v}" for k, v in value.items())
            if isinstance(value, list):
                value = ", ".join(str(v) for v in value)
            if value not in ("", None):
                parts.append(f"{key.replace('_', ' ')}: {value}")
        lines.append("- " + "; ".join(parts))
    return lines


def section(title, commands, data, machines, body):
    lines = [f"## {title}", "", "Command:" if len(commands) == 1 else "Commands:", "", "```", *commands, "```", ""]
    if data is None:
        return lines + ["Not measured: the result file is not there.", ""]
    return lines + machine_lines(machines) + [""] + body + [""]


# ---- Training --------------------------------------------------------------------------------------

RUN_NAMES = {"dense": "dense, the fastest of everything", "dense-openblas": "dense, im2col + OpenBLAS",
             "exact": "exact, this library", "exact-direct": "exact without Winograd",
             "auto": "auto (error budget)",
             "published-fixed": "published, fixed L and H",
             "published-plateau": "published, plateau ladder", "published-reuse": "published, cluster reuse first"}


def by_run(rows):
    groups = {}
    for row in rows:
        groups.setdefault((row["network"], row["run"]), []).append(row)
    return groups


def deviation(rows, key):
    values = [row[key] for row in rows if row[key] is not None]
    return statistics.stdev(values) if len(values) > 1 else None


def changes_of_plan(network, plan):
    """Options that give a network another plan than its own."""
    return "".join(f" --{name} {value}" for name, value in plan.items()
                   if experiments.NETWORKS.get(network, plan)[name] != value)


def training_commands(data, environment=""):
    """What makes the rows: the runs of a network that were made for the same seeds are one series."""
    series = {}
    for (network, run), rows in by_run(data["rows"]).items():
        seeds = ",".join(str(r["seed"]) for r in sorted(rows, key=lambda r: r["seed"]))
        series.setdefault((network, seeds), []).append(run)
    return [f"{environment}scripts/experiments --networks {network} --runs {','.join(runs)} --seeds {seeds}"
            + changes_of_plan(network, data.get("plans", {}).get(network, {}))
            for (network, seeds), runs in series.items()]


def joining_command(data):
    networks = ",".join(unique(row["network"] for row in data["rows"]))
    return f"scripts/experiments --networks {networks} --no-new-runs --json docs/results/experiments.json"


def training_table(data):
    header = ["network", "run", "seeds", "images", "epochs", "seconds", "saved vs the fastest dense",
              "saved vs im2col + BLAS", "accuracy", "minus dense (points)", "reaches dense's accuracy"]
    lines = []
    for (network, run), rows in by_run(data["rows"]).items():
        reached = [r["seconds_to_dense_accuracy"] for r in rows]
        count = sum(r is not None for r in reached)
        spread = deviation(rows, "accuracy_minus_dense")
        difference = points(mean(r["accuracy_minus_dense"] for r in rows))
        if spread is not None and run != "dense":
            difference += f" ± {100 * spread:.2f}"
        lines.append([network, RUN_NAMES.get(run, run), len(rows), rows[0]["images"], rows[0]["epochs"],
                      number(mean(r["seconds"] for r in rows), 0),
                      percent(mean(r["time_saved_vs_dense"] for r in rows)),
                      percent(mean(r["time_saved_vs_unfolded"] for r in rows)),
                      percent(mean(r["final_accuracy"] for r in rows), 2), difference,
                      f"{count} of {len(rows)}" + (f", {mean(reached):.0f} s" if count else "")])
    plans = [f"- {network}: " + ", ".join(f"{k} {v}" for k, v in plan.items())
             for network, plan in data.get("plans", {}).items()]
    return table(header, lines) + [
        "", "Seconds of training with everything in them but the test, and accuracies, are means over the run's own seeds, so that "
        "rows of different seeds do not compare; savings and differences are against the dense run of the same seed, as far as "
        "there is one; ± is the standard deviation over seeds. The last column counts the seeds that had, after any epoch, at least "
        "the final accuracy of their dense run, and when on average. Plans; 0 images stands for all of them:", ""] + plans + [
        f"- {network}, {RUN_NAMES['auto']}: {phases}" for network, phases in data.get("phases", {}).items()]


def training_body(data):
    return training_table(data) + [
        "", "![Test accuracy against seconds of training](images/accuracy_against_time.svg)",
        "", "![Time saved per network](images/time_saved.svg)"]


def many_cores_body(data):
    """One layer with more and more threads: speed-ups over the fastest dense engine at as many."""
    counts = sorted(unique(r["threads"] for r in data["rows"]))
    settings = unique((r["layer"], r["engine"], r["config"].split(",")[0], r["pass"]) for r in data["rows"] if saves(r))
    cells = []
    for layer, engine, config, name in settings:
        rows = {r["threads"]: r for r in data["rows"] if r["config"].split(",")[0] == config
                and (r["layer"], r["engine"], r["pass"]) == (layer, engine, name)}
        error = "relative_error_of_output" if name == "step" else "relative_error"
        cells.append([layer, config, name.replace("_", " "), number(rows[counts[0]][error], 3)] +
                     [number(rows[t]["speedup_vs_best_dense"], 2, "x") if t in rows else "-" for t in counts])
    dense = [r for r in data["rows"] if r["engine"] == r["best_dense"]]
    dense = [", ".join(f"{name.replace('_', ' ')} {number(1000 * r['seconds_median'], 1)} ms" for name in MAIN_PASSES
                       for r in dense if r["pass"] == name and r["threads"] == t) for t in counts]
    return ["Speed-ups over the fastest dense engine of the pass at as many threads; errors are relative, of the result of the pass, "
            "of a step those of its output. The fastest dense engine takes: " +
            "; ".join(f"{t} thread(s): {line}" for t, line in zip(counts, dense)) + ".", ""] + table(["layer", "setting", "pass", "error"] + [f"{t} thread(s)" for t in counts], cells)


def draw_training(plt, data, images):
    networks = unique(row["network"] for row in data["rows"])
    figure, axes = plt.subplots(1, len(networks), figsize=(5 * len(networks), 3.6), squeeze=False,
                                constrained_layout=True)
    runs = unique(row["run"] for row in data["rows"])
    colours = {run: f"C{i}" for i, run in enumerate(runs)}
    for axis, network in zip(axes[0], networks):
        named = set()
        for row in data["rows"]:
            if row["network"] != network:
                continue
            label = None if row["run"] in named else RUN_NAMES.get(row["run"], row["run"])
            named.add(row["run"])
            axis.plot(row["seconds_by_epoch"], [100 * a for a in row["accuracy_by_epoch"]], "o-", markersize=3,
                      linewidth=1, color=colours[row["run"]], label=label)
        axis.set_title(network)
        axis.set_xlabel("seconds of training")
        axis.set_ylabel("test accuracy, %")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    save(plt, figure, images / "accuracy_against_time.svg")

    groups = {key: rows for key, rows in by_run(data["rows"]).items() if key[1] != "dense"}
    figure, axis = plt.subplots(figsize=(8, 0.45 * len(groups) + 1.2), constrained_layout=True)
    for shift, key, colour, label in ((-0.2, "time_saved_vs_dense", "tab:blue", "the fastest dense"),
                                      (0.2, "time_saved_vs_unfolded", "tab:orange", "im2col + OpenBLAS")):
        values = [(place, mean(r[key] for r in rows)) for place, rows in enumerate(groups.values())]
        values = [(place + shift, 100 * value) for place, value in values if value is not None]
        axis.barh([place for place, _ in values], [value for _, value in values], 0.38, color=colour, label=label)
    axis.set_yticks(range(len(groups)), [
        f"{network}: {RUN_NAMES.get(run, run)} ({points(mean(r['accuracy_minus_dense'] for r in rows))} points)"
        for (network, run), rows in groups.items()], fontsize=8)
    axis.invert_yaxis()
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel("% of training time saved against")
    axis.legend(fontsize=8)
    axis.grid(axis="x", alpha=0.3)
    save(plt, figure, images / "time_saved.svg")


def steps_body(data):
    cells = [[r["network"], RUN_NAMES[r["run"]], r["batch"], r["steps"], f"{r['seconds_per_step']:.2f}",
              percent(r["time_of_dense"]), f"{r['loss']:.3f}"] for r in data["rows"]]
    return table(["network", "run", "batch", "steps", "seconds per step", "time of the fastest dense", "loss"], cells) + [
        "", "Training on a few photographs (any uint8 images in a .npy of count x 3 x height x width do), for times alone; the median "
        "epoch of the second half, over its 4 steps."]


# ---- Layers ----------------------------------------------------------------------------------------

def moments(data):
    return unique((row["network"], row.get("moment", "")) for row in data["rows"])


def saves(row):
    """Whether the pass of the row is one that this library computes in another way than densely."""
    if row["config"].startswith("subspace of ") and row["pass"].endswith("_gradient") and "rounded" not in row["config"]:
        return False  # by the exact engine
    return row["engine"] in SHARED or (row["engine"] == GRADIENTS and row["pass"] != "forward")


def multiply_adds(row):
    return row["shape"]["n"] * row["shape"]["k"] * row["shape"]["m"]


def is_timed_well(row):
    """Not a small layer on several threads, where waking them is what is timed."""
    return row["threads"] == 1 or multiply_adds(row) >= WORTH_THREADS


def judged(data):
    """The rows that say whether reuse wins or loses."""
    return [r for r in data["rows"] if saves(r) and is_timed_well(r) and r["pass"] in MAIN_PASSES + ("step",)]


def fastest(rows, least, most, error="relative_error"):
    """Speed-up and error of the fastest reuse whose error lies between those; a dash without one."""
    fitting = [r for r in rows if saves(r) and r.get(error) is not None and least <= r[error] <= most]
    best = max(fitting, key=lambda r: r["speedup_vs_best_dense"], default=None)
    return "-" if best is None else f"{best['speedup_vs_best_dense']:.2f}x ({best[error]:.3f})"


def layer_commands(data, what):
    """What makes the rows: networks of the same moments are one run."""
    runs = {}
    for network in unique(r["network"] for r in data["rows"]):
        mine = [r for r in data["rows"] if r["network"] == network]
        flags = ""
        if what == "layers":
            flags = " --moments " + ",".join(unique(r["moment"] for r in mine))
            flags += " --threads " + ",".join(str(t) for t in unique(r["threads"] for r in mine))
        runs.setdefault(flags, []).append(network)
    commands = [f"scripts/networks {what} --networks {','.join(networks)}{flags} --json docs/results/{what}.json"
                for flags, networks in runs.items()]
    commands[1:] = [f"{command} --add" for command in commands[1:]]
    if any(network.endswith("-224") for network in unique(r["network"] for r in data["rows"])):
        commands.insert(0, "scripts/networks snapshots --images IMAGES.npy")
    return commands


EXACT = 1e-4  # errors of rounding stay below


def layers_body(data):
    lines = []
    for network, moment in moments(data):
        rows = [r for r in data["rows"] if (r["network"], r.get("moment", "")) == (network, moment)]
        lines += [f"### {network}, {moment}" if moment else f"### {network}", ""]
        for threads in unique(r["threads"] for r in rows):
            mine = [r for r in rows if r["threads"] == threads]
            cells = []
            for layer in unique(r["layer"] for r in mine if is_timed_well(r)):
                of_layer = [r for r in mine if r["layer"] == layer]
                forward = [r for r in of_layer if r["pass"] == "forward"]
                passes = {name: [r for r in of_layer if r["pass"] == name] for name in ("weight_gradient", "input_gradient", "step")}
                line = [layer, "x".join(str(forward[0]["shape"][k]) for k in "nkm"), forward[0]["best_dense"]]
                line += [fastest(forward, 0, error) for error in (0.05, 0.1, 0.2)]
                line.append(fastest(passes["weight_gradient"], 0, EXACT))
                for engines in ((GRADIENTS,), SHARED):
                    line.append(fastest([r for r in passes["weight_gradient"] if r["engine"] in engines], EXACT, 1))
                line.append(fastest(passes["input_gradient"], 0, 1))
                line += [fastest(passes["step"], 0, error, "relative_error_of_output") for error in (0.1, 0.2)]
                published = next((r for r in forward if r["engine"] in PUBLISHED), None)
                line.append("-" if published is None else
                            f"{published['speedup_vs_best_dense']:.2f}x ({published['relative_error']:.2f})")
                cells.append(line)
            lines += [f"{threads} thread(s), batch {mine[0]['batch']}, layout {mine[0]['layout']}:", ""]
            lines += table(["layer", "N x K x M", "best dense forward", "forward, error ≤ 0.05", "≤ 0.1", "≤ 0.2",
                            "dW, exact", "dW, rounded", "dW, clusters", "dX", "step, forward error ≤ 0.1", "≤ 0.2", "published forward"],
                           cells) + [""]
    total = judged(data)
    rounds = sorted(len(r["seconds"]) for r in data["rows"])
    losing = [r for r in total if r["speedup_vs_best_dense"] < 1]
    with_exact = unique(r["network"] for r in data["rows"] if r["engine"] == GRADIENTS)
    lines += ["Speed-ups are over the fastest dense engine of that pass at as many threads, in the same rounds, of the "
              "fastest setting of codebooks and subspaces"
              + (", and of exact forward passes with gradients over non-zeros (fully connected layers of "
                 f"{' and '.join(with_exact)})" if with_exact else "") +
              "; errors in brackets, relative, of the pass's own result, of a step those of its output. dW, exact: over the "
              "non-zeros of the output gradient; rounded: over those that unbiased rounding leaves; clusters: of the clusters of the "
              "forward pass, which is biased. dX: over the non-zeros, where the error is above 0 those of a gradient rounded "
              "without bias. A step is all that training does with the layer. A dash: no setting within that error, or none measured; "
              "fitting to wide fully connected layers takes minutes, and above 1024 elements is not done any more.", "",
              f"Medians of {rounds[0]} to {rounds[-1]} rounds (`--benchmark_repetitions`), half of them of {statistics.median(rounds):.0f} "
              "at most: a single ratio may be off by a fifth, and the fastest of several settings is named, which favours reuse. Layers of "
              "less than 100 million multiply-adds are left out with two threads, where waking a thread is what is timed.", "",
              "![Speed against error per layer](images/speed_against_error.svg)", "",
              "![Speed-up of two threads over one](images/thread_scaling.svg)" if has_scaling(data) else
              "Thread scaling was not measured in this run (`--threads 1,2`).", "", "### Where reuse loses", "",
              f"{len(losing)} of {len(total)} rows of reuse are slower than the fastest dense engine. By layer, the passes in "
              f"which no setting is faster at any moment and number of threads; {losing_at_times(data)} more lose at one of them. Exact "
              "forward passes with gradients over non-zeros, which a schedule uses where nothing else pays, were measured here for the "
              "fully connected layers of the large networks alone: see the next section for the others.", ""]
    return lines + losing_lines(data)


def has_scaling(data):
    return any(r.get("speedup_vs_one_thread") for r in data["rows"])


def best_by(data, key_of):
    """The best speed-up of reuse, by what key_of takes rows for the same."""
    best = {}
    for r in judged(data):
        best[key_of(r)] = max(best.get(key_of(r), 0), r["speedup_vs_best_dense"])
    return best


def pass_of(row):
    return row["network"], row["layer"], row["pass"]


def losing_at_times(data):
    """How many passes lose at some moment and number of threads, but not at all of them."""
    always = best_by(data, pass_of)
    single = best_by(data, lambda r: (pass_of(r), r.get("moment"), r["threads"]))
    return len({key for (key, _, _), best in single.items() if best < 1 <= always[key]})


def losing_lines(data):
    lines = {}
    for (network, layer, name), best in best_by(data, pass_of).items():
        if best < 1:
            lines.setdefault(network, []).append(f"{layer} {name.replace('_', ' ')} ({best:.2f}x)")
    return [f"- {network}: " + ", ".join(found) for network, found in lines.items()] or ["- none"]


def draw_layers(plt, data, images):
    networks = unique(row["network"] for row in data["rows"])
    columns = min(3, len(networks))
    lines = (len(networks) + columns - 1) // columns
    figure, axes = plt.subplots(lines, columns, figsize=(5 * columns, 3.8 * lines), squeeze=False,
                                constrained_layout=True)
    styles = {("adr_codebook",): ("o", "tab:blue", "codebooks"), ("adr_subspace",): ("s", "tab:green", "subspaces"),
              PUBLISHED: ("x", "tab:red", "published")}
    for axis, network in zip(axes.flat, networks):
        threads = min(r["threads"] for r in data["rows"] if r["network"] == network)
        for engines, (marker, colour, label) in styles.items():
            rows = [r for r in data["rows"] if r["network"] == network and r["engine"] in engines
                    and r["pass"] == "forward" and r["relative_error"] is not None and r["threads"] == threads]
            axis.scatter([r["relative_error"] for r in rows], [r["speedup_vs_best_dense"] for r in rows], s=14,
                         marker=marker, color=colour, label=label, alpha=0.7)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_yscale("log")
        axis.set_title(f"{network}, forward, {threads} thread(s)")
        axis.set_xlabel("relative output error")
        axis.set_ylabel("speed-up over the fastest dense")
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=7)
    for axis in list(axes.flat)[len(networks):]:
        axis.set_visible(False)
    save(plt, figure, images / "speed_against_error.svg")

    if not has_scaling(data):
        return
    engines = unique(r["engine"] for r in data["rows"] if r.get("speedup_vs_one_thread"))
    figure, axis = plt.subplots(figsize=(8, 0.35 * len(engines) + 1.4), constrained_layout=True)
    values = [[r["speedup_vs_one_thread"] for r in data["rows"] if r["engine"] == e and r.get("speedup_vs_one_thread")
               and r["pass"] in MAIN_PASSES and is_timed_well(r)] for e in engines]
    kept = [(e, v) for e, v in zip(engines, values) if v]
    axis.boxplot([v for _, v in kept], vert=False, widths=0.6, showfliers=False)
    axis.set_yticks(range(1, len(kept) + 1), [e for e, _ in kept], fontsize=8)
    axis.set_xlabel("speed-up of two threads over one, passes of at least 100 million multiply-adds")
    axis.grid(axis="x", alpha=0.3)
    save(plt, figure, images / "thread_scaling.svg")


# ---- Never lose ------------------------------------------------------------------------------------

def adaptive_body(data):
    rows = data["rows"]
    costs = [r["cost"] for r in rows]
    above = [r for r in rows if r["cost"] > 1.03]
    lines = [f"{len(rows)} layers from the first step on, exact gradients; dense is im2col and the product named above, not the "
             f"fastest convolution of the other sections. Auto takes {min(costs):.2f} to {max(costs):.2f} of dense, "
             f"{statistics.fmean(costs):.2f} on average; more than 1.03 on {len(above)}. The error meter and measuring settings "
             f"take {100 * statistics.fmean(r['meter_share'] for r in rows):.2f} % of its time on average, the scheduler at most "
             f"{1e6 * max(r['scheduler_seconds'] for r in rows):.1f} us a step.", ""]
    cells = [[r["shape"]["layer"], r["data"], r["steps"], number(r["cost"], 3), number(r["relative_error"], 3), r["config"],
              r["reason"]] for r in rows]
    return lines + table(["layer", "data", "steps", "auto / dense", "largest error", "setting at the end", "because"],
                         cells) + [
        "", "dense-cheapest_exact-cheapest_exact_dw is an exact forward pass with gradients over the non-zeros where that is faster: "
        "all that is gained where no setting fits. Measuring may take 1 % of 400 dense steps, a larger share of these short rounds."]


# ---- Inference -------------------------------------------------------------------------------------

def inference_body(data):
    lines = []
    cells = []
    for row in data["rows"]:
        best = max(row["layers"], key=lambda layer: layer["speedup"])
        chosen = ", ".join(f"≤ {p} points" for p in row["chosen_for_points"])
        cells.append([row["network"], row["dense_backend"], row["setting"], percent(row["dense_accuracy"], 2),
                      percent(row["accuracy"], 2), number(-row["points_lost_where_chosen"]),
                      number(-row["points_lost_where_judged"]), number(row["speedup"], 2, "x"),
                      number(row["convolution_speedup"], 2, "x"), f"{best['layer']} {best['speedup']:.1f}x", chosen])
    lines += table(["network", "dense by", "budget", "dense accuracy", "accuracy", "points, where chosen",
                    "points, where judged", "whole network", "convolutions", "best layer", "chosen for"], cells)
    return lines + [
        "", "The convolutions run the fastest settings that are expected to keep the network's output within the budget, a "
        "relative error: each has an influence on the output, measured alone. They learn from training images and are "
        "frozen; the weights are those of a dense training, not always of one above: its accuracy is in the table. The "
        "budget is chosen on one half of the test images, and the points are shown for both halves. Speed-ups are medians "
        "over batches, dense and reuse in turns.",
        "", "![Accuracy lost against speed of inference](images/inference.svg)"]


def draw_inference(plt, data, images):
    figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for i, key in enumerate(unique((r["network"], r["dense_backend"]) for r in data["rows"])):
        rows = [r for r in data["rows"] if (r["network"], r["dense_backend"]) == key and r["setting"] != "published"]
        axis.plot([r["speedup"] for r in rows], [100 * (r["accuracy"] - r["dense_accuracy"]) for r in rows], "o-",
                  markersize=4, color=f"C{i}", label=f"{key[0]}, dense by {key[1]}")
        for r in data["rows"]:
            if (r["network"], r["dense_backend"]) == key and r["setting"] == "published":
                axis.plot(r["speedup"], 100 * (r["accuracy"] - r["dense_accuracy"]), "x", color=f"C{i}")
    axis.set_ylim(bottom=-12, top=1)
    axis.axhline(-0.5, color="black", linewidth=0.6, linestyle=":")
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xlabel("speed-up of the whole network (x: published method)")
    axis.set_ylabel("points of accuracy against dense")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    save(plt, figure, images / "inference.svg")


# ---- Stages ----------------------------------------------------------------------------------------

def stages_of(data):
    """The rows with times per stage, and the names of the stages that take any."""
    rows = [r for r in data["rows"] if r.get("stage_seconds_of_both_passes") and r["shape"].get("layout") == "nhwc"]
    return rows, unique(name for r in rows for name, s in r["stage_seconds_of_both_passes"].items() if s > 0)


def stages_body(data):
    rows, names = stages_of(data)
    cells = [[r["shape"]["layer"], r["config"]]
             + [number(1e3 * r["stage_seconds_of_both_passes"].get(n, 0)) for n in names] for r in rows]
    return table(["layer", "setting"] + [n.replace("_", " ") for n in names], cells) + [
        "", "Milliseconds of one forward and one backward pass, one thread, layout nhwc.", "",
        "![Time per stage and setting](images/time_per_stage.svg)"]


def draw_stages(plt, data, images):
    rows, names = stages_of(data)
    layers = unique(r["shape"]["layer"] for r in rows)
    figure, axes = plt.subplots(1, len(layers), figsize=(6 * len(layers), 4.6), squeeze=False, constrained_layout=True)
    for axis, layer in zip(axes.flat, layers):
        mine = [r for r in rows if r["shape"]["layer"] == layer]
        left = [0.0] * len(mine)
        for i, name in enumerate(names):
            width = [1e3 * r["stage_seconds_of_both_passes"].get(name, 0) for r in mine]
            axis.barh(range(len(mine)), width, left=left, color=plt.get_cmap("tab20")(i % 20), label=name.replace("_", " "))
            left = [a + b for a, b in zip(left, width)]
        axis.set_yticks(range(len(mine)), [r["config"] for r in mine], fontsize=7)
        axis.invert_yaxis()
        axis.set_title(f"{layer}, forward and backward, one thread")
        axis.set_xlabel("ms")
        axis.grid(axis="x", alpha=0.3)
    axes.flat[-1].legend(fontsize=6, loc="lower right")
    save(plt, figure, images / "time_per_stage.svg")


# ---- The document ----------------------------------------------------------------------------------

def save(plt, figure, path):
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    # matplotlib leaves blanks at the ends of lines.
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.split("\n")), encoding="utf-8")


def document(results):
    training, layers = results["experiments.json"], results["layers.json"]
    adaptive, inference, stages = results["adaptive.json"], results["inference.json"], results["stages.json"]
    steps = results["steps.json"]
    many, many_layers = results["experiments_16_cores.json"], results["layers_16_cores.json"]
    lines = ["# Performance", "", "Made by `scripts/report` from the files in `docs/results`. The machines are shared and "
             "noisy. In the tables of layers, inference and auto against dense, ratios come from runs in turns: trust them more than "
             "seconds. Trainings ran one after the other, the published strategies hours before or after the dense runs they are "
             "compared with, so that their savings are good to some five points. Recorded before codebooks were deleted "
             "([decision 16](decisions/0016-no-codebooks.md)): S8T16 are 8 of them with 16 entries, principal12 is a grid of 2^12 "
             "cells, deleted as well. subspace32 is a subspace of 32 coordinates, L25H10 the published method with L 25 and H 10; "
             "engines as in [bench](../bench/README.md). Measurements of CifarNet's layers with AVX-512 are in "
             "[Layers with AVX-512](layers_avx512.md).", ""]
    lines += section("Training",
                     training_commands(training) + [joining_command(training)] if training else ["scripts/experiments"],
                     training, training["machines"] if training else [], training_body(training) if training else [])
    lines += section("Training on 16 cores with AVX-512",
                     training_commands(many, "OPENBLAS_CORETYPE=SkylakeX ") if many else ["scripts/experiments"], many,
                     many["machines"] if many else [],
                     training_table(many) + ["", many["remark"]] if many else [])
    lines += section("A layer on 16 cores with AVX-512",
                     ["OPENBLAS_CORETYPE=SkylakeX scripts/networks layers --networks cifarnet --moments trained --threads 1,4,16 "
                      "--benchmark_filter=conv2/ --benchmark_repetitions=3 --json docs/results/layers_16_cores.json"],
                     many_layers, many_layers["machines"] if many_layers else [],
                     many_cores_body(many_layers) if many_layers else [])
    lines += section("Steps of the networks for 224 x 224 pixels",
                     ["scripts/networks steps --images IMAGES.npy --json docs/results/steps.json"], steps,
                     steps["machines"] if steps else [], steps_body(steps) if steps else [])
    lines += section("Inference", ["scripts/networks inference --json docs/results/inference.json"], inference,
                     inference["machines"] if inference else [], inference_body(inference) if inference else [])
    lines += section("Layers", layer_commands(layers, "layers") if layers else ["scripts/networks layers"], layers,
                     layers["machines"] if layers else [], layers_body(layers) if layers else [])
    lines += section("Auto against dense, layer by layer",
                     layer_commands(adaptive, "adaptive") if adaptive else ["scripts/networks adaptive"], adaptive,
                     adaptive["machines"] if adaptive else [], adaptive_body(adaptive) if adaptive else [])
    lines += section("Time per stage", ["ADR_SNAPSHOTS=FOLDER scripts/bench stages --benchmark_repetitions=3 --json docs/results/stages.json"], stages,
                     [stages["machine"]] if stages else [], stages_body(stages) if stages else [])
    return "\n".join(lines).rstrip() + "\n"


def draw(results, images):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams["svg.hashsalt"] = "adr"  # the same data give the same file
    for name, function in (("experiments.json", draw_training), ("layers.json", draw_layers),
                           ("inference.json", draw_inference), ("stages.json", draw_stages)):
        if results[name]:
            function(plt, results[name], images)


def self_test():
    def row(engine, error, speedup):
        return {"engine": engine, "relative_error": error, "speedup_vs_best_dense": speedup, "network": "n", "layer": "l",
                "pass": "forward", "threads": 1, "config": ""}
    rows = [row("adr_codebook", 0.2, 5.0), row("adr_codebook", 0.08, 3.0), row("adr_subspace", 0.04, 0.9),
            row("adr_published", 0.01, 9.0)]
    assert fastest(rows, 0, 0.1) == "3.00x (0.080)"
    assert fastest(rows, 0, 0.05) == "0.90x (0.040)"
    assert fastest(rows, 0.1, 1) == "5.00x (0.200)"
    assert fastest(rows, 0, 0.01) == "-"
    assert fastest([row(GRADIENTS, 0.0, 1.0)], 0, 1) == "-"
    assert fastest([row(GRADIENTS, 0.0, 2.0) | {"pass": "weight_gradient"}], 0, 1) == "2.00x (0.000)"
    of_subspace = rows[2] | {"pass": "input_gradient", "config": "subspace of 16 coordinates, products by adr"}
    assert not saves(of_subspace)
    assert saves(of_subspace | {"config": "subspace of 16 coordinates with rounded gradients, products by adr"})
    assert saves(of_subspace | {"pass": "forward"})
    runs = [{"network": "n", "run": run, "seed": seed} for run, seeds in (("dense", (2, 1)), ("auto", (1, 2)), ("other", (1,)))
            for seed in seeds]
    assert training_commands({"rows": runs}) == [
        "scripts/experiments --networks n --runs dense,auto --seeds 1,2", "scripts/experiments --networks n --runs other --seeds 1"]
    assert joining_command({"rows": runs}).startswith("scripts/experiments --networks n --no-new-runs --json")
    own = experiments.NETWORKS["vgg19"]
    assert changes_of_plan("vgg19", own) == "" and changes_of_plan("vgg19", own | {"epochs": 7}) == " --epochs 7"
    measured = [{"network": n, "moment": m, "threads": t} for n, m, t in (("a", "x", 1), ("a", "y", 2), ("b", "x", 1))]
    assert layer_commands({"rows": measured}, "layers") == [
        "scripts/networks layers --networks a --moments x,y --threads 1,2 --json docs/results/layers.json",
        "scripts/networks layers --networks b --moments x --threads 1 --json docs/results/layers.json --add"]
    assert layer_commands({"rows": measured}, "adaptive") == ["scripts/networks adaptive --networks a,b --json docs/results/adaptive.json"]
    slow = rows[2] | {"threads": 2, "shape": {"n": 10000, "k": 1000, "m": 100}, "speedup_vs_best_dense": 0.5}
    assert losing_at_times({"rows": [rows[0], slow]}) == 1 and losing_at_times({"rows": [rows[2], slow]}) == 0
    assert not is_timed_well(slow | {"shape": {"n": 10, "k": 10, "m": 10}})
    assert losing_lines({"rows": rows}) == ["- none"]
    assert losing_lines({"rows": rows[2:]}) == ["- n: l forward (0.90x)"]
    assert table(["a", "b"], [[1, 2]]) == ["| a | b |", "|---|---|", "| 1 | 2 |"]
    assert points(-0.0123) == "-1.23" and percent(0.5) == "50 %" and number(None) == "-"
    assert mean([None, 1, 3]) == 2
    empty = document(dict.fromkeys(FILES))
    assert empty.count("Not measured") == len(FILES), empty
    print("report.py: self-test passed")


FILES = ("experiments.json", "experiments_16_cores.json", "layers_16_cores.json", "steps.json", "layers.json", "adaptive.json",
         "inference.json", "stages.json")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    results_folder, docs = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    results = {name: read(results_folder, name) for name in FILES}
    images = docs / "images"
    images.mkdir(exist_ok=True)
    draw(results, images)
    (docs / "performance.md").write_text(document(results), encoding="utf-8")
    print(f"{docs / 'performance.md'}: " + ", ".join(name for name in FILES if results[name]))
    return None


if __name__ == "__main__":
    main()
