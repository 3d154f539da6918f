// SPDX-License-Identifier: MIT
// The sums of core/formulas/ordered_sum.h whose lanes lie in several threads.
#pragma once

#include "core/formulas/ordered_sum.h"
#include "cuda/launch.h"

namespace vtcd::cuda {

// kSumLanes / kWidth neighbouring threads of a warp, all of which call this, hold kWidth lanes
// each: lane = thread * kWidth + k.
template <int kWidth>
__device__ inline double sum_of_lanes(double (&sums)[kWidth]) {
  VTCD_UNROLL(3)
  for (int apart = kSumLanes / 2; apart > 0; apart /= 2) {
    VTCD_UNROLL(4)
    for (int k = 0; k < kWidth; ++k) {
      if (apart >= kWidth) {
        sums[k] += __shfl_xor_sync(~0u, sums[k], apart / kWidth);
      } else if (k < apart) {
        sums[k] += sums[k + apart];
      }
    }
  }
  return sums[0];
}

}  // namespace vtcd::cuda
