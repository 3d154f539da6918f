// SPDX-License-Identifier: MIT
// Work on many elements in chunks of a fixed size, whatever the number of threads. What chunks add
// up to is added in their order, so that it is the same bits for any number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/parallel.h"

namespace vtcd {

inline int64_t count_chunks(int64_t count, int64_t chunk_size) {
  return (count + chunk_size - 1) / chunk_size;
}

// body(chunk, first, size) for the elements [first, first + size) of every chunk. grain: chunks
// that one thread should have at least.
template <typename Body>
void for_each_chunk(int64_t count, int64_t chunk_size, int64_t grain,
                    const ParallelFor& parallel_for, const Body& body) {
  parallel_for(0, count_chunks(count, chunk_size), grain, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * chunk_size;
      body(chunk, first, std::min(chunk_size, count - first));
    }
  });
}

// The sum of compute(first, size) over all chunks, in their order; Partial has +=. At least one
// element.
template <typename Partial, typename Compute>
Partial sum_of_chunks(int64_t count, int64_t chunk_size, int64_t grain,
                      const ParallelFor& parallel_for, const Compute& compute) {
  std::vector<Partial> partial(count_chunks(count, chunk_size));
  for_each_chunk(
      count, chunk_size, grain, parallel_for,
      [&](int64_t chunk, int64_t first, int64_t size) { partial[chunk] = compute(first, size); });
  Partial sum = std::move(partial[0]);
  for (size_t chunk = 1; chunk < partial.size(); ++chunk) sum += partial[chunk];
  return sum;
}

}  // namespace vtcd
