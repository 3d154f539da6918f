// SPDX-License-Identifier: MIT
// What the CUDA binding of slic3d calls; the meaning is that of csrc/core/slic3d/slic3d.h.
#pragma once

#include <array>
#include <cstdint>

#include "core/formulas/interpolation.h"
#include "core/formulas/slic3d.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

// What the volumes of a batch have in common.
struct SlicPlan {
  int64_t batch, num_channels;
  Shape3 grid, size;
  Interpolation interpolation;
  std::array<SeedAxis, 3> seeds;
  std::array<int64_t, 3> reach;
  SpatialScale space;
  double compactness;
  int64_t max_num_iter;
  bool connected;              // whether fragments smaller than min_size are merged, and cut at
  int64_t min_size, max_size;  // max_size

  VTCD_HOST_DEVICE int64_t num_clusters() const {
    return seeds[0].count * seeds[1].count * seeds[2].count;
  }
};

// Of the memory that slic3d() works in, aligned to 256.
int64_t slic3d_workspace_bytes(const SlicPlan& plan);

// Labels the volumes of a batch; the pointers are those of the device. Returns whether all features
// in use are finite: a volume where they are not is labelled by its seeds alone.
//
//   features    [B, C, t, h, w], contiguous
//   labels      [B, T, H, W], out
//
// Where the stream is recorded into a CUDA graph nothing is read back: max_num_iter rounds are
// recorded, and all features are taken to be finite.
template <typename Scalar>
bool slic3d(const SlicPlan& plan, const Scalar* features, void* workspace, int32_t* labels,
            Stream stream);

}  // namespace vtcd::cuda
