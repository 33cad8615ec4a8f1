#!/usr/bin/env python3
"""Runs series of trainings one after the other and compares them: time saved, accuracy, time to accuracy.

    experiments.py --train PROGRAM [--seeds 1,2,3] [--epochs E] [--runs NAME,...] [--out FOLDER] [--json FILE]
    experiments.py --self-test      checks the arithmetic on made-up runs

Every run leaves NAME-seedS.csv (a row per epoch) and NAME-seedS.json (its command) in FOLDER; a run whose files are
complete and of the same command is not made again.
"""
import argparse
import csv
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

# What is compared: the dense rivals first, the published strategies, and this library's schedule.
RUNS = {
    "dense-onednn": ["--mode", "dense", "--dense-backend", "onednn"],
    "dense-openblas": ["--mode", "dense", "--dense-backend", "openblas"],
    # The library's own phases, spelled out.
    "auto": ["--mode", "auto", "--strategy", "error_budget", "--dense-backend", "onednn",
             "--error-budgets", "0.12,0.05,0", "--rounding-steps", "4,2,0", "--phase-ends", "0.7,0.9,1"],
    "published-fixed": ["--mode", "hyperplane", "--dense-backend", "onednn"],
    "published-plateau": ["--mode", "auto", "--strategy", "plateau_ladder", "--dense-backend", "onednn"],
    "published-reuse": ["--mode", "auto", "--strategy", "cluster_reuse_first", "--dense-backend", "onednn"],
}
DENSE = "dense-onednn"


def option(arguments, name, default):
    return arguments[arguments.index(name) + 1] if name in arguments else default


def read_epochs(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [{"seconds": float(row["seconds"]), "total": float(row["total_seconds"]),
                 "loss": float(row["train_loss"]), "accuracy": float(row["test_accuracy"]), "config": row["config"]}
                for row in csv.DictReader(file)]


def is_complete(csv_path, json_path, command, epochs):
    if not csv_path.exists() or not json_path.exists():
        return False
    if json.loads(json_path.read_text(encoding="utf-8"))["arguments"] != command:
        return False
    return len(read_epochs(csv_path)) == epochs


def run_all(options, folder):
    """Runs what is missing, seed by seed, so that the runs of a seed share the state of the machine."""
    results = {}
    for seed in options.seeds:
        for name in options.runs:
            csv_path = folder / f"{name}-seed{seed}.csv"
            json_path = csv_path.with_suffix(".json")
            arguments = RUNS[name] + ["--network", options.network, "--epochs", str(options.epochs),
                                      "--lr-step", str(options.lr_step), "--seed", str(seed),
                                      "--threads", str(options.threads), "--train-images", str(options.train_images)]
            if not is_complete(csv_path, json_path, arguments, options.epochs):
                print(f"{datetime.datetime.now():%H:%M:%S}  {name}, seed {seed}", flush=True)
                command = [options.train, *arguments, "--csv", str(csv_path),
                           "--trace", str(csv_path.with_suffix(".trace.csv"))]
                with open(csv_path.with_suffix(".log"), "w", encoding="utf-8") as log:
                    status = subprocess.run(command + ["--log-decisions", "--layer-times"], stdout=log,
                                            stderr=subprocess.STDOUT, check=False).returncode
                if status != 0:
                    sys.exit(f"experiments: {name}, seed {seed} ended with status {status}; see {log.name}")
                json_path.write_text(json.dumps({"arguments": arguments}), encoding="utf-8")
            results[name, seed] = read_epochs(csv_path)
    return results


def time_to(epochs, accuracy):
    """Seconds of training until the first epoch with at least that test accuracy; None if there is none."""
    return next((e["total"] for e in epochs if e["accuracy"] >= accuracy), None)


def rows_of(results, options):
    rows = []
    for (name, seed), epochs in results.items():
        dense = results.get((DENSE, seed))
        arguments = RUNS[name]
        row = {"network": options.network, "run": name, "mode": option(arguments, "--mode", ""),
               "strategy": option(arguments, "--strategy", None),
               "dense_backend": option(arguments, "--dense-backend", ""), "seed": seed,
               "images": options.train_images or 50000, "epochs": len(epochs), "threads": options.threads,
               "seconds": round(epochs[-1]["total"], 3), "final_accuracy": epochs[-1]["accuracy"],
               "time_saved_vs_dense": None, "accuracy_minus_dense": None, "seconds_to_dense_accuracy": None}
        if dense:
            row["time_saved_vs_dense"] = round(1 - epochs[-1]["total"] / dense[-1]["total"], 4)
            row["accuracy_minus_dense"] = round(epochs[-1]["accuracy"] - dense[-1]["accuracy"], 4)
            row["seconds_to_dense_accuracy"] = time_to(epochs, dense[-1]["accuracy"])
        rows.append(row)
    return rows


def mean(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else None


def table(rows):
    """Markdown: one line per run, means over its seeds."""
    lines = ["| run | seeds | s per epoch | time of dense | test accuracy | minus dense | reaches dense's accuracy |",
             "|---|---|---|---|---|---|---|"]
    for name in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == name]
        saved = mean(row["time_saved_vs_dense"] for row in mine)
        difference = mean(row["accuracy_minus_dense"] for row in mine)
        reached = [row["seconds_to_dense_accuracy"] for row in mine]
        count = sum(r is not None for r in reached)
        after = f"{count} of {len(mine)}" + (f", after {mean(reached):.0f} s" if count else "")
        lines.append(
            f"| {name} | {len(mine)} | {mean(r['seconds'] / r['epochs'] for r in mine):.1f} | "
            + (f"{100 * (1 - saved):.0f} %" if saved is not None else "-")
            + f" | {100 * mean(r['final_accuracy'] for r in mine):.2f} % | "
            + (f"{100 * difference:+.2f}" if difference is not None else "-") + f" | {after} |")
    return "\n".join(lines)


def machine():
    cpu = "unknown"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform(), "compiler": compiler,
            "date": f"{datetime.date.today():%Y-%m-%d}"}


def self_test():
    def epochs(seconds, accuracies):
        return [{"seconds": seconds, "total": seconds * (i + 1), "loss": 1.0, "accuracy": a, "config": ""}
                for i, a in enumerate(accuracies)]
    results = {(DENSE, 1): epochs(10, [0.5, 0.7]), ("auto", 1): epochs(3, [0.6, 0.71]),
               ("published-fixed", 1): epochs(20, [0.4, 0.5])}
    options = argparse.Namespace(network="cifarnet", train_images=0, threads=2)
    rows = {row["run"]: row for row in rows_of(results, options)}
    assert rows["auto"]["time_saved_vs_dense"] == 0.7, rows["auto"]
    assert rows["auto"]["accuracy_minus_dense"] == 0.01, rows["auto"]
    assert rows["auto"]["seconds_to_dense_accuracy"] == 6, rows["auto"]
    assert rows["published-fixed"]["seconds_to_dense_accuracy"] is None
    assert rows["published-fixed"]["time_saved_vs_dense"] == -1
    assert "| auto | 1 | 3.0 | 30 % | 71.00 % | +1.00 | 1 of 1, after 6 s |" in table(list(rows.values()))
    print("experiments.py: self-test passed")


def numbers(text):
    return [int(part) for part in text.split(",")]


def names(text):
    chosen = text.split(",")
    for name in chosen:
        if name not in RUNS:
            raise argparse.ArgumentTypeError(f"there is no run '{name}'; there are {', '.join(RUNS)}")
    return chosen


def main():
    parser = argparse.ArgumentParser(description="Compares trainings: dense, published reuse, and under a schedule.")
    parser.add_argument("--self-test", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--train", help="the training program")
    parser.add_argument("--called-from", default=".", help=argparse.SUPPRESS)
    parser.add_argument("--network", default="cifarnet")
    parser.add_argument("--runs", type=names, default=list(RUNS), help=f"of {', '.join(RUNS)} (default: all)")
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr-step", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--train-images", type=int, default=0, help="0: all")
    parser.add_argument("--out", default="build/experiments", help="folder of the runs")
    parser.add_argument("--json", help="file for the results")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if not options.train:
        parser.error("--train is needed")
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(run_all(options, folder), options)
    print(table(rows))
    if options.json:
        path = pathlib.Path(options.called_from, options.json)
        path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
        print(f"Results: {path}")
    return None


if __name__ == "__main__":
    main()
