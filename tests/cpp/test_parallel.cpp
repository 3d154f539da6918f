// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <vector>

#include "core/parallel.h"

namespace {

TEST(SerialFor, VisitsEveryIndexOnce) {
  std::vector<int> visits(10, 0);
  vtcd::serial_for(2, 10, 3, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
  });
  EXPECT_EQ(visits, (std::vector<int>{0, 0, 1, 1, 1, 1, 1, 1, 1, 1}));
}

TEST(SerialFor, DoesNotCallTheBodyOnAnEmptyRange) {
  vtcd::serial_for(3, 3, 1, [](int64_t, int64_t) { FAIL() << "called on an empty range"; });
}

}  // namespace
