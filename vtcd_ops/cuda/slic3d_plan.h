// SPDX-License-Identifier: MIT
// What the kernels of slic3d are told, from the options of csrc/core/slic3d/slic3d.h.
#pragma once

#include <cstdint>

#include "core/slic3d/seeds.h"
#include "core/slic3d/slic3d.h"
#include "cuda/slic3d.h"

namespace vtcd::cuda {

inline SlicPlan slic_plan(int64_t batch, int64_t num_channels, Shape3 grid, Shape3 size,
                          const Slic3dOptions& options) {
  const Seeds seeds(size, options.num_segments);
  const auto voxels_of = [&](double factor) {
    return voxels_of_segments(factor, size.count(), seeds.count());
  };
  const SpatialScale space{{options.spacing[0], options.spacing[1], options.spacing[2]},
                           seeds.spatial_weight};
  return {batch,
          num_channels,
          grid,
          size,
          options.interpolation,
          seeds.axes,
          seeds.reach,
          space,
          options.compactness,
          options.max_num_iter,
          options.enforce_connectivity,
          voxels_of(options.min_size_factor),
          voxels_of(options.max_size_factor)};
}

}  // namespace vtcd::cuda
