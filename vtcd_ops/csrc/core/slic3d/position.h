// SPDX-License-Identifier: MIT
// SLIC of a volume without contrast: only positions count.
#pragma once

#include <cstdint>

#include "core/interpolation.h"
#include "core/parallel.h"
#include "core/slic3d/seeds.h"
#include "core/slic3d/slic3d.h"

namespace vtcd {

// Many voxels are equally far from two clusters, so rounding decides: every operation is done voxel
// by voxel in the order in which scikit-image does it.
//
//   labels    [T, H, W], out
void label_by_position(Shape3 size, const Seeds& seeds, const Slic3dOptions& options,
                       const ParallelFor& parallel_for, int32_t* labels);

}  // namespace vtcd
