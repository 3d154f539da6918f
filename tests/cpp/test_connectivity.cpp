// SPDX-License-Identifier: MIT
#include "core/slic3d/connectivity.h"

#include <gtest/gtest.h>

#include <vector>

namespace vtcd {
namespace {

std::vector<int32_t> connected(Shape3 size, int64_t min_size, int64_t max_size,
                               std::vector<int32_t> labels) {
  enforce_connectivity(size, min_size, max_size, labels.data());
  return labels;
}

TEST(Connectivity, FragmentsAreNumberedByTheirFirstVoxel) {
  EXPECT_EQ(connected({1, 2, 4}, 0, 100, {5, 5, 2, 5, 5, 5, 2, 2}),
            (std::vector<int32_t>{0, 0, 1, 2, 0, 0, 1, 1}));
}

TEST(Connectivity, PlanesConnectAndDiagonalsDoNot) {
  EXPECT_EQ(connected({2, 2, 2}, 0, 100, {1, 0, 0, 1, 0, 0, 0, 1}),
            (std::vector<int32_t>{0, 1, 1, 2, 1, 1, 1, 2}));
}

TEST(Connectivity, SmallFragmentTakesANeighboursLabel) {
  EXPECT_EQ(connected({1, 1, 7}, 2, 100, {3, 3, 3, 8, 1, 1, 1}),
            (std::vector<int32_t>{0, 0, 0, 0, 1, 1, 1}));
}

TEST(Connectivity, SmallFirstFragmentHasNoNeighbourYet) {
  // It keeps the number that the next fragment takes too, as in the reference.
  EXPECT_EQ(connected({1, 1, 5}, 2, 100, {7, 4, 4, 4, 4}), (std::vector<int32_t>{0, 0, 0, 0, 0}));
}

TEST(Connectivity, LargeFragmentIsCutInTheOrderOfTheSearch) {
  // Breadth first from the corner, x before y: (0,0), (0,1), (1,0), (0,2), (1,1).
  EXPECT_EQ(connected({1, 3, 3}, 1, 5, std::vector<int32_t>(9, 0)),
            (std::vector<int32_t>{0, 0, 0, 0, 0, 1, 1, 1, 1}));
}

TEST(Connectivity, ALimitOfOneVoxelSeparatesAll) {
  EXPECT_EQ(connected({1, 1, 3}, 0, 1, {0, 0, 0}), (std::vector<int32_t>{0, 1, 2}));
}

}  // namespace
}  // namespace vtcd
