// Misuse that the types have to refuse. Each case is compiled alone and has to fail; with no case
// defined the file has to compile, so that a case cannot fail for a reason of its own.
#include <adr/adr.hpp>
#include <type_traits>
#include <vector>

void uses(adr::ReuseGemm<float>& reuse, adr::MatrixView<const float> a,
          adr::MatrixView<const float> b, adr::MatrixView<float> c);
void uses(adr::ReuseGemm<float>& reuse, adr::MatrixView<const float> a,
          adr::MatrixView<const float> b, adr::MatrixView<float> c) {
  static_cast<void>(b);
#if defined(CASE_READ_ONLY_OUTPUT)
  adr::MatrixView<const float> output = c;
#else
  adr::MatrixView<float> output = c;
#endif

#if defined(CASE_MIXED_ELEMENT_TYPES)
  std::vector<double> weights(12);
  adr::MatrixView<const double> right(weights.data(), 6, 2);
#else
  adr::MatrixView<const float> right = b;
#endif

#if defined(CASE_CONST_CAST_AWAY)
  adr::MatrixView<float> left = a;
#else
  adr::MatrixView<const float> left = a;
#endif

  // Named, not called: what it would compile is no matter here.
  using Result = decltype(adr::reuse_gemm<float>(left, right, output, reuse));
  static_assert(std::is_void<Result>::value, "reuse_gemm writes to its output");
}
