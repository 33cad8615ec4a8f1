#!/usr/bin/env python3
"""Checks who includes whom under include/, and how long headers are.

    check_layers.py INCLUDE_DIR    exit status 1 and one line per violation
    check_layers.py --self-test    feeds itself trees that violate each rule

The layers, lowest first: core, simd <- unfold, adapt <- exact <- stream, algebra, gemm <- product <- published, subspace,
gradients <- nn <- the headers of adr/ itself.
"""
import pathlib
import re
import sys
import tempfile

import header_checker

MAX_LINES = 350

# Which folders (or single headers) the headers of a folder may include, besides their own folder.
ALLOWED = {
    "core": {"version.hpp"},
    "simd": {"core"},
    "unfold": {"core", "simd"},
    "adapt": {"core"},
    "reference": {"core"},
    "exact": {"core", "simd", "unfold"},
    "stream": {"core", "simd", "unfold", "adapt", "exact"},
    "algebra": {"core", "simd", "exact/packed_gemm.hpp"},
    "gemm": {"core", "simd", "exact/packed_gemm.hpp", "exact/first_equal.hpp", "exact/panels.hpp"},
    "product": {"core", "simd", "unfold", "adapt", "exact", "gemm"},
    "published": {"core", "simd", "adapt", "gemm", "product"},
    "clustered": {"core", "simd", "adapt", "unfold", "exact", "gemm", "product"},
    "subspace": {"core", "simd", "algebra", "unfold", "adapt", "exact", "gemm", "product"},
    "gradients": {"core", "simd", "adapt", "exact/panels.hpp", "gemm", "product"},
    "nn": {"core", "simd", "unfold", "adapt", "exact", "gemm", "product", "stream", "published", "clustered", "subspace",
           "gradients", "options.hpp"},
}
# Headers of adr/ itself stand on top and see every folder; of each other they see only these.
TOP = {"version.hpp": set(), "options.hpp": set(), "gradients.hpp": set(), "eigen.hpp": set(), "onednn.hpp": set(), "extern_layers.hpp": set(),
       "reuse_gemm.hpp": {"options.hpp"}, "reuse_gemm_blas.hpp": {"reuse_gemm.hpp"},
       "reuse_linear.hpp": {"options.hpp", "gradients.hpp", "reuse_gemm.hpp"},
       "reuse_conv2d.hpp": {"options.hpp", "gradients.hpp"}, "choose_for_inference.hpp": {"options.hpp"},
       "adr.hpp": {"version.hpp", "options.hpp", "gradients.hpp", "reuse_gemm.hpp", "reuse_gemm_blas.hpp",
                   "reuse_linear.hpp", "reuse_conv2d.hpp", "choose_for_inference.hpp"}}
# Headers of other projects that only some files may include.
RESTRICTED = {
    r"xsimd\b": {"simd/batch.hpp"},
    r"(unsupported/)?Eigen\b": {"eigen.hpp"},
    r"cblas": {"gemm/cblas_gemm.hpp"},
    r"(oneapi/dnnl/)?dnnl": {"onednn.hpp", "gemm/onednn_plan.hpp", "gemm/onednn_gemm.hpp"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def may_include(header, target):
    folder, _, _ = header.rpartition("/")
    target_folder = target.rpartition("/")[0]
    if folder:
        return folder == target_folder or {target, target_folder} & ALLOWED.get(folder, set())
    return target_folder in ALLOWED and header != "version.hpp" or target in TOP.get(header, set())


def violations(include_dir):
    root = pathlib.Path(include_dir)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        if root / "adr" not in path.parents or path.suffix != ".hpp":
            yield f"{path}: only headers *.hpp below adr/ belong here"
            continue
        header = path.relative_to(root / "adr").as_posix()
        if header not in TOP and header.rpartition("/")[0] not in ALLOWED:
            yield f"{path}: no layer is known by this name"
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > MAX_LINES:
            yield f"{path}: {len(lines)} lines, more than {MAX_LINES}"
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, target = match.groups()
            where = f"{path}:{number}: {target}"
            if target.startswith("adr/"):
                if not may_include(header, target[len("adr/"):]):
                    yield f"{where}: the layer of {header} may not include it"
            elif quote == '"':
                yield f'{where}: quotes are for the library\'s own headers, as in "adr/core/types.hpp"'
            for pattern, allowed in RESTRICTED.items():
                if re.match(pattern, target) and header not in allowed:
                    yield f"{where}: only {', '.join(sorted(allowed))} may include it"


def self_test():
    good = {"core/types.hpp": '"adr/version.hpp"', "simd/batch.hpp": "<xsimd/xsimd.hpp>",
            "published/x.hpp": '"adr/product/x.hpp"', "exact/packed_gemm.hpp": '"adr/unfold/x.hpp"',
            "gemm/dense_gemm.hpp": '"adr/exact/packed_gemm.hpp"', "nn/x.hpp": '"adr/gemm/x.hpp"',
            "reuse_gemm.hpp": '"adr/nn/x.hpp"', "adr.hpp": '"adr/reuse_gemm.hpp"', "eigen.hpp": "<Eigen/Core>"}
    bad = [("core/x.hpp", '"adr/simd/batch.hpp"'), ("simd/x.hpp", '"adr/published/x.hpp"'),
           ("unfold/x.hpp", '"adr/published/x.hpp"'), ("published/x.hpp", '"adr/unfold/x.hpp"'),
           ("published/x.hpp", "<adr/subspace/x.hpp>"), ("adapt/x.hpp", '"adr/simd/batch.hpp"'),
           ("reference/x.hpp", '"adr/gemm/x.hpp"'), ("gemm/y.hpp", '"adr/published/sign_hash.hpp"'),
           ("gemm/y.hpp", '"adr/unfold/x.hpp"'), ("gemm/y.hpp", '"adr/adapt/x.hpp"'),
           ("gemm/y.hpp", '"adr/nn/x.hpp"'), ("gemm/y.hpp", '"adr/exact/few_rows.hpp"'),
           ("exact/x.hpp", '"adr/gemm/x.hpp"'), ("exact/x.hpp", '"adr/published/x.hpp"'), ("gemm/y.hpp", "<Eigen/Core>"), ("nn/y.hpp", '"adr/reuse_gemm.hpp"'),
           ("nn/y.hpp", '"adr/reference/x.hpp"'), ("nn/y.hpp", '"adr/eigen.hpp"'),
           ("nn/y.hpp", '"adr/adr.hpp"'), ("adr.hpp", '"adr/eigen.hpp"'),
           ("simd/kernels.hpp", "<xsimd/xsimd.hpp>"), ("nn/y.hpp", "<Eigen/Dense>"),
           ("gemm/dense_gemm.hpp", "<cblas.h>"), ("nn/y.hpp", "<dnnl.hpp>"), ("nn/y.hpp", '"adr/onednn.hpp"'),
           ("nn/y.hpp", '"../../../examples/x.hpp"'),
           ("other/x.hpp", '"adr/core/types.hpp"'), ("core/x.cpp", "<vector>"),
           ("core/long.hpp", "<vector>\n" * MAX_LINES)]
    for tree, expected in [(good.items(), 0)] + [([case], 1) for case in bad]:
        with tempfile.TemporaryDirectory() as folder:
            for header, target in tree:
                path = pathlib.Path(folder, "adr", header)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"#pragma once\n#include {target}\n", encoding="utf-8")
            found = list(violations(folder))
            if len(found) != expected:
                sys.exit(f"self-test: {list(tree)}: expected {expected} violation(s), found {found}")
    print(f"self-test: {len(bad)} violating trees and a clean one: as expected")


if __name__ == "__main__":
    header_checker.main(__doc__, violations, self_test)
