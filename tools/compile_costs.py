#!/usr/bin/env python3
"""What a use of the library costs to compile, for docs/getting_started.md.

    compile_costs.py INCLUDE_DIR [--compiler CXX] [--flags "-O2 -mavx2 -mfma"]

The median of three runs per program, processor time of the compiler and the most memory that it held.
"""
import argparse
import os
import shlex
import statistics
import subprocess
import tempfile

USES = {
    "`#include <adr/options.hpp>`": "#include <adr/options.hpp>\nint main() {}\n",
    "`#include <adr/adr.hpp>`": "#include <adr/adr.hpp>\nint main() {}\n",
    "an exact `reuse_gemm` (`adr::Exact{}`)": """#include <adr/reuse_gemm.hpp>
int main() {
  static float a[64], b[64], c[64];
  adr::ReuseGemm<float> product(adr::Exact{});
  adr::reuse_gemm<float>({a, 8, 8}, {b, 8, 8}, {c, 8, 8}, product);
}
""",
    "an automatic one, compiled elsewhere (`extern_layers.hpp`)": """#include <adr/extern_layers.hpp>
#include <adr/reuse_gemm.hpp>
int main() {
  static float a[64], b[64], c[64];
  adr::ReuseGemm<float> product(adr::Options{0.05});
  adr::reuse_gemm<float>({a, 8, 8}, {b, 8, 8}, {c, 8, 8}, product);
}
""",
    "an automatic `reuse_gemm`": """#include <adr/reuse_gemm.hpp>
int main() {
  static float a[64], b[64], c[64];
  adr::ReuseGemm<float> product(adr::Options{0.05});
  adr::reuse_gemm<float>({a, 8, 8}, {b, 8, 8}, {c, 8, 8}, product);
}
""",
    "the same with both gradients": """#include <adr/reuse_gemm.hpp>
int main() {
  static float a[64], b[64], c[64];
  adr::ReuseGemm<float> product(adr::Options{0.05});
  adr::reuse_gemm<float>({a, 8, 8}, {b, 8, 8}, {c, 8, 8}, product);
  adr::reuse_gemm_weight_gradient<float>({a, 8, 8}, {b, 8, 8}, {c, 8, 8}, product);
  adr::reuse_gemm_input_gradient<float>({a, 8, 8}, {b, 8, 8}, {c, 8, 8}, product);
}
""",
    "an automatic `ReuseConv2d`, all passes": """#include <adr/reuse_conv2d.hpp>
int main() {
  adr::ConvGeometry g;
  adr::ReuseConv2d<float> conv(g, adr::Options{0.05});
  static float x[1], w[1], y[1];
  const adr::TensorView<float> in(x, 1, 1, 1, 1, adr::Layout::nchw), out(y, 1, 1, 1, 1, adr::Layout::nchw);
  conv.forward(in, {w, 1, 1}, {}, out);
  conv.backward(in, {w, 1, 1}, out, {});
}
""",
}
RUNS = 3


def cost(command):
    """Seconds of processor time, and megabytes, of one run."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{shlex.join(command)}: failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("include_dir")
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--flags", default="-O2 -mavx2 -mfma")
    arguments = parser.parse_args()
    print(f"{arguments.compiler} {arguments.flags}\n\n| program | time | memory |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, program in USES.items():
            source = os.path.join(folder, "use.cpp")
            with open(source, "w", encoding="utf-8") as file:
                file.write(program)
            # The compiler itself, not the driver, is what takes the memory; wait4 sees the larger of its children's.
            command = [arguments.compiler, "-std=c++17", *shlex.split(arguments.flags), "-I", arguments.include_dir, "-c",
                       source, "-o", os.path.join(folder, "use.o")]
            runs = [cost(command) for _ in range(RUNS)]
            seconds = statistics.median(run[0] for run in runs)
            print(f"| {name} | {seconds:.1f} s | {max(run[1] for run in runs):.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
