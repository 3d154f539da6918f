// SPDX-License-Identifier: MIT
#include "cuda/finite.cuh"

namespace vtcd::cuda {

template void find_non_finite(const float*, int64_t, int64_t*, Stream);
template void find_non_finite(const double*, int64_t, int64_t*, Stream);

}  // namespace vtcd::cuda
