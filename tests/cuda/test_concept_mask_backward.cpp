// SPDX-License-Identifier: MIT
// The kernels of the derivatives of concept_mask, and of its half dtypes, against the core, bit for
// bit.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <vector>

#include "core/concept_mask.h"
#include "cuda/concept_mask_backward.cuh"
#include "mask_problems.h"

namespace vtcd {
namespace {

constexpr Stream kStream{nullptr};

const std::vector<MaskProblem> kProblems{
    {1, 1, 1, 1, 0, 1, false},     {2, 3, 5, 7, 1, 4, false},    {2, 2, 37, 64, 0, 9, true},
    {3, 2, 33, 12, 2, 5, true},    {1, 2, 1100, 4, 5, 3, false}, {2, 2, 3, 8, 3, 2, false},
    {1, 1, 70, 8, 0, 5000, false}, {1, 2, 4, 0, 0, 3, false},
};

template <typename Scalar>
std::vector<Scalar> random_numbers(int64_t count, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::vector<Scalar> numbers(count);
  for (Scalar& number : numbers) {
    if constexpr (sizeof(Scalar) == 2) {
      number = round_to<Scalar>(static_cast<float>(normal(random)));
    } else {
      number = static_cast<Scalar>(normal(random));
    }
  }
  return numbers;
}

template <typename Scalar>
std::vector<Number<Scalar>> as_numbers(const std::vector<Scalar>& values) {
  std::vector<Number<Scalar>> numbers;
  for (const Scalar& value : values) numbers.push_back(to_number(value));
  return numbers;
}

template <typename Scalar>
struct Gradients {
  std::vector<Scalar> of_x;
  std::vector<double> of_keep;
};

// What the core gives, in the type that it computes in.
template <typename Scalar>
Gradients<Scalar> by_core(const MaskedTokens& tokens, const std::vector<Scalar>& grad,
                          const std::vector<Scalar>& x, const std::vector<Scalar>& keep,
                          const FeatureStrides& of_grad, const FeatureStrides& layout) {
  Gradients<Scalar> result{std::vector<Scalar>(x.size()), std::vector<double>(keep.size())};
  concept_mask_backward(tokens, grad.data(), of_grad, x.data(), layout, keep.data(), serial_for,
                        result.of_x.data(), layout, result.of_keep.data());
  return result;
}

template <typename Scalar>
Gradients<Scalar> by_kernel(const MaskedTokens& tokens, const std::vector<Scalar>& grad,
                            const std::vector<Scalar>& x, const std::vector<Number<Scalar>>& keep,
                            const FeatureStrides& of_grad, const FeatureStrides& layout) {
  Gradients<Scalar> result{std::vector<Scalar>(x.size()), std::vector<double>(keep.size())};
  const int64_t heads = tokens.batch * tokens.num_heads;
  std::vector<double> products(heads * (tokens.num_tokens - tokens.num_prefix_tokens));
  std::vector<double> sums(heads * tokens.num_units);
  std::array<int64_t, 2> outside{};
  cuda::concept_mask_backward(tokens, grad.data(), of_grad, x.data(), layout, keep.data(),
                              result.of_x.data(), layout, products.data(), outside.data(), kStream);
  for (int64_t b = 0; b < tokens.batch; ++b)  // in parts, as for want of memory
    cuda::sum_by_unit(tokens, b, 1, products.data(), sums.data(), result.of_keep.data(), kStream);
  EXPECT_LE(outside[0], 1);
  EXPECT_LE(outside[1], tokens.num_units);
  return result;
}

template <typename Scalar>
void expect_equal_to_core(const MaskProblem& problem, bool transposed) {
  std::mt19937 random(11);
  const std::vector<int32_t> units = random_units(problem, random);
  const MaskedTokens tokens = tokens_of(problem, units);
  const auto grad = random_numbers<Scalar>(problem.size(), random);
  const auto x = random_numbers<Scalar>(problem.size(), random);
  const auto keep = random_numbers<Number<Scalar>>(problem.batch * problem.num_units, random);
  const FeatureStrides of_grad = strides(problem, false), layout = strides(problem, transposed);
  const auto expected =
      by_core<Number<Scalar>>(tokens, as_numbers(grad), as_numbers(x), keep, of_grad, layout);
  const auto found = by_kernel<Scalar>(tokens, grad, x, keep, of_grad, layout);
  EXPECT_EQ(found.of_keep, expected.of_keep);
  for (size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(to_number(found.of_x[i]), to_number(round_to<Scalar>(expected.of_x[i])));
}

TEST(ConceptMaskBackwardKernel, EqualsTheCore) {
  for (const MaskProblem& problem : kProblems) {
    expect_equal_to_core<float>(problem, false);
    expect_equal_to_core<double>(problem, false);
    if (problem.num_tokens < 100) {  // a block for each token
      expect_equal_to_core<float>(problem, true);
      expect_equal_to_core<double>(problem, true);
    }
    expect_equal_to_core<Half>(problem, false);
    expect_equal_to_core<BFloat16>(problem, false);
  }
}

TEST(ConceptMaskBackwardKernel, LeavesTokensWithoutAUnitOut) {
  const std::vector<int32_t> units{0, 5, -7, -1};
  const MaskedTokens tokens{1, 1, 4, 1, 0, units.data(), false, 2};
  const FeatureStrides layout{4, 4, 1, 1};
  const std::vector<float> grad{1, 2, 3, 4}, x{8, 8, 8, 8}, keep{0.5f, 0.25f};
  std::vector<float> grad_x(4), grad_keep(2);
  std::vector<double> products(4), sums(2);
  std::array<int64_t, 2> outside{};
  cuda::concept_mask_backward(tokens, grad.data(), layout, x.data(), layout, keep.data(),
                              grad_x.data(), layout, products.data(), outside.data(), kStream);
  cuda::sum_by_unit(tokens, 0, 1, products.data(), sums.data(), grad_keep.data(), kStream);
  EXPECT_EQ(grad_x, (std::vector<float>{0.5f, 2, 3, 4}));
  EXPECT_EQ(grad_keep, (std::vector<float>{8, 0}));
  EXPECT_EQ(outside, (std::array<int64_t, 2>{7, 6}));
}

TEST(ConceptMaskBackwardKernel, GivesZeroWithoutTokens) {
  for (const int64_t heads : {0, 2}) {
    const MaskedTokens tokens{2, heads, 0, 3, 0, nullptr, false, 3};
    std::vector<double> sums(2 * heads * 3), grad_keep(6, 1.0);
    cuda::sum_by_unit(tokens, 0, 2, nullptr, sums.data(), grad_keep.data(), kStream);
    EXPECT_EQ(grad_keep, std::vector<double>(6, 0.0));
  }
}

template <typename Scalar>
void expect_products_of_the_core() {
  for (const MaskProblem& problem : kProblems) {
    std::mt19937 random(5);
    const std::vector<int32_t> units = random_units(problem, random);
    const MaskedTokens tokens = tokens_of(problem, units);
    const auto x = random_numbers<Scalar>(problem.size(), random);
    const auto keep = random_numbers<float>(problem.batch * problem.num_units, random);
    const FeatureStrides layout = strides(problem, false);
    std::vector<float> expected(problem.size());
    concept_mask(tokens, as_numbers(x).data(), layout, keep.data(), serial_for, expected.data(),
                 layout);
    std::vector<Scalar> found(problem.size());
    std::array<int64_t, 2> outside{};
    cuda::concept_mask(tokens, x.data(), layout, keep.data(), found.data(), layout, outside.data(),
                       kStream);
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(found[i].bits, round_to<Scalar>(expected[i]).bits);
  }
}

TEST(ConceptMaskKernel, RoundsHalfDtypesOnce) {
  expect_products_of_the_core<Half>();
  expect_products_of_the_core<BFloat16>();
}

}  // namespace
}  // namespace vtcd
