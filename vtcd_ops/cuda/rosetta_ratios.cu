// SPDX-License-Identifier: MIT
#include "cuda/rosetta_ratios.cuh"

namespace vtcd::cuda {

void rosetta_ratios(const SupportRows& supports, const Tuples& tuples, int32_t* members,
                    double* ratios, int64_t* fault, Stream stream) {
  launch_rosetta_ratios(supports, tuples, members, ratios, fault, stream);
}

}  // namespace vtcd::cuda
