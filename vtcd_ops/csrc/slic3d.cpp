// SPDX-License-Identifier: MIT
#include "core/slic3d/slic3d.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "volume.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Squares of offsets in space stay within the range of float64.
constexpr double kLeastSpacing = 1e-100, kLargestSpacing = 1e100;

Shape3 check_size(const std::vector<int64_t>& size) {
  check_positive_triple("slic3d", "size", "T, H, W", size);
  int64_t voxels = 1;
  for (const int64_t length : size) {
    VTCD_CHECK(length <= std::numeric_limits<int32_t>::max() / voxels,
               "slic3d: size expected fewer than 2^31 voxels, got ", list_text(size));
    voxels *= length;
  }
  return {size[0], size[1], size[2]};
}

Slic3dOptions check_options(int64_t n_segments, double compactness, int64_t max_num_iter,
                            const std::vector<double>& spacing, bool enforce_connectivity,
                            double min_size_factor, double max_size_factor,
                            const std::string& interpolation) {
  VTCD_CHECK(n_segments >= 1, "slic3d: n_segments expected at least 1, got ", n_segments);
  VTCD_CHECK(compactness > 0 && std::isfinite(compactness),
             "slic3d: compactness expected finite and above 0, got ", compactness);
  VTCD_CHECK(max_num_iter >= 1, "slic3d: max_num_iter expected at least 1, got ", max_num_iter);
  const bool moderate = std::all_of(spacing.begin(), spacing.end(), [](double length) {
    return length >= kLeastSpacing && length <= kLargestSpacing;
  });
  VTCD_CHECK(spacing.size() == 3 && moderate, "slic3d: spacing expected 3 numbers from ",
             kLeastSpacing, " to ", kLargestSpacing, ", got ", list_text(spacing));
  VTCD_CHECK(min_size_factor >= 0 && std::isfinite(min_size_factor),
             "slic3d: min_size_factor expected finite and at least 0, got ", min_size_factor);
  VTCD_CHECK(max_size_factor > 0 && std::isfinite(max_size_factor),
             "slic3d: max_size_factor expected finite and above 0, got ", max_size_factor);
  return {n_segments,           compactness,
          max_num_iter,         {spacing[0], spacing[1], spacing[2]},
          enforce_connectivity, min_size_factor,
          max_size_factor,      check_interpolation("slic3d", interpolation)};
}

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
  for (const Slic3dStatus of_volume : status)
    VTCD_CHECK(of_volume == Slic3dStatus::kOk,
               "slic3d: features expected finite numbers, got NaN or infinity");
}

// features [B, C, t, h, w] -> labels int32 [B, T, H, W].
Tensor slic3d_op(const Tensor& features, const std::vector<int64_t>& size, int64_t n_segments,
                 double compactness, int64_t max_num_iter, const std::vector<double>& spacing,
                 bool enforce_connectivity, double min_size_factor, double max_size_factor,
                 const std::string& interpolation) {
  const Shape3 grid = check_features("slic3d", features);
  const Shape3 volume = check_size(size);
  const Slic3dOptions options =
      check_options(n_segments, compactness, max_num_iter, spacing, enforce_connectivity,
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
