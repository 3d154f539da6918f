// SPDX-License-Identifier: MIT
// Which pixels of two masks' contours lie near the other contour: what the boundary measure F of
// DAVIS (Perazzi et al. 2016) counts.
#pragma once

#include <cstdint>

#include "core/parallel.h"

namespace vtcd {

// The contour of a mask are the pixels that differ from their right, lower or lower right
// neighbour; in the last row only the right one counts, in the last column only the lower one. A
// contour pixel is matched where the other mask has one at most `radius` pixels from it.
//
//   prediction, truth   [T, H, W], any byte but 0 is the object
//   radius              in pixels, at least 0
//   counts              [T, 4], out: pixels of the prediction's contour that are matched, all of
//                       them, and the same two of the truth's contour
void contour_match(const uint8_t* prediction, const uint8_t* truth, int64_t num_frames,
                   int64_t height, int64_t width, int64_t radius, const ParallelFor& parallel_for,
                   int64_t* counts);

}  // namespace vtcd
