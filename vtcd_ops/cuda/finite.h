// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace vtcd::cuda {

// found[0], of the device, becomes 1 where one of `count` values there is NaN or infinite.
template <typename Scalar>
void find_non_finite(const Scalar* values, int64_t count, int64_t* found, Stream stream);

}  // namespace vtcd::cuda
