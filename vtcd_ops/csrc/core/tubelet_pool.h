// SPDX-License-Identifier: MIT
// Mean of interpolated features over each label of a volume, without interpolating them.
#pragma once

#include <cstdint>

#include "core/interpolation.h"
#include "core/parallel.h"

namespace vtcd {

// Interpolation is linear, so the sum over the voxels of a label is the sum over the tokens of
// feature times what the label's voxels weigh on the token: the adjoint of the interpolation.
//
//   features    [C, t, h, w]
//   labels      [T, H, W], -1 (ignored) to num_tubelets - 1; int32_t or int64_t
//   means       [S, C], out; 0 for a label that does not occur
//   counts      [S], out: voxels of each label
//
// The means do not depend on how parallel_for splits its range.
template <typename Scalar, typename Label>
void tubelet_pool(const Scalar* features, int64_t num_channels, const Label* labels,
                  int64_t num_tubelets, const CellGrid& cells, const ParallelFor& parallel_for,
                  Scalar* means, int64_t* counts);

// The derivative of a function of the means with respect to the features.
//
//   grad_means     [S, C]
//   counts         [S], as tubelet_pool gave them
//   grad_features  [C, t, h, w], out
template <typename Scalar, typename Label>
void tubelet_pool_backward(const Scalar* grad_means, int64_t num_channels, const Label* labels,
                           const int64_t* counts, int64_t num_tubelets, const CellGrid& cells,
                           const ParallelFor& parallel_for, Scalar* grad_features);

}  // namespace vtcd
