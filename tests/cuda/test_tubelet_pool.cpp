// SPDX-License-Identifier: MIT
// The kernels of tubelet_pool against the core, bit for bit.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/tubelet_pool.h"
#include "cuda/tubelet_pool_means.cuh"

namespace vtcd {
namespace {

constexpr Stream kStream{nullptr};

struct PoolProblem {
  Shape3 grid, size;
  Interpolation interpolation;
  int64_t batch, num_channels, num_tubelets;
};

// Blobs of labels, some voxels of which belong to no tubelet or to another one.
template <typename Label>
std::vector<Label> random_labels(const PoolProblem& p, std::mt19937& random) {
  std::vector<Label> labels(p.batch * p.size.count());
  for (int64_t i = 0; i < static_cast<int64_t>(labels.size()); ++i) {
    const int64_t x = i % p.size.w, y = i / p.size.w % p.size.h, z = i / (p.size.w * p.size.h);
    const int64_t blob = x / 5 + 3 * (y / 4) + 7 * (z / 2);
    const int64_t any = random() % 10 == 0 ? static_cast<int64_t>(random()) : blob;
    labels[i] = static_cast<Label>(any % (p.num_tubelets + 1)) - 1;
  }
  return labels;
}

template <typename Scalar>
std::vector<Scalar> random_numbers(int64_t count, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::vector<Scalar> numbers(count);
  for (Scalar& number : numbers)
    number = round_to<Scalar>(static_cast<Number<Scalar>>(normal(random)));
  return numbers;
}

// Working memory, and the parts in the order of the binding.
class Weights {
 public:
  explicit Weights(const PoolProblem& p)
      : plan{p.grid, p.size, p.interpolation, p.num_channels, p.num_tubelets},
        batch_(p.batch),
        cells_(cuda::num_places(plan)),
        runs_(p.batch * p.size.t * p.size.h * plan.along_x().count()),
        planes_(p.batch * p.size.t * kLabelBlock * p.grid.h * p.grid.w),
        counts_(p.batch * p.size.t * kLabelBlock),
        weights_(p.batch * kLabelBlock * p.grid.count()) {}

  template <typename Label, typename Use>
  void for_each_part(const std::vector<Label>& labels, int64_t volumes_at_once, const Use& use) {
    const cuda::PoolWork work{cells_.data(), runs_.data(), planes_.data(), counts_.data(),
                              weights_.data()};
    for (int64_t volume = 0; volume < batch_; volume += volumes_at_once) {
      cuda::PoolPart part{volume, std::min(volumes_at_once, batch_ - volume), 0, 0};
      cuda::find_runs(plan, part, work, labels.data(), outside.data(), kStream);
      for (; part.first_label < plan.num_tubelets; part.first_label += kLabelBlock) {
        part.num_labels = std::min(kLabelBlock, plan.num_tubelets - part.first_label);
        cuda::weigh_planes(plan, part, work, labels.data(), kStream);
        use(part, work);
      }
    }
  }

  cuda::PoolPlan plan;
  std::array<int64_t, 3> outside{};

 private:
  int64_t batch_;
  std::vector<AxisCell> cells_;
  std::vector<int64_t> runs_;
  std::vector<double> planes_;
  std::vector<int64_t> counts_;
  std::vector<double> weights_;
};

template <typename Scalar, typename Label>
void expect_means_of_the_core(const PoolProblem& p, int64_t volumes_at_once,
                              const std::vector<Scalar>& features,
                              const std::vector<Label>& labels) {
  const CellGrid cells(p.grid, p.size, p.interpolation);
  std::vector<Number<Scalar>> numbers, expected(p.batch * p.num_tubelets * p.num_channels);
  for (const Scalar& value : features) numbers.push_back(to_number(value));
  std::vector<int64_t> expected_counts(p.batch * p.num_tubelets), counts(expected_counts.size());
  for (int64_t b = 0; b < p.batch; ++b)
    tubelet_pool(&numbers[b * p.num_channels * p.grid.count()], p.num_channels,
                 &labels[b * p.size.count()], p.num_tubelets, cells, serial_for,
                 expected.data() + b * p.num_tubelets * p.num_channels,
                 expected_counts.data() + b * p.num_tubelets);
  std::vector<Scalar> means(expected.size());
  Weights weights(p);
  weights.for_each_part(labels, volumes_at_once, [&](const auto& part, const auto& work) {
    cuda::pool_means(weights.plan, part, work, features.data(), means.data(), counts.data(),
                     kStream);
  });
  EXPECT_EQ(weights.outside, (std::array<int64_t, 3>{}));
  EXPECT_EQ(counts, expected_counts);
  for (size_t i = 0; i < means.size(); ++i) {
    const auto found = to_number(means[i]), exact = to_number(round_to<Scalar>(expected[i]));
    ASSERT_TRUE(found == exact || (std::isnan(found) && std::isnan(exact))) << i;
  }
}

template <typename Scalar, typename Label>
void expect_gradient_of_the_core(const PoolProblem& p, const std::vector<Scalar>& grad_means,
                                 const std::vector<Label>& labels,
                                 const std::vector<int64_t>& counts) {
  const CellGrid cells(p.grid, p.size, p.interpolation);
  std::vector<Scalar> expected(p.batch * p.num_channels * p.grid.count()), found(expected.size());
  for (int64_t b = 0; b < p.batch; ++b)
    tubelet_pool_backward(grad_means.data() + b * p.num_tubelets * p.num_channels, p.num_channels,
                          &labels[b * p.size.count()], counts.data() + b * p.num_tubelets,
                          p.num_tubelets, cells, serial_for,
                          &expected[b * p.num_channels * p.grid.count()]);
  Weights weights(p);
  weights.for_each_part(labels, p.batch, [&](const auto& part, const auto& work) {
    cuda::spread_means(weights.plan, part, work, grad_means.data(), counts.data(), found.data(),
                       kStream);
  });
  for (size_t i = 0; i < found.size(); ++i)
    ASSERT_TRUE(found[i] == expected[i] || (std::isnan(found[i]) && std::isnan(expected[i]))) << i;
}

constexpr auto kLinear = Interpolation::kTrilinear;
constexpr auto kNearest = Interpolation::kNearest;
const std::vector<PoolProblem> kProblems{
    {{1, 1, 1}, {1, 1, 1}, kLinear, 1, 1, 1},      {{2, 3, 3}, {4, 7, 20}, kLinear, 2, 3, 5},
    {{3, 2, 5}, {5, 11, 9}, kNearest, 2, 33, 17},  {{1, 1, 4}, {2, 3, 61}, kLinear, 1, 2, 2},
    {{2, 17, 16}, {3, 20, 18}, kLinear, 1, 2, 70}, {{5, 4, 6}, {2, 3, 1}, kLinear, 1, 2, 3},
    {{5, 4, 6}, {2, 3, 4}, kNearest, 1, 2, 3},     {{3, 27, 27}, {3, 9, 9}, kLinear, 1, 2, 3},
    {{1, 1, 2}, {2, 3, 16}, kLinear, 1, 2, 9},  // a cell of as many voxels as there can be
};

TEST(TubeletPoolKernel, EqualsTheCore) {
  for (const PoolProblem& p : kProblems) {
    std::mt19937 random(5);
    const auto labels = random_labels<int32_t>(p, random);
    const int64_t count = p.batch * p.num_channels * p.grid.count();
    expect_means_of_the_core(p, 1, random_numbers<float>(count, random), labels);
    expect_means_of_the_core(p, p.batch, random_numbers<double>(count, random), labels);
  }
}

TEST(TubeletPoolKernel, TakesHalfDtypesAndWideLabels) {
  const PoolProblem p{{2, 3, 3}, {4, 7, 20}, kLinear, 2, 3, 5};
  std::mt19937 random(6);
  const auto labels = random_labels<int64_t>(p, random);
  const int64_t count = p.batch * p.num_channels * p.grid.count();
  expect_means_of_the_core(p, 2, random_numbers<Half>(count, random), labels);
  expect_means_of_the_core(p, 2, random_numbers<BFloat16>(count, random), labels);
}

TEST(TubeletPoolKernel, KeepsWhatIsNotFiniteToItsTubelets) {
  const PoolProblem p{{2, 3, 3}, {4, 7, 20}, kLinear, 1, 3, 5};
  std::mt19937 random(7);
  const auto labels = random_labels<int32_t>(p, random);
  auto features = random_numbers<double>(p.num_channels * p.grid.count(), random);
  features[0] = std::numeric_limits<double>::infinity();
  features[20] = std::numeric_limits<double>::quiet_NaN();
  for (int i = 36; i < 54; ++i) features[i] = std::numeric_limits<double>::max();
  expect_means_of_the_core(p, 1, features, labels);
}

TEST(TubeletPoolKernel, DerivativeEqualsTheCore) {
  for (const PoolProblem& p : kProblems) {
    std::mt19937 random(8);
    const auto labels = random_labels<int64_t>(p, random);
    std::vector<int64_t> counts(p.batch * p.num_tubelets);
    for (size_t i = 0; i < counts.size(); ++i) counts[i] = static_cast<int64_t>(i % 4);
    const int64_t count = p.batch * p.num_tubelets * p.num_channels;
    auto grad = random_numbers<double>(count, random);
    expect_gradient_of_the_core(p, random_numbers<float>(count, random), labels, counts);
    grad[count / 2] = std::numeric_limits<double>::infinity();
    expect_gradient_of_the_core(p, grad, labels, counts);
  }
}

TEST(TubeletPoolKernel, ReportsLabelsOutside) {
  const PoolProblem p{{1, 1, 2}, {1, 1, 6}, kLinear, 1, 1, 2};
  for (const int64_t none : {0, 2}) {
    PoolProblem with = p;
    with.num_tubelets = none;
    Weights weights(with);
    const auto use = [](const auto&, const auto&) {};
    const int64_t least = std::numeric_limits<int64_t>::min();
    weights.for_each_part(std::vector<int64_t>{-1, 7, -1, least, -3, 5}, 1, use);
    EXPECT_EQ(weights.outside, (std::array<int64_t, 3>{std::numeric_limits<int64_t>::max(), 7, 1}));
  }
  Weights weights({{1, 1, 2}, {1, 1, 6}, kLinear, 1, 1, 0});
  weights.for_each_part(std::vector<int32_t>{-1, 0, -1, -1, -1, -1}, 1,
                        [](const auto&, const auto&) {});
  EXPECT_EQ(weights.outside, (std::array<int64_t, 3>{0, 0, 1}));
}

}  // namespace
}  // namespace vtcd
