// SPDX-License-Identifier: MIT
#include "slic3d.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <string>
#include <vector>

#include "core/slic3d/slic3d.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// features [B, C, t, h, w] float or double, contiguous; labels int32 [B, T, H, W].
template <typename Scalar>
void label_volumes(const Tensor& features, Shape3 grid, Shape3 size, const Slic3dOptions& options,
                   Tensor& labels) {
  const int64_t batch = features.size(0), num_channels = features.size(1);
  const Scalar* from = features.const_data_ptr<Scalar>();
  int32_t* to = labels.mutable_data_ptr<int32_t>();
  std::vector<Slic3dStatus> status(batch, Slic3dStatus::kOk);
  for_each_volume(batch, [&](int64_t b, const ParallelFor& parallel_for) {
    status[b] = slic3d(from + b * num_channels * grid.count(), num_channels, grid, size, options,
                       parallel_for, to + b * size.count());
  });
  for (const Slic3dStatus of_volume : status) check_finite(of_volume == Slic3dStatus::kOk);
}

// features [B, C, t, h, w] -> labels int32 [B, T, H, W].
Tensor slic3d_op(const Tensor& features, const std::vector<int64_t>& size, int64_t n_segments,
                 double compactness, int64_t max_num_iter, const std::vector<double>& spacing,
                 bool enforce_connectivity, double min_size_factor, double max_size_factor,
                 const std::string& interpolation) {
  const Shape3 grid = check_features("slic3d", features);
  const Shape3 volume = check_slic3d_size(size);
  const Slic3dOptions options =
      check_slic3d_options(n_segments, compactness, max_num_iter, spacing, enforce_connectivity,
                           min_size_factor, max_size_factor, interpolation);
  const std::vector<int64_t> shape{features.size(0), volume.t, volume.h, volume.w};
  Tensor labels = allocate("slic3d", "size", shape, [&] {
    return torch::stable::new_empty(features, shape, ScalarType::Int);
  });
  within_memory("slic3d", "features", features, [&] {
    const Tensor numbers = for_numerics(features);
    if (numbers.scalar_type() == ScalarType::Float) {
      label_volumes<float>(numbers, grid, volume, options, labels);
    } else {
      label_volumes<double>(numbers, grid, volume, options, labels);
    }
  });
  return labels;
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) { m.impl("slic3d", TORCH_BOX(&vtcd::slic3d_op)); }
