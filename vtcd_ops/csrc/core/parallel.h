// SPDX-License-Identifier: MIT
// How the torch-free numerics run in parallel: they never start a thread, their caller hands in a
// ParallelFor.
#pragma once

#include <cstdint>
#include <functional>

namespace vtcd {

// Works on the indices [begin, end). Throws nothing but that memory is short.
using RangeBody = std::function<void(int64_t begin, int64_t end)>;

// Covers [begin, end) by disjoint ranges, each of at least `grain` indices but for the last, and
// returns when all are done. How many ranges there are depends on the number of threads, so a sum
// over a range must not: add partial sums of fixed-size chunks in the order of the chunks.
using ParallelFor =
    std::function<void(int64_t begin, int64_t end, int64_t grain, const RangeBody& body)>;

// The whole range at once, on the calling thread.
inline void serial_for(int64_t begin, int64_t end, int64_t /*grain*/, const RangeBody& body) {
  if (begin < end) body(begin, end);
}

}  // namespace vtcd
