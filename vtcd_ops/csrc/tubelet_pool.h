// SPDX-License-Identifier: MIT
// What the CPU and the CUDA binding of tubelet_pool share: the checks of its arguments, in the
// words of vtcd_ops/ops/tubelet_pool.py.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "checks.h"
#include "core/interpolation.h"
#include "volume.h"

namespace vtcd {

struct PoolArguments {
  int64_t batch, num_channels, num_tubelets;
  Shape3 grid, size;
  Interpolation interpolation;
};

// labels int32 or int64 [B, T, H, W], where the first tensor is. The values are not looked at.
inline Shape3 check_volume_labels(const char* op, const torch::stable::Tensor& labels,
                                  const torch::stable::Tensor& first) {
  using torch::headeronly::ScalarType;
  const ScalarType type = labels.scalar_type();
  VTCD_CHECK(type == ScalarType::Int || type == ScalarType::Long, op,
             ": labels expected int32 or int64, got ", dtype_text(labels));
  check_on_device(op, "labels", labels, first);
  VTCD_CHECK(labels.dim() == 4 && labels.size(0) == first.size(0), op, ": labels expected [",
             first.size(0), ", T, H, W], got ", shape_text(labels));
  for (int64_t axis = 1; axis < 4; ++axis)
    VTCD_CHECK(labels.size(axis) > 0, op, ": labels expected voxels, got ", shape_text(labels));
  return {labels.size(1), labels.size(2), labels.size(3)};
}

// The least and the largest label of all volumes.
inline void check_label_range(const char* op, int64_t low, int64_t high, int64_t num_tubelets) {
  VTCD_CHECK(low >= -1 && high < num_tubelets, op, ": labels expected -1 to ", num_tubelets - 1,
             ", got ", low < -1 ? low : high);
}

// features [B, C, t, h, w], labels [B, T, H, W].
inline PoolArguments check_tubelet_pool(const torch::stable::Tensor& features,
                                        const torch::stable::Tensor& labels, int64_t num_tubelets,
                                        const std::string& interpolation) {
  const char* op = "tubelet_pool";
  const Shape3 grid = check_features(op, features);
  const Shape3 size = check_volume_labels(op, labels, features);
  VTCD_CHECK(num_tubelets >= 0, op, ": num_tubelets expected at least 0, got ", num_tubelets);
  return {features.size(0),
          features.size(1),
          num_tubelets,
          grid,
          size,
          check_interpolation(op, interpolation)};
}

// grad_means [B, S, C], labels [B, T, H, W], counts int64 [B, S], grid (t, h, w).
inline PoolArguments check_tubelet_pool_backward(const torch::stable::Tensor& grad_means,
                                                 const torch::stable::Tensor& labels,
                                                 const torch::stable::Tensor& counts,
                                                 const std::vector<int64_t>& grid,
                                                 const std::string& interpolation) {
  using torch::headeronly::ScalarType;
  const char* op = "_tubelet_pool_backward";
  VTCD_CHECK(grad_means.dim() == 3 && is_floating(grad_means), op,
             ": grad_means expected floating [B, S, C], got ", dtype_text(grad_means), " ",
             shape_text(grad_means));
  const int64_t batch = grad_means.size(0), num_tubelets = grad_means.size(1);
  const Shape3 size = check_volume_labels(op, labels, grad_means);
  VTCD_CHECK(counts.scalar_type() == ScalarType::Long && counts.dim() == 2 &&
                 counts.size(0) == batch && counts.size(1) == num_tubelets,
             op, ": counts expected int64 [", batch, ", ", num_tubelets, "], got ",
             dtype_text(counts), " ", shape_text(counts));
  check_on_device(op, "counts", counts, grad_means);
  check_positive_triple(op, "grid", "t, h, w", grid);
  return {batch,        grad_means.size(2),
          num_tubelets, {grid[0], grid[1], grid[2]},
          size,         check_interpolation(op, interpolation)};
}

}  // namespace vtcd
