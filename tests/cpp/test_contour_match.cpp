// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "core/contour_match.h"
#include "threads.h"

namespace vtcd {
namespace {

using Counts = std::array<int64_t, 4>;

// A mask drawn with '#' and '.', in rows.
std::vector<uint8_t> drawn(const std::vector<std::string>& rows) {
  std::vector<uint8_t> mask;
  for (const std::string& row : rows)
    for (const char pixel : row) mask.push_back(pixel == '#');
  return mask;
}

Counts match(const std::vector<uint8_t>& prediction, const std::vector<uint8_t>& truth,
             int64_t height, int64_t width, int64_t radius) {
  Counts counts{};
  contour_match(prediction.data(), truth.data(), 1, height, width, radius, serial_for,
                counts.data());
  return counts;
}

TEST(ContourMatch, CountsTheContourOfASinglePixel) {
  const auto mask = drawn({"...", ".#.", "..."});
  EXPECT_EQ(match(mask, mask, 3, 3, 0), (Counts{4, 4, 4, 4}));
}

TEST(ContourMatch, LastRowAndColumnLookAlongTheEdgeOnly) {
  const auto corner = drawn({"...", "...", "..#"});
  // the pixel above (last column), the one to the left (last row) and the one above left
  EXPECT_EQ(match(corner, corner, 3, 3, 0), (Counts{3, 3, 3, 3}));
  const auto row = drawn({"..#"}), column = drawn({".", ".", "#"});
  EXPECT_EQ(match(row, row, 1, 3, 0), (Counts{1, 1, 1, 1}));
  EXPECT_EQ(match(column, column, 3, 1, 0), (Counts{1, 1, 1, 1}));
  EXPECT_EQ(match(drawn({"#"}), drawn({"#"}), 1, 1, 5), (Counts{0, 0, 0, 0}));
}

TEST(ContourMatch, AnyByteButZeroIsTheObject) {
  EXPECT_EQ(match({0, 128, 0, 0}, {0, 1, 0, 0}, 1, 4, 0), (Counts{2, 2, 2, 2}));
}

TEST(ContourMatch, RadiusIsEuclidean) {
  // edges of two columns, 70 pixels apart, across words of 64 bits
  std::vector<uint8_t> near(2 * 200, 0), far(2 * 200, 0);
  for (int y = 0; y < 2; ++y) {
    std::fill_n(near.begin() + y * 200, 10, 1);
    std::fill_n(far.begin() + y * 200, 80, 1);
  }
  EXPECT_EQ(match(near, far, 2, 200, 69), (Counts{0, 2, 0, 2}));
  EXPECT_EQ(match(near, far, 2, 200, 70), (Counts{2, 2, 2, 2}));
}

TEST(ContourMatch, AHugeRadiusReachesEverything) {
  std::vector<uint8_t> first(300, 0), last(300, 0);
  first[0] = 1;
  last[298] = 1;
  const int64_t huge = int64_t{1} << 62;
  EXPECT_EQ(match(first, last, 3, 100, huge)[0], match(first, last, 3, 100, huge)[1]);
  EXPECT_EQ(match(first, last, 1, 300, huge), (Counts{1, 1, 2, 2}));
}

TEST(ContourMatch, FramesAreTheSameWhateverTheThreads) {
  const int64_t num_frames = 9, height = 33, width = 130;
  std::mt19937 random(0);
  std::vector<uint8_t> prediction(static_cast<size_t>(num_frames * height * width));
  std::vector<uint8_t> truth(prediction.size());
  for (uint8_t& pixel : prediction) pixel = random() % 50 == 0;
  for (uint8_t& pixel : truth) pixel = random() % 50 == 0;
  std::vector<int64_t> expected(4 * num_frames), found(4 * num_frames);
  contour_match(prediction.data(), truth.data(), num_frames, height, width, 2, serial_for,
                expected.data());
  for (const int64_t threads : {2, 3, 8}) {
    contour_match(prediction.data(), truth.data(), num_frames, height, width, 2,
                  threaded_for(threads), found.data());
    EXPECT_EQ(found, expected);
  }
}

}  // namespace
}  // namespace vtcd
