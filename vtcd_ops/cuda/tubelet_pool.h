// SPDX-License-Identifier: MIT
// What the CUDA binding of tubelet_pool calls; the meaning is that of csrc/core/tubelet_pool.h.
#pragma once

#include <cstdint>

#include "core/formulas/interpolation.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

struct PoolPlan {
  Shape3 grid, size;
  Interpolation interpolation;
  int64_t num_channels, num_tubelets;

  AxisCells along_z() const { return {grid.t, size.t, interpolation}; }
  AxisCells along_y() const { return {grid.h, size.h, interpolation}; }
  AxisCells along_x() const { return {grid.w, size.w, interpolation}; }
};

// The volumes and the labels, at most kLabelBlock, that are worked on at once.
struct PoolPart {
  int64_t first_volume, num_volumes, first_label, num_labels;
};

// Working memory on the device.
struct PoolWork {
  AxisCell* cells;        // places along z, along y, along x
  int64_t* runs;          // [volumes, T, H, places along x]
  double* planes;         // [volumes, T, labels, h, w]
  int64_t* plane_counts;  // [volumes, T, labels]
  double* weights;        // [volumes, labels, t, h, w]
};

// How many places there are along all axes.
inline int64_t num_places(const PoolPlan& plan) {
  return plan.along_z().count() + plan.along_y().count() + plan.along_x().count();
}

// The cells of the axes, and the runs of equal labels in every cell of every row. labels
// [B, T, H, W], on the device as all that follows. Of those outside [-1, S), outside[0] is raised
// to -1 - label, outside[1] to the label, outside[2] to 1 where one is too high.
template <typename Label>
void find_runs(const PoolPlan& plan, const PoolPart& part, const PoolWork& work,
               const Label* labels, int64_t* outside, Stream stream);

// What the voxels of every label weigh on the tokens, and how many they are.
template <typename Label>
void weigh_planes(const PoolPlan& plan, const PoolPart& part, const PoolWork& work,
                  const Label* labels, Stream stream);

// features [B, C, t, h, w] -> means [B, S, C], counts [B, S], of a part.
template <typename Scalar>
void pool_means(const PoolPlan& plan, const PoolPart& part, const PoolWork& work,
                const Scalar* features, Scalar* means, int64_t* counts, Stream stream);

// grad_means [B, S, C], counts [B, S] -> grad [B, C, t, h, w], to which a part is added; the part
// with the first label begins it.
template <typename Scalar>
void spread_means(const PoolPlan& plan, const PoolPart& part, const PoolWork& work,
                  const Scalar* grad_means, const int64_t* counts, Scalar* grad, Stream stream);

}  // namespace vtcd::cuda
