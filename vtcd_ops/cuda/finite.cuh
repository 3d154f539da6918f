// SPDX-License-Identifier: MIT
// Looks for NaN and infinities: one read of the values, which memory traffic bounds.
#pragma once

#include <cstdint>

#include "cuda/finite.h"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr unsigned kFiniteThreads = 256;
inline constexpr int64_t kFiniteShare = 16;  // values of a thread

template <typename Scalar>
__global__ void __launch_bounds__(kFiniteThreads)
    finite_kernel(const Scalar* values, int64_t count, int64_t* found) {
  const int64_t first = int64_t{blockIdx.x} * kFiniteThreads * kFiniteShare + threadIdx.x;
  Scalar zero = 0;  // x - x is 0, or NaN where x is not finite
#pragma unroll
  for (int64_t i = 0; i < kFiniteShare; ++i) {
    const int64_t at = first + i * kFiniteThreads;
    if (at < count) zero += values[at] - values[at];
  }
  if (zero != 0) atomicMax(reinterpret_cast<unsigned long long*>(found), 1ULL);
}

template <typename Scalar>
void find_non_finite(const Scalar* values, int64_t count, int64_t* found, Stream stream) {
  if (count == 0) return;
  constexpr int64_t kValuesABlock = kFiniteThreads * kFiniteShare;
  simt::launch(&finite_kernel<Scalar>, simt::grid((count + kValuesABlock - 1) / kValuesABlock),
               dim3(kFiniteThreads), 0, stream, values, count, found);
}

}  // namespace vtcd::cuda
