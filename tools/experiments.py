#!/usr/bin/env python3
"""Runs series of trainings one after the other and compares them: time saved, accuracy, time to accuracy.

    experiments.py --train PROGRAM [--networks NAME,...] [--runs NAME,...] [--seeds 1,2,3] [--epochs E]
                   [--out FOLDER] [--json FILE [--add]] [--csv FILE] [--limit-seconds S] [--background] [--no-new-runs]
    experiments.py --self-test      checks the arithmetic on made-up runs

Every run leaves NETWORK-RUN-seedS.csv (a row per epoch) and .json (command, machine, versions) in FOLDER; a run whose
files are complete and of the same command is not made again.
"""
import argparse
import csv
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

import result_file

# What is compared: the dense rivals, this library without reuse, its schedule, and the published method.
RUNS = {
    "dense": ["--mode", "dense", "--dense-backend", "fastest"],
    "exact": ["--mode", "exact", "--dense-backend", "exact"],
    "exact-direct": ["--mode", "exact", "--dense-backend", "direct"],
    "dense-openblas": ["--mode", "dense", "--dense-backend", "openblas"],
    "auto": ["--mode", "auto", "--strategy", "error_budget", "--dense-backend", "exact"],
    "published-fixed": ["--mode", "published", "--dense-backend", "exact"],
    "published-plateau": ["--mode", "auto", "--strategy", "plateau_ladder", "--dense-backend", "exact"],
    "published-reuse": ["--mode", "auto", "--strategy", "cluster_reuse_first", "--dense-backend", "exact"],
}
DIVERGED = 3  # the program's exit status
USUAL_FOLDER = "build/experiments"
DENSE = "dense"
# What savings are measured against, and the run that is it: the fastest package for every pass; im2col and a product,
# the baseline of the published work; this library's exact engine, to see what reuse adds.
RIVALS = {"package": DENSE, "im2col_blas": "dense-openblas", "own_exact": "exact"}
# The packages of a system that has oneDNN 3, and the same where its products may round their factors to bf16: runs of a
# build against those are compared among themselves.
ONEDNN3 = "onednn3"
BF16 = "onednn3_bf16"
PACKAGES = {"package": {}, ONEDNN3: {}, BF16: {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}}  # the environment of their runs
# What makes the dense rivals run on other instructions.
RIVALS_ENVIRONMENT = ("OPENBLAS_CORETYPE", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE")

# How each network is trained, the same way in every run, so that a series of one seed takes some two hours on two
# cores; 0 images: all of them.
NETWORKS = {
    "cifarnet": {"epochs": 6, "batch": 128, "lr": 0.01, "lr-step": 2, "train-images": 0, "test-images": 0},
    "alexnet": {"epochs": 6, "batch": 128, "lr": 0.01, "lr-step": 2, "train-images": 10000, "test-images": 0},
    "vgg19": {"epochs": 6, "batch": 64, "lr": 0.01, "lr-step": 0, "train-images": 4000, "test-images": 2000},
    "vgg19-bn": {"epochs": 6, "batch": 64, "lr": 0.01, "lr-step": 0, "train-images": 4000, "test-images": 2000},
}

# The phases of the schedule: the library's own, SchedulerOptions::phases.
MAX_ERROR = 0.02
PHASES = f"the usual ones: an error of {MAX_ERROR}, noise of rounding up to 0.1, by steps up to 4"


def read_epochs(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [{"seconds": float(row["seconds"]), "total": float(row["total_seconds"]),
                 "loss": float(row["train_loss"]), "accuracy": float(row["test_accuracy"]), "config": row["config"]}
                for row in csv.DictReader(file)]


def is_complete(csv_path, json_path, arguments, epochs):
    if not csv_path.exists() or not json_path.exists():
        return False
    if json.loads(json_path.read_text(encoding="utf-8"))["arguments"] != arguments:
        return False
    return len(read_epochs(csv_path)) == epochs


def plan_of(network, options):
    """How a network is trained: its own plan, where the command line names nothing else."""
    plan = dict(NETWORKS[network])
    for name in plan:
        given = getattr(options, name.replace("-", "_"))
        if given is not None:
            plan[name] = given
    return plan


def run_all(options, folder):
    """Runs what is missing, seed by seed, so that the runs of a seed share the state of the machine."""
    results = {}
    for network in options.networks:
        plan = plan_of(network, options)
        for seed in options.seeds:
            for name in options.runs:
                path = folder / f"{network}-{name}-seed{seed}.csv"
                if run_one(network, name, plan, seed, path, options):
                    results[network, name, seed] = read_epochs(path)
    return results


def rivals_there(results, options, folder):
    """Those runs of rivals that were made before, of the same plans and seeds."""
    there = {}
    for network, seed in dict.fromkeys((network, seed) for network, _, seed in results):
        plan = plan_of(network, options)
        for name in rivals_of_series(options).values():
            path = folder / f"{network}-{name}-seed{seed}.csv"
            if is_complete(path, path.with_suffix(".json"), arguments_of(network, name, plan, seed, options), plan["epochs"]):
                there[network, name, seed] = read_epochs(path)
    return there


def folder_of_runs(options, given):
    """What the user names is relative to where they stand; programs run at the top of the project."""
    return pathlib.Path(options.called_from, given) if given else pathlib.Path(USUAL_FOLDER)


def folder_of_snapshots(folder, network):
    return folder / "snapshots" / network


def arguments_of(network, name, plan, seed, options):
    arguments = [*RUNS[name], "--network", network, "--seed", str(seed),
                 "--threads", str(options.threads)]
    for option_name, value in plan.items():
        arguments += [f"--{option_name}", str(value)]
    return arguments


def run_one(network, name, plan, seed, csv_path, options):
    """Makes a run unless it is there; false when it took longer than it may, or none is to be made."""
    json_path = csv_path.with_suffix(".json")
    arguments = arguments_of(network, name, plan, seed, options)
    if is_complete(csv_path, json_path, arguments, plan["epochs"]):
        return True
    if options.no_new_runs:
        print(f"experiments: {network}, {name}, seed {seed} is left out: there is no complete run of this plan with "
              f"{options.threads} threads in {csv_path.parent}", flush=True)
        return False
    print(f"{datetime.datetime.now():%H:%M:%S}  {network}, {name}, seed {seed}", flush=True)
    command = [options.train, *arguments, "--csv", str(csv_path), "--trace", str(csv_path.with_suffix(".trace.csv")),
               "--log-decisions", "--layer-times"]
    if name == DENSE and seed == 1:  # what inference and layers are measured with
        command += ["--checkpoint", str(csv_path.with_suffix(".checkpoint")),
                    "--snapshots", str(folder_of_snapshots(csv_path.parent, network))]
    json_path.unlink(missing_ok=True)  # of another plan: it would vouch for what this run leaves
    try:
        with open(csv_path.with_suffix(".log"), "w", encoding="utf-8") as log:
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False,
                                    timeout=options.limit_seconds).returncode
    except subprocess.TimeoutExpired:
        print(f"experiments: {network}, {name}, seed {seed} was stopped after {options.limit_seconds} s", flush=True)
        return False
    if status == DIVERGED:
        print(f"experiments: {network}, {name}, seed {seed} is left out: its loss diverged; see {log.name}", flush=True)
        return False
    if status != 0:
        sys.exit(f"experiments: {network}, {name}, seed {seed} ended with status {status}; see {log.name}")
    json_path.write_text(json.dumps({"arguments": arguments, "machine": machine(options.train)}), encoding="utf-8")
    return True


def time_to(epochs, accuracy):
    """Seconds of training until the first epoch with at least that test accuracy; None if there is none."""
    return next((e["total"] for e in epochs if e["accuracy"] >= accuracy), None)


def mode_of(name):
    """Strategies that move the published settings are the published method, too."""
    return "published" if name.startswith("published") else RUNS[name][RUNS[name].index("--mode") + 1]


def rivals_of_series(options):
    return RIVALS if options.packages == "package" else {options.packages: DENSE}


def rivals_of(name, rivals):
    """A dense run is compared with nothing but itself, exact passes not with themselves."""
    if name in rivals.values() and mode_of(name) == "dense":
        return [rival for rival, run in rivals.items() if run == name]
    return [rival for rival, run in rivals.items() if run != name]


def rows_of(results, rivals, options, isa_of):
    """A row for every run and rival that there are for the same seed, without savings where there is no rival."""
    rows = []
    known = rivals_of_series(options)
    for (network, name, seed), epochs in results.items():
        compared = [rival for rival in rivals_of(name, known) if (network, known[rival], seed) in rivals]
        for rival in compared or [None]:
            dense = rivals[network, known[rival], seed] if rival else None
            rows.append({
                "network": network, "mode": mode_of(name), "rival": rival, "run": name, "seed": seed,
                "images": plan_of(network, options)["train-images"] or 50000, "epochs": len(epochs),
                "threads": options.threads, "isa": isa_of(network, name, seed),
                "max_error": [MAX_ERROR if name == "auto" else 0.0],
                "seconds": round(epochs[-1]["total"], 3), "final_accuracy": epochs[-1]["accuracy"],
                "time_saved_vs_dense": round(1 - epochs[-1]["total"] / dense[-1]["total"], 4) if dense else None,
                "accuracy_minus_dense": round(epochs[-1]["accuracy"] - dense[-1]["accuracy"], 4) if dense else None,
                "seconds_to_dense_accuracy": time_to(epochs, dense[-1]["accuracy"]) if dense else None,
                "accuracy_by_epoch": [e["accuracy"] for e in epochs],
                "seconds_by_epoch": [round(e["total"], 3) for e in epochs]})
    return rows


def isa_in(log_path):
    """The instruction set that the program named at its end."""
    if not log_path.exists():
        return "unknown"
    found = re.search(r"^summary: .*\bisa=(\S+)", log_path.read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else "unknown"


def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else None


def percent(values, sign=""):
    value = mean(values)
    return "-" if value is None else f"{100 * value:{sign}.{2 if sign else 0}f}" + ("" if sign else " %")


def table(rows):
    """Markdown: one line per run and rival, means over its seeds."""
    lines = ["| network | run | rival | seeds | s per epoch | saved | test accuracy | minus the rival's | "
             "reaches the rival's accuracy |",
             "|---|---|---|---|---|---|---|---|---|"]
    for key in dict.fromkeys((row["network"], row["run"], row["rival"]) for row in rows):
        mine = [row for row in rows if (row["network"], row["run"], row["rival"]) == key]
        reached = [row["seconds_to_dense_accuracy"] for row in mine]
        count = sum(r is not None for r in reached)
        after = f"{count} of {len(mine)}" + (f", after {mean(reached):.0f} s" if count else "")
        lines.append(
            f"| {' | '.join(name or '-' for name in key)} | {len(mine)} | {mean(r['seconds'] / r['epochs'] for r in mine):.1f} | "
            f"{percent(r['time_saved_vs_dense'] for r in mine)} | "
            f"{100 * mean(r['final_accuracy'] for r in mine):.2f} % | "
            f"{percent((r['accuracy_minus_dense'] for r in mine), '+')} | {after} |")
    return "\n".join(lines)


def machine(program):
    """The machine and the packages, and how the program was built."""
    facts = {}
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n"):
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    flags = facts.get("flags", facts.get("Features", "")).split()
    vectors = next((name for name in ("avx512f", "avx2", "asimd", "sse2") if name in flags), "unknown")
    compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    environment = {name: os.environ[name] for name in RIVALS_ENVIRONMENT if name in os.environ}
    return {"cpu": facts.get("model name", "unknown"), "vector_instructions": vectors, "cores": os.cpu_count(),
            "system": platform.platform(), "compiler": compiler, "build": build_settings(program),
            "packages": package_versions(), **({"environment": environment} if environment else {}),
            "date": f"{datetime.date.today():%Y-%m-%d}"}


def build_settings(program):
    """Build type and instruction set flags of the build folder that a program lies in, when there is one."""
    caches = (folder / "CMakeCache.txt" for folder in pathlib.Path(program).absolute().parents)
    cache = next((path for path in caches if path.exists()), None)
    lines = cache.read_text(encoding="utf-8").split("\n") if cache else []
    wanted = ("CMAKE_BUILD_TYPE", "CMAKE_CXX_FLAGS_RELEASE", "ADR_ARCH_FLAGS", "ADR_OPENMP")
    return {name: line.split("=", 1)[1] for line in lines for name in wanted if line.startswith(name + ":")}


def package_versions():
    """Versions of the dense rivals, where dpkg knows them."""
    names = ["libeigen3-dev", "libopenblas0-pthread", "libdnnl2", "libdnnl3.6", "libxsimd-dev"]
    try:
        found = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names], capture_output=True,
                               text=True, check=False).stdout
    except OSError:
        return {}
    return dict(line.split(" ", 1) for line in found.split("\n") if " " in line)


def self_test():
    def epochs(seconds, accuracies):
        return [{"seconds": seconds, "total": seconds * (i + 1), "loss": 1.0, "accuracy": a, "config": ""}
                for i, a in enumerate(accuracies)]
    results = {("cifarnet", DENSE, 1): epochs(10, [0.5, 0.7]), ("cifarnet", "auto", 1): epochs(3, [0.6, 0.71]),
               ("cifarnet", "dense-openblas", 1): epochs(30, [0.5, 0.7]), ("cifarnet", "exact", 1): epochs(4, [0.5, 0.7]),
               ("cifarnet", "published-fixed", 1): epochs(20, [0.4, 0.5]), ("alexnet", "auto", 1): epochs(1, [0.1, 0.2])}
    options = argparse.Namespace(threads=2, packages="package", **{name.replace("-", "_"): None for name in NETWORKS["cifarnet"]})
    rows = {(row["network"], row["run"], row["rival"]): row for row in rows_of(results, results, options, lambda *_: "avx2_fma")}
    auto = rows["cifarnet", "auto", "package"]
    assert set(auto) == {
        "network", "mode", "rival", "run", "seed", "images", "epochs", "threads", "isa", "max_error", "seconds",
        "final_accuracy", "time_saved_vs_dense", "accuracy_minus_dense", "seconds_to_dense_accuracy", "accuracy_by_epoch",
        "seconds_by_epoch"}, auto
    assert auto["time_saved_vs_dense"] == 0.7, auto
    assert rows["cifarnet", "auto", "im2col_blas"]["time_saved_vs_dense"] == 0.9
    assert rows["cifarnet", "auto", "own_exact"]["time_saved_vs_dense"] == 0.25
    assert rows["cifarnet", "exact", "package"]["time_saved_vs_dense"] == 0.6
    assert auto["isa"] == "avx2_fma" and auto["max_error"] == [0.02], auto
    assert ("cifarnet", "exact", "own_exact") not in rows and ("cifarnet", "dense", "im2col_blas") not in rows
    assert auto["accuracy_minus_dense"] == 0.01, auto
    assert auto["seconds_to_dense_accuracy"] == 6, auto
    assert auto["images"] == 50000, auto
    published = rows["cifarnet", "published-fixed", "package"]
    assert published["seconds_to_dense_accuracy"] is None and published["mode"] == "published"
    assert published["time_saved_vs_dense"] == -1
    assert rows["alexnet", "auto", None]["time_saved_vs_dense"] is None
    for options.packages in (ONEDNN3, BF16):
        of_others = rows_of(results, results, options, lambda *_: "avx2_fma")
        assert {row["rival"] for row in of_others if row["network"] == "cifarnet"} == {options.packages}, of_others
    lines = table(list(rows.values()))
    assert "| cifarnet | auto | package | 1 | 3.0 | 70 % | 71.00 % | +1.00 | 1 of 1, after 6 s |" in lines, lines
    parts = [{"machines": [1], "commands": {name: 1}, "phases": {}, "plans": {name: 2}, "rows": [{"network": name, "rival": "package"}]}
             for name in ("a", "b")]
    both = added(*parts)
    assert both["machines"] == [1] and both["plans"] == {"a": 2, "b": 2} and len(both["rows"]) == 2, both
    assert [row["network"] for row in added(both, parts[0])["rows"]] == ["b", "a"]
    more = added(both, {**parts[0], "rows": [{"network": "a", "rival": ONEDNN3}]})
    assert len(more["rows"]) == 3 and len(added(more, parts[0])["rows"]) == 3, more
    more = added(more, {**parts[0], "rows": [{"network": "a", "rival": BF16}]})
    assert len(more["rows"]) == 4 and len(added(more, parts[0])["rows"]) == 4, more
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder, "examples", "train")
        assert build_settings(program) == {}
        pathlib.Path(folder, "CMakeCache.txt").write_text("ADR_ARCH_FLAGS:STRING=-mavx2 -mfma\nOTHER:STRING=x\n", encoding="utf-8")
        assert build_settings(program) == {"ADR_ARCH_FLAGS": "-mavx2 -mfma"}, build_settings(program)
    print("experiments.py: self-test passed")


def numbers(text):
    return [int(part) for part in text.split(",")]


def names_of(known):
    def read(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no '{name}'; there are {', '.join(known)}")
        return chosen
    return read


def go_to_background(folder):
    """Starts this program again, detached from the terminal, and leaves."""
    arguments = [a for a in sys.argv if a != "--background"]  # spelled out: the parser takes no abbreviations
    with open(folder / "series.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
    print(f"Process {process.pid} goes on in the background; its table will be in {log.name}")


def main():
    parser = argparse.ArgumentParser(description="Compares trainings: dense, published reuse, and under a schedule.",
                                     allow_abbrev=False)
    parser.add_argument("--self-test", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--train", help="the training program")
    parser.add_argument("--called-from", default=".", help=argparse.SUPPRESS)
    parser.add_argument("--networks", type=names_of(NETWORKS), default=["cifarnet"],
                        help=f"of {', '.join(NETWORKS)} (default: cifarnet)")
    parser.add_argument("--runs", type=names_of(RUNS), default=list(RUNS), help=f"of {', '.join(RUNS)} (default: all)")
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, help="in place of the network's own plan; so are the next five")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--lr-step", type=int)
    parser.add_argument("--train-images", type=int, help="0: all")
    parser.add_argument("--test-images", type=int, help="0: all")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--packages", choices=list(PACKAGES), default="package",
                        help="what the rows call the packages of dense runs: onednn3 where TRAIN is linked with oneDNN 3, "
                             "onednn3_bf16 to let its products round to bf16")
    parser.add_argument("--limit-seconds", type=float, help="a run that takes longer is stopped and left out")
    parser.add_argument("--no-new-runs", action="store_true", help="join the runs that are there, make none")
    parser.add_argument("--background", action="store_true", help="go on after the terminal is closed")
    parser.add_argument("--out", help=f"folder of the runs (default: {USUAL_FOLDER} of the project)")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--add", action="store_true", help="keep what the file holds of other networks and packages")
    parser.add_argument("--csv", help="the same as a table")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if not options.train:
        parser.error("--train is needed")
    if not options.no_new_runs and not os.environ.get("ADR_DATA"):
        parser.error("ADR_DATA must name a folder with CIFAR-10 in its binary format (scripts/get-cifar10 makes one): without, "
                     "the program trains on generated images, which results must not be mixed with")
    os.environ.update(PACKAGES[options.packages])
    folder = folder_of_runs(options, options.out)
    folder.mkdir(parents=True, exist_ok=True)
    if options.background:
        return go_to_background(folder)
    results = run_all(options, folder)
    rows = rows_of(results, rivals_there(results, options, folder), options,
                   lambda network, name, seed: isa_in(folder / f"{network}-{name}-seed{seed}.log"))
    if not rows:
        sys.exit(f"experiments: there is no run to report in {folder}")
    print(table(rows))
    write_results(options, folder, results, rows)
    return None


def added(old, new):
    """The old document with the new networks, in the place of what it had of them by the same packages."""
    def series(row):
        return row["network"], row["rival"] if row["rival"] in (ONEDNN3, BF16) else None
    there = {series(row) for row in new["rows"]}
    return {"machines": old["machines"] + [m for m in new["machines"] if m not in old["machines"]],
            **{key: {**old[key], **new[key]} for key in ("commands", "phases", "plans")},
            "rows": [row for row in old["rows"] if series(row) not in there] + new["rows"]}


def write_results(options, folder, results, rows):
    if options.json:
        machines = [json.loads((folder / f"{network}-{name}-seed{seed}.json").read_text(encoding="utf-8"))["machine"]
                    for network, name, seed in results]
        machines = [m for i, m in enumerate(machines) if m not in machines[:i]]
        path = pathlib.Path(options.called_from, options.json)
        commands = {name: " ".join(["train", *arguments]) for name, arguments in RUNS.items() if name in options.runs}
        def series(network):
            return network if options.packages == "package" else f"{network}, {options.packages}"
        phases = {series(network): PHASES for network in options.networks}
        plans = {series(network): plan_of(network, options) for network in options.networks}
        document = {"machines": machines, "commands": commands, "phases": phases, "plans": plans, "rows": rows}
        if options.add and path.exists():
            document = added(json.loads(path.read_text(encoding="utf-8")), document)
        result_file.write(path, document)
        print(f"Results: {path}")
    if options.csv and rows:
        path = pathlib.Path(options.called_from, options.csv)
        columns = [name for name, value in rows[0].items() if not isinstance(value, list)]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        print(f"Results: {path}")


if __name__ == "__main__":
    main()
