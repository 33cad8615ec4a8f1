// Products of this machine's kernels, compiled as if the program had grown beyond what compilers inline.
#include <adr/exact/packed_gemm.hpp>

void multiply(const adr::GemmFactor<float>& a, const adr::GemmFactor<float>& b,
              const adr::MatrixView<float>& result) {
  adr::packed_gemm(a, b, adr::Update::accumulate, result);
}
