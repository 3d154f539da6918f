// SPDX-License-Identifier: MIT
#include "cuda/contour_match.cuh"

namespace vtcd::cuda {

void contour_match(const ContourFrames& frames, const uint8_t* prediction, const uint8_t* truth,
                   uint32_t* contours, int64_t* reach, int64_t* counts, Stream stream) {
  launch_contour_match(frames, prediction, truth, contours, reach, counts, stream);
}

}  // namespace vtcd::cuda
