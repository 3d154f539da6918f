// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "core/parallel.h"
#include "threads.h"

namespace vtcd {
namespace {

// How often each of the indices [0, size) is visited when [begin, size) is asked for.
std::vector<int> visits(const ParallelFor& parallel_for, int64_t begin, int64_t size,
                        int64_t grain) {
  std::vector<std::atomic<int>> counts(static_cast<size_t>(size));
  parallel_for(begin, size, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) ++counts[static_cast<size_t>(i)];
  });
  return {counts.begin(), counts.end()};
}

TEST(SerialFor, VisitsEveryIndexOnce) {
  EXPECT_EQ(visits(serial_for, 2, 10, 3), (std::vector<int>{0, 0, 1, 1, 1, 1, 1, 1, 1, 1}));
}

TEST(SerialFor, DoesNotCallTheBodyOnAnEmptyRange) {
  serial_for(3, 3, 1, [](int64_t, int64_t) { FAIL() << "called on an empty range"; });
}

TEST(ThreadedFor, VisitsEveryIndexOnceWhateverThreadsAndGrain) {
  for (const int64_t num_threads : {1, 2, 3, 8}) {
    for (const int64_t grain : {1, 3, 7, 100}) {
      EXPECT_EQ(visits(threaded_for(num_threads), 0, 11, grain), std::vector<int>(11, 1))
          << num_threads << " threads, grain " << grain;
    }
  }
}

TEST(ThreadedFor, DoesNotCallTheBodyOnAnEmptyRange) {
  threaded_for(2)(3, 3, 1, [](int64_t, int64_t) { FAIL() << "called on an empty range"; });
}

}  // namespace
}  // namespace vtcd
