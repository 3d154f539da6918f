// SPDX-License-Identifier: MIT
// The kernels of contour_match against the core.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "core/contour_match.h"
#include "cuda/contour_match.cuh"

namespace vtcd {
namespace {

constexpr Stream kStream{nullptr};

// Masks of three frames: noise, blocks of pixels, and one frame in which the prediction is empty.
std::vector<uint8_t> make_masks(int64_t height, int64_t width, unsigned seed, bool is_prediction) {
  std::mt19937 random(seed);
  std::vector<uint8_t> masks(3 * height * width);
  for (int64_t i = 0; i < height * width; ++i)
    masks[i] = random() % 9 == 0 ? static_cast<uint8_t>(1 + random() % 255) : 0;
  for (int64_t y = height / 4; y < height - height / 3; ++y)
    for (int64_t x = width / 3 + (is_prediction ? 0 : 2); x < width - width / 5; ++x)
      masks[(height + y) * width + x] = 128;
  if (!is_prediction) masks[2 * height * width] = 1;
  return masks;
}

void expect_equal_to_core(int64_t height, int64_t width, int64_t radius) {
  const auto prediction = make_masks(height, width, 1, true);
  const auto truth = make_masks(height, width, 2, false);
  const cuda::ContourFrames frames{3, height, width, radius};
  std::vector<int64_t> expected(12), found(12, -1), reach(frames.num_reaches());
  std::vector<uint32_t> contours(frames.contour_words());
  contour_match(prediction.data(), truth.data(), 3, height, width, radius, serial_for,
                expected.data());
  cuda::launch_contour_match(frames, prediction.data(), truth.data(), contours.data(), reach.data(),
                             found.data(), kStream);
  EXPECT_EQ(found, expected) << height << " x " << width << ", radius " << radius;
}

TEST(ContourMatchKernel, EqualsTheCore) {
  expect_equal_to_core(1, 1, 0);
  expect_equal_to_core(1, 70, 5);
  expect_equal_to_core(17, 1, 2);
  expect_equal_to_core(5, 32, 1);
  expect_equal_to_core(7, 33, 0);
  expect_equal_to_core(11, 97, 5);
  expect_equal_to_core(3, 40, int64_t{1} << 62);
}

TEST(ContourMatchKernel, TakesNoFrames) {
  cuda::launch_contour_match({0, 3, 4, 1}, nullptr, nullptr, nullptr, nullptr, nullptr, kStream);
}

TEST(ContourMatchKernel, DisksReachAsTheirDefinitionSays) {
  for (const int64_t radius : {int64_t{0}, int64_t{1}, int64_t{5}, int64_t{1000003}}) {
    for (int64_t rows = 0; rows <= radius; rows += 1 + radius / 1000) {
      const int64_t reach = disk_reach(radius, rows);
      EXPECT_LE(reach * reach + rows * rows, radius * radius);
      EXPECT_GT((reach + 1) * (reach + 1) + rows * rows, radius * radius);
    }
  }
}

}  // namespace
}  // namespace vtcd
