// SPDX-License-Identifier: MIT
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>

#include "core/parallel.h"

namespace vtcd {

// The ParallelFor of the operators: torch's own thread pool, as torch.set_num_threads() has set it.
// What a range throws, such as that there is no memory left, is thrown again here in its own words:
// torch's pool would put its own in their place. Of several ranges it is the first one's.
inline void torch_parallel_for(int64_t begin, int64_t end, int64_t grain, const RangeBody& body) {
  std::mutex mutex;
  std::exception_ptr error;
  int64_t error_at = std::numeric_limits<int64_t>::max();
  const RangeBody guarded = [&](int64_t first, int64_t last) {
    try {
      body(first, last);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (first < error_at) {
        error = std::current_exception();
        error_at = first;
      }
    }
  };
  torch::stable::parallel_for(begin, end, grain, guarded);
  if (error) std::rethrow_exception(error);
}

}  // namespace vtcd
