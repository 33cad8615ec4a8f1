// The drop-in functions: product and gradients against the reference, and every refusal.
#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "adr/extern_layers.hpp"
#include "adr/reuse_gemm.hpp"
#include "property/layer_cases.hpp"
#include "property/reuse_reference.hpp"
#include "support/catch.hpp"
#include "support/data.hpp"
#include "support/elements.hpp"
#include "support/guarded_buffer.hpp"
#include "support/refusal.hpp"

using adr::Context;
using adr::HashCenter;
using adr::index_t;
using adr::InputGradient;
using adr::MatrixView;
using adr::Method;
using adr::Plan;
using adr::ReuseGemm;
using adr_test::contains;
using adr_test::Data;
using adr_test::fault;
using adr_test::GivenIds;
using adr_test::GuardedBuffer;
using adr_test::Matrix;
using adr_test::refusal;
using adr_test::Start;

namespace {

Plan dense() {
  Plan config;
  config.method = Method::exact;
  return config;
}

Plan hyperplane(index_t length, int bits) {
  Plan config;
  config.vector_length = length;
  config.hash_count = bits;
  return config;
}

/// c = a b and its gradients.
template <class T>
struct GemmCase {
  index_t rows, columns, outputs;
  GuardedBuffer<T> a, b, c, d_c, d_a, d_b;

  GemmCase(index_t n, index_t k, index_t m, Data& data, index_t gap = 0,
           Start start = Start::aligned)
      : rows(n),
        columns(k),
        outputs(m),
        a(n, k, k + gap, start),
        b(k, m, m + gap, start),
        c(n, m, m + gap, start),
        d_c(n, m, m + gap, start),
        d_a(n, k, k + gap, start),
        d_b(k, m, m + gap, start) {
    for (auto* operand : {&a, &b, &d_c}) data.fill_normal(operand->view());
  }

  void product(ReuseGemm<T>& reuse) { adr::reuse_gemm<T>(a.view(), b.view(), c.view(), reuse); }
  void weight_gradient(ReuseGemm<T>& reuse) {
    adr::reuse_gemm_weight_gradient<T>(a.view(), d_c.view(), d_b.view(), reuse);
  }
  void input_gradient(ReuseGemm<T>& reuse) {
    adr::reuse_gemm_input_gradient<T>(d_c.view(), b.view(), d_a.view(), reuse);
  }
  void all(ReuseGemm<T>& reuse) {
    product(reuse);
    weight_gradient(reuse);
    input_gradient(reuse);
  }

  void check(ReuseGemm<T>& reuse) const {
    adr_test::Operands o;
    o.x = Matrix(a.view());
    o.w = Matrix(b.view());
    o.d_y = Matrix(d_c.view());
    const bool clustered = reuse.plan().method == Method::published;
    const bool means = clustered && reuse.plan().input_gradient != InputGradient::dense;
    const GivenIds given(reuse.clustering());
    CHECK(fault(c.view(), clustered ? adr_test::clustered_output(o, given)
                                    : adr_test::dense_output(o)) == "");
    CHECK(fault(d_b.view(), clustered ? adr_test::clustered_weight_gradient(o, given)
                                      : adr_test::dense_weight_gradient(o)) == "");
    CHECK(fault(d_a.view(), means ? adr_test::cluster_mean_input_gradient(o, given)
                                  : adr_test::dense_input_gradient(o)) == "");
    CHECK(damage() == "");
  }
  [[nodiscard]] std::string damage() const {
    std::string text;
    for (const auto* buffer : {&a, &b, &c, &d_c, &d_a, &d_b}) text += buffer->damage();
    return text;
  }
  [[nodiscard]] std::vector<T> results() const {
    std::vector<T> all;
    for (const auto* buffer : {&c, &d_a, &d_b}) {
      const std::vector<T> part = adr_test::elements_of(*buffer);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("reuse_gemm and its gradients agree with the reference", "", ADR_TEST_ELEMENTS) {
  using T = TestType;
  Data data;
  INFO(data);
  struct Shape {
    index_t rows, columns, outputs;
  };
  for (const Shape s : {Shape{1, 1, 1}, Shape{31, 7, 5}, Shape{64, 33, 65}, Shape{500, 10, 3}}) {
    std::vector<Plan> configs = {dense(), hyperplane(1, 3), hyperplane(s.columns, 64)};
    configs.push_back(hyperplane((s.columns + 1) / 2, 6));
    configs.back().hash_center = HashCenter::mean;
    configs.push_back(hyperplane((s.columns + 2) / 3, 4));
    configs.back().input_gradient = InputGradient::dense;
    for (const Plan& config : configs) {
      INFO(s.rows << " x " << s.columns << " x " << s.outputs << ", " << to_string(config.method)
                  << ", L " << config.vector_length << ", H " << config.hash_count);
      GemmCase<T> c(s.rows, s.columns, s.outputs, data, config.hash_count % 2 * 3,
                    config.hash_count % 2 == 0 ? Start::aligned : Start::misaligned);
      Context context(2);
      ReuseGemm<T> reuse(config, context);
      CHECK(reuse.workspace_bytes(s.rows) == 0);
      CHECK(reuse.report().forward.multiply_adds_dense == 0);
      c.all(reuse);
      c.check(reuse);
      CHECK(context.workspace().peak_bytes() == reuse.workspace_bytes(s.rows));
      CHECK(&reuse.context() == &context);
    }
  }
}

TEST_CASE("reuse_gemm takes another number of rows in every call") {
  Data data;
  INFO(data);
  for (const Plan& config : {dense(), hyperplane(4, 4)}) {
    ReuseGemm<float> reuse(config);
    for (const index_t rows : {10, 0, 70, 1}) {
      INFO(to_string(config.method) << ", " << rows << " rows");
      GemmCase<float> c(rows, 9, 5, data, 2, Start::misaligned);
      c.all(reuse);
      c.check(reuse);
      // Again, in the other order.
      const std::vector<float> bits = c.results();
      c.input_gradient(reuse);
      c.weight_gradient(reuse);
      CHECK(adr_test::same_bits(c.results(), bits));
    }
  }
}

TEST_CASE("reuse_gemm and its gradients work on blocks of columns of one matrix") {
  Data data;
  INFO(data);
  const index_t rows = 20;
  const index_t columns = 9;
  const index_t outputs = 5;
  for (const Plan& config : {dense(), hyperplane(4, 4)}) {
    INFO(to_string(config.method));
    GemmCase<float> c(rows, columns, outputs, data);
    ReuseGemm<float> reuse(config);
    c.all(reuse);
    // a, d_a, d_c and c side by side, then b and d_b.
    GuardedBuffer<float> wide(rows, 2 * (columns + outputs), 2 * (columns + outputs));
    const MatrixView<float> a = wide.view().block(0, 0, rows, columns);
    const MatrixView<float> d_a = wide.view().block(0, columns, rows, columns);
    const MatrixView<float> d_c = wide.view().block(0, 2 * columns, rows, outputs);
    const MatrixView<float> out = wide.view().block(0, 2 * columns + outputs, rows, outputs);
    GuardedBuffer<float> weights(columns, 2 * outputs, 2 * outputs);
    const MatrixView<float> b = weights.view().block(0, 0, columns, outputs);
    const MatrixView<float> d_b = weights.view().block(0, outputs, columns, outputs);
    const auto copy = [](const GuardedBuffer<float>& from, const MatrixView<float>& to) {
      for (index_t i = 0; i < to.rows; ++i) std::copy_n(from.view().row(i), to.cols, to.row(i));
    };
    copy(c.a, a);
    copy(c.b, b);
    copy(c.d_c, d_c);
    ReuseGemm<float> blocks(config);
    adr::reuse_gemm<float>(a, b, out, blocks);
    adr::reuse_gemm_weight_gradient<float>(a, d_c, d_b, blocks);
    adr::reuse_gemm_input_gradient<float>(d_c, b, d_a, blocks);
    std::vector<float> results;
    for (const MatrixView<float>& part : {out, d_a, d_b}) {
      const std::vector<float> elements = adr_test::elements_of<float>(part);
      results.insert(results.end(), elements.begin(), elements.end());
    }
    CHECK(adr_test::same_bits(results, c.results()));
    CHECK(wide.damage() + weights.damage() == "");
  }
}

TEST_CASE("reuse_gemm takes a single row with any stride") {
  Data data;
  INFO(data);
  Plan subspace;
  subspace.method = Method::subspace;
  for (const Plan& config : {dense(), hyperplane(1, 4), subspace}) {
    for (const index_t columns : {1, 9}) {
      GemmCase<float> c(1, columns, 5, data);
      ReuseGemm<float> plain(config);
      c.all(plain);
      const std::vector<float> bits = c.results();
      for (const index_t stride :
           {index_t{0}, index_t{1}, index_t{-4}, index_t{3}, std::numeric_limits<index_t>::max()}) {
        INFO(to_string(config.method) << ", " << columns << " columns, stride " << stride);
        const auto row = [&](GuardedBuffer<float>& buffer) {
          MatrixView<float> view = buffer.view();
          if (view.rows == 1) view.row_stride = stride;
          return view;
        };
        // Products of the user's are handed strides that a matrix can have.
        bool strides_fit = true;
        ReuseGemm<float> reuse(config);
        reuse.set_dense_gemm(adr::DenseGemm<float>(
            [&](const adr::GemmFactor<float>& x, const adr::GemmFactor<float>& y,
                adr::Update update, const MatrixView<float>& result) {
              for (const index_t gap :
                   {x.matrix.row_stride - x.matrix.cols, y.matrix.row_stride - y.matrix.cols,
                    result.row_stride - result.cols}) {
                strides_fit = strides_fit && gap >= 0 && gap < 1000;
              }
              adr::DenseGemm<float>()(x, y, update, result);
            }));
        adr::reuse_gemm<float>(row(c.a), row(c.b), row(c.c), reuse);
        adr::reuse_gemm_weight_gradient<float>(row(c.a), row(c.d_c), row(c.d_b), reuse);
        adr::reuse_gemm_input_gradient<float>(row(c.d_c), row(c.b), row(c.d_a), reuse);
        CHECK(adr_test::same_bits(c.results(), bits));
        CHECK(strides_fit);
        CHECK(c.damage() == "");
      }
    }
  }
}

TEST_CASE("reuse_gemm reports the work of every function") {
  Data data;
  INFO(data);
  GemmCase<double> c(40, 9, 5, data);
  ReuseGemm<double> reuse(hyperplane(4, 3));
  c.product(reuse);
  double products = 0;
  for (const auto& slice : reuse.clustering().slices) {
    products += static_cast<double>(slice.cluster_count * slice.length * 5);
  }
  const double sums = 40 * 3 * 5;
  CHECK(reuse.report().forward.multiply_adds_dense == 40 * 9 * 5);
  CHECK(reuse.report().forward.multiply_adds_done == 40 * 9 * (3 + 1) + products + sums);
  CHECK(reuse.report().weight_gradient.multiply_adds_dense == 0);
  c.weight_gradient(reuse);
  CHECK(reuse.report().weight_gradient.multiply_adds_done == sums + products);
  CHECK(reuse.report().input_gradient.multiply_adds_dense == 0);
  // On its own, this function has to form the sums of the output gradient once more.
  c.input_gradient(reuse);
  CHECK(reuse.report().input_gradient.multiply_adds_done == sums + products);
}

TEST_CASE("reuse_gemm multiplies with the user's product, set before or after the first call") {
  Data data;
  INFO(data);
  GemmCase<float> c(20, 9, 5, data);
  int calls = 0;
  const adr::DenseGemm<float> counting([&](const adr::GemmFactor<float>& a,
                                           const adr::GemmFactor<float>& b, adr::Update update,
                                           const MatrixView<float>& result) {
    ++calls;
    adr::DenseGemm<float>()(a, b, update, result);
  });
  ReuseGemm<float> before(hyperplane(3, 4));
  before.set_dense_gemm(counting);
  c.product(before);
  CHECK(calls == 3);
  ReuseGemm<float> after(hyperplane(3, 4));
  c.product(after);
  after.set_dense_gemm(counting);
  c.product(after);
  CHECK(calls == 6);
}

namespace {

struct Refused {
  std::string text;
  std::function<void()> call;
};

template <class T>
void check_refusals(const GemmCase<T>& c, const std::vector<Refused>& calls) {
  const auto before = c.results();
  for (const Refused& refused : calls) {
    INFO(refused.text);
    CHECK_THAT(refusal(refused.call), contains(refused.text));
    CHECK(adr_test::same_bits(c.results(), before));
  }
  CHECK(c.damage() == "");
}

using Source = MatrixView<const float>;
using Target = MatrixView<float>;

}  // namespace

TEST_CASE("reuse_gemm refuses operands that do not fit and writes nothing") {
  Data data;
  INFO(data);
  for (const Plan& config : {dense(), hyperplane(4, 4)}) {
    for (const bool used : {false, true}) {
      INFO(to_string(config.method) << (used ? ", used before" : ""));
      GemmCase<float> c(8, 9, 5, data, 1);
      ReuseGemm<float> reuse(config);
      if (used) c.all(reuse);
      const Source a = c.a.view();
      const Source b = c.b.view();
      const Target out = c.c.view();
      const auto run = [&](const Source& a_, const Source& b_, const Target& c_) {
        return [&reuse, a_, b_, c_] { adr::reuse_gemm<float>(a_, b_, c_, reuse); };
      };
      check_refusals(
          c, {{"b must be 9 x 5, got 8 x 5", run(a, b.middle_rows(0, 8), out)},
              {"b must be 8 x 5, got 9 x 5", run(a.block(0, 0, 8, 8), b, out)},
              {"c must be 8 x 5, got 7 x 5", run(a, b, out.middle_rows(0, 7))},
              {"c must be 8 x 5, got 8 x 4", run(a, b, out.block(0, 0, 8, 4))},
              {"a: row_stride must be at least cols, got 8 < 9", run({a.data, 8, 9, 8}, b, out)},
              {"b: row_stride must be at least cols, got 4 < 5", run(a, {b.data, 9, 5, 4}, out)},
              {"c: row_stride must be at least cols, got 0 < 5", run(a, b, {out.data, 8, 5, 0})},
              {"a of 8 x 9 elements has a null pointer", run({nullptr, 8, 9}, b, out)},
              {"b of 9 x 5 elements has a null pointer", run(a, {nullptr, 9, 5}, out)},
              {"c of 8 x 5 elements has a null pointer", run(a, b, {nullptr, 8, 5})},
              {"a: sizes must not be negative, got -8", run({a.data, -8, 9}, b, {out.data, -8, 5})},
              {"c must not overlap a", run(a, b, {c.a.data(), 8, 5})},
              {"c must not overlap b", run(a, b, {c.b.data() + 1, 8, 5})}});
      const index_t huge = index_t{1} << 61;
      CHECK_THAT(
          adr_test::message_of<std::overflow_error>(run({a.data, huge, 9}, b, {out.data, huge, 5})),
          contains("a: the product of the sizes exceeds"));
      // Refused calls leave the object usable.
      c.all(reuse);
      c.check(reuse);
    }
  }
}

TEST_CASE("reuse_gemm's gradients refuse operands that do not fit and write nothing") {
  Data data;
  INFO(data);
  for (const Plan& config : {dense(), hyperplane(4, 4)}) {
    INFO(to_string(config.method));
    GemmCase<float> c(8, 9, 5, data, 1);
    ReuseGemm<float> reuse(config);
    c.product(reuse);
    const Source a = c.a.view();
    const Source b = c.b.view();
    const Source d_c = c.d_c.view();
    const Target d_a = c.d_a.view();
    const Target d_b = c.d_b.view();
    const auto weights = [&](const Source& a_, const Source& d_c_, const Target& d_b_) {
      return [&reuse, a_, d_c_, d_b_] {
        adr::reuse_gemm_weight_gradient<float>(a_, d_c_, d_b_, reuse);
      };
    };
    const auto input = [&](const Source& d_c_, const Source& b_, const Target& d_a_) {
      return [&reuse, d_c_, b_, d_a_] {
        adr::reuse_gemm_input_gradient<float>(d_c_, b_, d_a_, reuse);
      };
    };
    check_refusals(
        c,
        {{"d_c must be 8 x 5, got 7 x 5", weights(a, d_c.middle_rows(0, 7), d_b)},
         {"d_b must be 9 x 5, got 8 x 5", weights(a, d_c, d_b.middle_rows(0, 8))},
         {"d_b must be 9 x 4, got 9 x 5", weights(a, d_c.block(0, 0, 8, 4), d_b)},
         {"a: row_stride must be at least cols, got 8 < 9", weights({a.data, 8, 9, 8}, d_c, d_b)},
         {"d_c: row_stride must be at least cols, got 4 < 5", weights(a, {d_c.data, 8, 5, 4}, d_b)},
         {"d_b of 9 x 5 elements has a null pointer", weights(a, d_c, {nullptr, 9, 5})},
         {"d_b must not overlap a", weights(a, d_c, {c.a.data(), 9, 5})},
         {"d_b must not overlap d_c", weights(a, d_c, {c.d_c.data(), 9, 5})},
         {"this one has 9 x 5, the call has 9 x 4",
          weights(a, d_c.block(0, 0, 8, 4), d_b.block(0, 0, 9, 4))},
         {"d_c must be 8 x 4, got 8 x 5", input(d_c, b.block(0, 0, 9, 4), d_a)},
         {"d_a must be 8 x 9, got 8 x 8", input(d_c, b, d_a.block(0, 0, 8, 8))},
         {"d_a must be 7 x 9, got 8 x 9", input(d_c.middle_rows(0, 7), b, d_a)},
         {"d_a: row_stride must be at least cols, got 2 < 9", input(d_c, b, {d_a.data, 8, 9, 2})},
         {"d_c of 8 x 5 elements has a null pointer", input({nullptr, 8, 5}, b, d_a)},
         {"b of 9 x 5 elements has a null pointer", input(d_c, {nullptr, 9, 5}, d_a)},
         {"d_a must not overlap d_c", input(d_c, b, {c.d_c.data(), 8, 9})},
         {"d_a must not overlap b", input(d_c, {c.d_a.data(), 9, 5}, d_a)},
         {"this one has 9 x 5, the call has 8 x 5",
          input(d_c, b.middle_rows(0, 8), d_a.block(0, 0, 8, 8))}});
    if (config.method == Method::published) {
      const std::string text = "the last forward pass, which had 8 rows; the output gradient has 6";
      check_refusals(c, {{text, weights(a.middle_rows(0, 6), d_c.middle_rows(0, 6), d_b)},
                         {text, input(d_c.middle_rows(0, 6), b, d_a.middle_rows(0, 6))}});
    }
  }
}

TEST_CASE("reuse_gemm's gradients need a product first") {
  Data data;
  INFO(data);
  GemmCase<float> c(8, 9, 5, data);
  GemmCase<float> other(8, 6, 4, data);
  ReuseGemm<float> reuse(hyperplane(4, 4));
  check_refusals(c, {{"run forward first", [&] { c.weight_gradient(reuse); }},
                     {"run forward first", [&] { c.input_gradient(reuse); }}});
  // A refused call decides nothing: the first product may still be of another shape.
  CHECK(refusal([&] { other.all(reuse); }) == "(no error)");
}

TEST_CASE("A ReuseGemm belongs to one weight matrix") {
  Data data;
  INFO(data);
  GemmCase<float> c(8, 9, 5, data);
  GemmCase<float> other(8, 9, 4, data);
  for (const Plan& config : {dense(), hyperplane(4, 4)}) {
    ReuseGemm<float> reuse(config);
    c.all(reuse);
    const auto before = other.results();
    CHECK(refusal([&] { other.product(reuse); }) ==
          "a ReuseGemm belongs to one weight matrix: this one has 9 x 5, the call has 9 x 4");
    CHECK(adr_test::same_bits(other.results(), before));
    c.check(reuse);
  }
}

TEST_CASE("reuse_gemm refuses a setting that does not fit") {
  Data data;
  INFO(data);
  CHECK_THAT(refusal([] { ReuseGemm<float> reuse(hyperplane(4, 65)); }),
             contains("Plan: hash_count must be between 1 and 64, got 65"));
  CHECK_THAT(refusal([] { ReuseGemm<float> reuse(hyperplane(0, 4)); }),
             contains("vector_length must be at least 1, got 0"));
  // Only the first product shows that L exceeds K; nothing is written, and a wider one works.
  GemmCase<float> narrow(8, 9, 5, data);
  GemmCase<float> wide(8, 10, 5, data);
  ReuseGemm<float> reuse(hyperplane(10, 4));
  check_refusals(narrow, {{"Plan: vector_length must be at most the number of unfolded "
                           "columns (9), got 10",
                           [&] { narrow.product(reuse); }}});
  wide.all(reuse);
  wide.check(reuse);
  // No weights at all.
  ReuseGemm<float> none(dense());
  CHECK_THAT(refusal([&] {
               adr::reuse_gemm<float>(Source(nullptr, 3, 0), Source(nullptr, 0, 5),
                                      Target(narrow.c.data(), 3, 5), none);
             }),
             contains("the weights must have at least 1 x 1 elements, got 0 x 5"));
}

TEST_CASE("reuse_gemm refuses elements that are not finite, when asked") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Data data;
  INFO(data);
  for (Plan config : {dense(), hyperplane(4, 4)}) {
    config.check_finite = true;
    GemmCase<float> c(8, 9, 5, data);
    ReuseGemm<float> reuse(config);
    c.all(reuse);
    const auto with_nan = [&](float& element, const std::function<void()>& call) {
      return [&element, nan, call] {
        const float before = element;
        element = nan;
        try {
          call();
        } catch (...) {
          element = before;
          throw;
        }
        element = before;
      };
    };
    check_refusals(c, {{"a must be finite, element (3, 8) is nan",
                        with_nan(c.a(3, 8), [&] { c.product(reuse); })},
                       {"b must be finite, element (8, 4) is nan",
                        with_nan(c.b(8, 4), [&] { c.product(reuse); })},
                       {"d_c must be finite, element (7, 0) is nan",
                        with_nan(c.d_c(7, 0), [&] { c.weight_gradient(reuse); })},
                       {"d_c must be finite, element (7, 1) is nan",
                        with_nan(c.d_c(7, 1), [&] { c.input_gradient(reuse); })},
                       {"b must be finite, element (0, 0) is nan",
                        with_nan(c.b(0, 0), [&] { c.input_gradient(reuse); })}});
  }
}
