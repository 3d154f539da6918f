// SPDX-License-Identifier: MIT
#pragma once

#include <torch/csrc/stable/ops.h>

#include "core/parallel.h"

namespace vtcd {

// The ParallelFor of the operators: torch's own thread pool, as torch.set_num_threads() has set it.
inline void torch_parallel_for(int64_t begin, int64_t end, int64_t grain, const RangeBody& body) {
  torch::stable::parallel_for(begin, end, grain, body);
}

}  // namespace vtcd
