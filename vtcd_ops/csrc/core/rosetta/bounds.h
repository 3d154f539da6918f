// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace vtcd {

// Bounds of scores are sums of rounded numbers, one a video: a tuple is dropped only where its
// bound is below what is needed by more than this, many times what rounding could do to the sum.
inline double bound_margin(int64_t num_videos) {
  const auto videos = static_cast<double>(num_videos);
  return 1e-9 + 1e-14 * videos * videos;
}

}  // namespace vtcd
