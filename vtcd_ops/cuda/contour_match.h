// SPDX-License-Identifier: MIT
// What the CUDA binding of contour_match calls; the meaning is that of csrc/core/contour_match.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/stream.h"

namespace vtcd::cuda {

// Frames of two masks, and how far apart their contours may be.
struct ContourFrames {
  int64_t num_frames, height, width, radius;

  // A row of pixels, one bit each.
  int64_t num_words() const { return (width + 31) / 32; }
  // Words of the contours of both masks.
  int64_t contour_words() const { return 2 * num_frames * height * num_words(); }
  // A disk that reaches farther than the frame's edges covers no more of it.
  int64_t useful_radius() const { return std::min(radius, height + width); }
  // Rows of the disk on one side of its centre, which included.
  int64_t num_reaches() const { return std::min(useful_radius(), height - 1) + 1; }
};

// Pointers of the device: masks [T, H, W], any byte but 0 is the object; counts [T, 4], out;
// workspaces contours [contour_words()] and reach [num_reaches()].
void contour_match(const ContourFrames& frames, const uint8_t* prediction, const uint8_t* truth,
                   uint32_t* contours, int64_t* reach, int64_t* counts, Stream stream);

}  // namespace vtcd::cuda
