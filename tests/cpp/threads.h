// SPDX-License-Identifier: MIT
// A ParallelFor over std::thread: the thread sanitizer sees its threads, which it does not see of
// torch's pool.
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include "core/parallel.h"

namespace vtcd {

// Divides the range among at most num_threads threads, as torch does: equal shares of at least
// `grain` indices.
inline ParallelFor threaded_for(int64_t num_threads) {
  return [num_threads](int64_t begin, int64_t end, int64_t grain, const RangeBody& body) {
    const int64_t size = end - begin;
    if (size <= 0) return;
    const int64_t largest_count =
        (size + std::max<int64_t>(grain, 1) - 1) / std::max<int64_t>(grain, 1);
    const int64_t count = std::clamp<int64_t>(largest_count, 1, num_threads);
    const int64_t share = (size + count - 1) / count;
    std::vector<std::thread> threads;
    for (int64_t first = begin; first < end; first += share) {
      threads.emplace_back(
          [&body, first, last = std::min(first + share, end)] { body(first, last); });
    }
    for (std::thread& thread : threads) thread.join();
  };
}

}  // namespace vtcd
