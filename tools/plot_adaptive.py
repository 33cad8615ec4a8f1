#!/usr/bin/env python3
"""Draws a training under a schedule: loss, error against budget, cost of the settings, over the steps.

    plot_adaptive.py TRACE.csv PICTURE [TITLE]     PICTURE ends in .svg or .png
"""
import argparse
import csv
import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return [float(row[name]) for row in rows]


def forward_setting(label):
    """Without the forms of the gradients: "subspace of 32 coordinates with rounded gradients" ends before "with"."""
    setting, _, extras = label.partition(" with ")
    return setting + (" with cluster reuse" if "cluster reuse" in extras else "")


def draw_settings(axis, steps, labels, order):
    places = [order.index(label) for label in labels]
    axis.step(steps, places, where="post", color="tab:purple", linewidth=1.5)
    axis.set_yticks(range(len(order)), order, fontsize=7)
    axis.set_ylim(-0.5, len(order) - 0.5)
    axis.grid(alpha=0.3)


def coarse_to_fine(label):
    """A key that sorts settings: the published ones, subspaces, exact."""
    kind = next(i for i, start in enumerate(("published", "subspace", "exact")) if label.startswith(start))
    numbers = [float(word) for word in label.split() if word.replace(".", "", 1).isdigit()]
    return kind, [-numbers[0], numbers[1]] if kind == 0 else numbers


def smoothed(values, window=9):
    half = window // 2
    return [sum(values[max(0, i - half):i + half + 1]) / len(values[max(0, i - half):i + half + 1])
            for i in range(len(values))]


def draw(rows, title):
    convolutions = sum(name.endswith("_config") for name in rows[0])
    steps = column(rows, "step")
    figure, axes = plt.subplots(2 + convolutions, 1, sharex=True, figsize=(8, 2.1 * (2 + convolutions)),
                                constrained_layout=True)
    axes[0].plot(steps, column(rows, "loss"), color="0.75", linewidth=0.8)
    axes[0].plot(steps, smoothed(column(rows, "loss")), color="tab:blue")
    axes[0].set_ylabel("training loss")
    axes[0].set_title(title)
    axes[0].grid(alpha=0.3)
    colours = ["tab:orange", "tab:green", "tab:red", "tab:brown"]
    for i in range(1, convolutions + 1):
        error = [e if e > 0 else float("nan") for e in column(rows, f"conv{i}_error")]
        axes[1].plot(steps, error, ".", markersize=3, color=colours[(i - 1) % len(colours)], label=f"conv{i}, metered")
    axes[1].step(steps, column(rows, "conv1_budget"), where="post", color="black", linewidth=1, label="budget")
    axes[1].set_ylabel("relative output error")
    axes[1].set_ylim(bottom=0)
    axes[1].legend(fontsize=7, loc="upper right")
    axes[1].grid(alpha=0.3)
    for i in range(1, convolutions + 1):
        labels = [forward_setting(row[f"conv{i}_config"]) for row in rows]
        draw_settings(axes[1 + i], steps, labels, sorted(set(labels), key=coarse_to_fine))
        axes[1 + i].set_ylabel(f"conv{i}: setting")
        seconds = axes[1 + i].twinx()
        seconds.plot(steps, smoothed([1e3 * s for s in column(rows, f"conv{i}_seconds")]), color="tab:gray",
                     linewidth=0.8)
        seconds.set_ylabel("ms per step", color="tab:gray")
        seconds.set_ylim(bottom=0)
    axes[-1].set_xlabel("step")
    return figure


def main():
    parser = argparse.ArgumentParser(description="Draws a training under a schedule from its trace.")
    parser.add_argument("trace")
    parser.add_argument("picture")
    parser.add_argument("title", nargs="?", default="")
    parser.add_argument("--called-from", default=".", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = pathlib.Path(options.called_from)
    rows = read(folder / options.trace)
    if not rows:
        parser.error(f"{options.trace} has no rows")
    plt.rcParams["svg.hashsalt"] = "adr"  # the same data give the same file
    draw(rows, options.title).savefig(folder / options.picture, dpi=120, metadata={"Date": None}
                                      if options.picture.endswith(".svg") else None)
    print(f"{options.picture}: {len(rows)} rows of {options.trace}")


if __name__ == "__main__":
    main()
