#!/usr/bin/env python3
"""Runs one program for each of several networks, on what their trainings have left, and joins the results.

    networks.py layers|adaptive|inference|snapshots|steps --build FOLDER [--networks NAME,...] [--experiments FOLDER]
                [--batch N] [--json FILE [--add]] [FLAG...]

layers and adaptive: bench_layers and bench_adaptive over the layers in bench/shapes/, on the snapshots before (layers
alone) and after the dense training of seed 1. inference: the example infer on the weights of that training.
scripts/experiments makes both. snapshots: a few steps of the networks for 224 x 224 pixels on the images of
--images FILE.npy, which leave the snapshots of their layers. steps: the same networks trained on those images for a few
epochs, dense and under the schedule, for the time of a step. --add: the file keeps its rows of other layers
and batches. Other
flags go to the program.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import experiments
import result_file

# Networks for 224 x 224 pixels, for times alone, and their batches.
LARGE = {"alexnet-224": 16, "vgg19-224": 4}
STEPS, EPOCHS = 4, 6  # steps of an epoch, which is timed as a whole; of the epochs the second half counts
# Those whose layers are measured unless others are named.
USUAL = ["cifarnet", "alexnet", "vgg19"]
SHAPES = {"vgg19-bn": "vgg19"}  # the same layers
OF_ONE_RUN = ("data", "load_average_at_start")  # what results say of the machine that is not the machine's
MOMENTS = {"layers": ("initial", "trained"), "adaptive": ("trained",)}


def checkpoint(folder, network):
    return folder / f"{network}-{experiments.DENSE}-seed1.checkpoint"


def batch_of(network, options):
    if options.batch:
        return options.batch
    return LARGE[network] if network in LARGE else experiments.NETWORKS[network]["batch"]


def train_program(options):
    return str(pathlib.Path(options.build, "examples/train"))


def snapshot_commands(options):
    """Four steps of each large network; by one product, because trying many takes longer than all steps."""
    for network in options.networks:
        yield [train_program(options), "--network", network, "--batch", str(LARGE[network]),
               "--train-images", str(STEPS * LARGE[network]), "--epochs", "1", "--mode", "dense", "--dense-backend", "openblas",
               "--layer-times", "--snapshots",
               str(experiments.folder_of_snapshots(pathlib.Path(options.experiments), network))]


def step_commands(options, csv_path):
    """(network, run, command) of each short training."""
    for network in options.networks:
        for name in (experiments.RIVALS["im2col_blas"], experiments.DENSE, "exact", "auto"):
            yield network, name, [train_program(options), *experiments.RUNS[name],
                                  "--network", network, "--batch", str(LARGE[network]), "--train-images",
                                  str(STEPS * LARGE[network]), "--epochs", str(EPOCHS), "--csv", csv_path,
                                  "--lr", "0.0001"]  # small batches of few images diverge at higher rates


def step_row(network, name, epochs):
    late = epochs[len(epochs) // 2:]
    seconds = statistics.median(e["seconds"] for e in late) / STEPS
    return {"network": network, "run": name, "batch": LARGE[network], "steps": STEPS * len(epochs),
            "seconds_per_step": seconds, "loss": epochs[-1]["loss"]}


def run_steps(options, flags):
    rows, dense = [], {}
    with tempfile.TemporaryDirectory() as folder:
        csv_path = str(pathlib.Path(folder, "epochs.csv"))
        for network, name, command in step_commands(options, csv_path):
            print(" ".join([*command, *flags]), flush=True)
            subprocess.run([*command, *flags], check=True)
            row = step_row(network, name, experiments.read_epochs(csv_path))
            if name == experiments.DENSE:
                dense[network] = row["seconds_per_step"]
            rows.append(row)
    for row in rows:
        row["time_of_dense"] = row["seconds_per_step"] / dense[row["network"]]
        print(f"{row['network']}, {row['run']}: {row['seconds_per_step']:.3f} s a step, {row['time_of_dense']:.2f} of dense")
    return {"machines": [experiments.machine(train_program(options))], "rows": rows}


def added(old, new):
    """The old document with the new rows in place of those of the same layers and batch, behind the others of their network."""
    def layer_of(row):
        return row["network"], row.get("moment"), row.get("layer"), row.get("batch")

    measured = {layer_of(row) for row in new["rows"]}
    rows = [row for row in old["rows"] if layer_of(row) not in measured] + new["rows"]
    places = list(dict.fromkeys(layer_of(row)[:2] for row in old["rows"] + new["rows"]))
    rows.sort(key=lambda row: places.index(layer_of(row)[:2]))
    return {**old, "machines": old["machines"] + [m for m in new["machines"] if m not in old["machines"]], "rows": rows}


def write(options, document):
    if options.json:
        path = pathlib.Path(options.called_from, options.json)
        if options.add and path.exists():
            document = added(json.loads(path.read_text(encoding="utf-8")), document)
        result_file.write(path, document)
        print(f"Results: {path}")


def commands(options):
    """(network, moment, command without --json, environment) of each run."""
    build = pathlib.Path(options.build)
    folder = pathlib.Path(options.experiments)
    for network in options.networks:
        if options.what == "inference":
            plan = experiments.NETWORKS[network]
            yield network, "", [str(build / "examples/infer"), "--network", network, "--checkpoint",
                                str(checkpoint(folder, network)), "--batch", str(batch_of(network, options)),
                                "--train-images", str(plan["train-images"]), "--test-images",
                                str(plan["test-images"])], {}
            continue
        for moment in options.moments or MOMENTS[options.what]:
            command = [str(build / f"bench/bench_{options.what}"), "--shapes", f"bench/shapes/{SHAPES.get(network, network)}.txt",
                       "--snapshot", moment, "--batch", str(batch_of(network, options))]
            if options.what == "layers":
                command += ["--settings", "few", "--layout", "nhwc"]
            snapshots = experiments.folder_of_snapshots(folder, network)
            yield network, moment, command, {"ADR_SNAPSHOTS": str(snapshots)}


def run(command, environment, flags):
    """The program's results, and the machine where it does not tell."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "results.json")
        full = [*command, *flags, "--json", str(path)]
        print(" ".join(full), flush=True)
        status = subprocess.run(full, env={**os.environ, **environment}, check=False).returncode
        if status != 0 or not path.exists():
            sys.exit(f"networks: {command[0]} ended with status {status}" + ("" if path.exists() else " and without results"))
        return {"machine": experiments.machine(command[0]), **json.loads(path.read_text(encoding="utf-8"))}


def joined(parts):
    """One document of the results of several runs: machines once each, rows with their moment."""
    machines, rows = [], []
    for network, moment, result in parts:
        machine = {k: v for k, v in result["machine"].items() if k not in OF_ONE_RUN}
        machine["date"] = machine.get("date", "")[:10]  # one machine a day
        if machine not in machines:
            machines.append(machine)
        for row in result["rows"]:
            rows.append({**row, "network": network, "moment": moment})
    return {"machines": machines, "rows": rows}


def self_test():
    parts = [("a", "initial", {"machine": {"cpu": "x", "data": "1"}, "rows": [{"layer": "conv1"}]}),
             ("b", "trained", {"machine": {"cpu": "x", "data": "2"}, "rows": [{"layer": "conv1", "network": "?"}]})]
    result = joined(parts)
    assert result["machines"] == [{"cpu": "x", "date": ""}], result
    assert [(r["network"], r["moment"]) for r in result["rows"]] == [("a", "initial"), ("b", "trained")], result
    options = argparse.Namespace(what="layers", build="build", experiments="e", networks=["vgg19"],
                                 moments=None, batch=None)
    listed = list(commands(options))
    assert [moment for _, moment, _, _ in listed] == ["initial", "trained"], listed
    assert listed[0][3] == {"ADR_SNAPSHOTS": "e/snapshots/vgg19"}, listed
    options.networks = ["alexnet-224"]
    assert [c[2] for c in snapshot_commands(options)] == ["alexnet-224"]
    row = step_row("alexnet-224", "auto", [{"seconds": s, "loss": s} for s in (9, 9, 4, 2)])
    assert row == {"network": "alexnet-224", "run": "auto", "batch": 16, "steps": 16, "seconds_per_step": 0.75,
                   "loss": 2}, row
    old = {"machines": [1], "rows": [{"network": "a", "layer": "x", "v": 1}, {"network": "b", "layer": "x", "v": 2},
                                     {"network": "a", "layer": "y", "v": 3}]}
    both = added(old, {"machines": [1, 2], "rows": [{"network": "a", "layer": "x", "v": 4}, {"network": "c", "layer": "x", "v": 5}]})
    assert both["machines"] == [1, 2] and [row["v"] for row in both["rows"]] == [3, 4, 2, 5], both
    print("networks.py: self-test passed")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    parser = argparse.ArgumentParser(description="Runs a program for each of several networks and joins the results.",
                                     allow_abbrev=False)
    parser.add_argument("what", choices=["layers", "adaptive", "inference", "snapshots", "steps"])
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--called-from", default=".", help=argparse.SUPPRESS)
    parser.add_argument("--networks", type=experiments.names_of([*experiments.NETWORKS, *LARGE]),
                        help=f"default: {','.join(USUAL)}; of snapshots and steps: those for 224 x 224 pixels")
    parser.add_argument("--experiments", help="where scripts/experiments left its runs "
                        f"(default: {experiments.USUAL_FOLDER} of the project)")
    parser.add_argument("--images", help="of snapshots and steps: file of images (.npy)")
    parser.add_argument("--moments", type=experiments.names_of(MOMENTS["layers"]),
                        help="of layers: initial,trained (default: both)")
    parser.add_argument("--batch", type=int, help="of layers, adaptive and inference: in place of the training's")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--add", action="store_true", help="keep what the file holds of other layers and batches")
    options, flags = parser.parse_known_args()
    options.experiments = experiments.folder_of_runs(options, options.experiments)
    if options.images:
        flags += ["--images", str(pathlib.Path(options.called_from, options.images))]
    large = options.what in ("snapshots", "steps")
    options.networks = options.networks or list(LARGE if large else USUAL)
    if large and any(network not in LARGE for network in options.networks):
        parser.error(f"{options.what} is for {', '.join(LARGE)}, got {', '.join(options.networks)}")
    if options.what == "inference" and any(network in LARGE for network in options.networks):
        parser.error(f"inference is for {', '.join(experiments.NETWORKS)}, got {', '.join(options.networks)}")
    if options.what == "snapshots":
        for command in snapshot_commands(options):
            print(" ".join([*command, *flags]), flush=True)
            subprocess.run([*command, *flags], check=True)
        return None
    if options.what == "steps":
        return write(options, run_steps(options, flags))
    parts = []
    for network, moment, command, environment in commands(options):
        parts.append((network, moment, run(command, environment, flags)))
        write(options, joined(parts))  # after each, so that a later one that fails costs nothing
    return None


if __name__ == "__main__":
    main()
