// SPDX-License-Identifier: MIT
#include "core/tubelet_pool.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "volume.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// labels int32 or int64 [B, T, H, W], -1 to num_tubelets - 1.
Shape3 check_labels(const char* op, const Tensor& labels, int64_t batch) {
  const ScalarType type = labels.scalar_type();
  VTCD_CHECK(type == ScalarType::Int || type == ScalarType::Long, op,
             ": labels expected int32 or int64, got ", dtype_text(labels));
  VTCD_CHECK(labels.dim() == 4 && labels.size(0) == batch, op, ": labels expected [", batch,
             ", T, H, W], got ", shape_text(labels));
  for (int64_t axis = 1; axis < 4; ++axis)
    VTCD_CHECK(labels.size(axis) > 0, op, ": labels expected voxels, got ", shape_text(labels));
  return {labels.size(1), labels.size(2), labels.size(3)};
}

// labels [count], contiguous.
template <typename Label>
void check_label_values(const char* op, const Label* labels, int64_t count, int64_t num_tubelets) {
  if (count == 0) return;
  Label low = labels[0], high = labels[0];
#pragma omp simd reduction(min : low) reduction(max : high)
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, labels[i]);
    high = std::max(high, labels[i]);
  }
  const Label outside = low < -1 ? low : high;
  VTCD_CHECK(low >= -1 && high < num_tubelets, op, ": labels expected -1 to ", num_tubelets - 1,
             ", got ", outside);
}

// Calls body<Scalar, Label>() for the dtypes of two tensors.
template <typename Body>
void dispatch(const Tensor& numbers, const Tensor& labels, const Body& body) {
  const bool wide = labels.scalar_type() == ScalarType::Long;
  if (numbers.scalar_type() == ScalarType::Float) {
    wide ? body.template operator()<float, int64_t>() : body.template operator()<float, int32_t>();
  } else {
    wide ? body.template operator()<double, int64_t>()
         : body.template operator()<double, int32_t>();
  }
}

// features [B, C, t, h, w], labels [B, T, H, W] -> means [B, S, C], counts int64 [B, S].
std::tuple<Tensor, Tensor> tubelet_pool_op(const Tensor& features, const Tensor& labels,
                                           int64_t num_tubelets, const std::string& interpolation) {
  const Shape3 grid = check_features("tubelet_pool", features);
  const int64_t batch = features.size(0), num_channels = features.size(1);
  const Shape3 size = check_labels("tubelet_pool", labels, batch);
  VTCD_CHECK(num_tubelets >= 0, "tubelet_pool: num_tubelets expected at least 0, got ",
             num_tubelets);
  const CellGrid cells(grid, size, check_interpolation("tubelet_pool", interpolation));
  const Tensor numbers =
      within_memory("tubelet_pool", "features", features, [&] { return for_numerics(features); });
  const Tensor volumes = within_memory("tubelet_pool", "labels", labels,
                                       [&] { return torch::stable::contiguous(labels); });
  Tensor means = allocate("tubelet_pool", "num_tubelets", {batch, num_tubelets, num_channels}, [&] {
    return torch::stable::new_empty(numbers, {batch, num_tubelets, num_channels});
  });
  Tensor counts = allocate("tubelet_pool", "num_tubelets", {batch, num_tubelets}, [&] {
    return torch::stable::new_empty(features, {batch, num_tubelets}, ScalarType::Long);
  });
  within_memory("tubelet_pool", "features", features, [&] {
    dispatch(numbers, volumes, [&]<typename Scalar, typename Label>() {
      const Scalar* from = numbers.const_data_ptr<Scalar>();
      const Label* label = volumes.const_data_ptr<Label>();
      check_label_values("tubelet_pool", label, batch * size.count(), num_tubelets);
      Scalar* mean = means.mutable_data_ptr<Scalar>();
      int64_t* count = counts.mutable_data_ptr<int64_t>();
      for_each_volume(batch, [&](int64_t b, const ParallelFor& parallel_for) {
        tubelet_pool(from + b * num_channels * grid.count(), num_channels, label + b * size.count(),
                     num_tubelets, cells, parallel_for, mean + b * num_tubelets * num_channels,
                     count + b * num_tubelets);
      });
    });
    means = torch::stable::to(means, features.scalar_type());
  });
  return {means, counts};
}

// grad_means [B, S, C], labels [B, T, H, W], counts int64 [B, S] -> [B, C, t, h, w]. Private:
// called by the derivative of tubelet_pool, with what that was given and returned.
Tensor tubelet_pool_backward_op(const Tensor& grad_means, const Tensor& labels,
                                const Tensor& counts, const std::vector<int64_t>& grid,
                                const std::string& interpolation) {
  VTCD_CHECK(grad_means.dim() == 3 && is_floating(grad_means),
             "_tubelet_pool_backward: grad_means expected floating [B, S, C], got ",
             dtype_text(grad_means), " ", shape_text(grad_means));
  const int64_t batch = grad_means.size(0), num_tubelets = grad_means.size(1);
  const int64_t num_channels = grad_means.size(2);
  const Shape3 size = check_labels("_tubelet_pool_backward", labels, batch);
  VTCD_CHECK(counts.scalar_type() == ScalarType::Long && counts.dim() == 2 &&
                 counts.size(0) == batch && counts.size(1) == num_tubelets,
             "_tubelet_pool_backward: counts expected int64 [", batch, ", ", num_tubelets,
             "], got ", dtype_text(counts), " ", shape_text(counts));
  check_positive_triple("_tubelet_pool_backward", "grid", "t, h, w", grid);
  const Shape3 tokens = {grid[0], grid[1], grid[2]};
  const CellGrid cells(tokens, size, check_interpolation("_tubelet_pool_backward", interpolation));
  return within_memory("_tubelet_pool_backward", "grad_means", grad_means, [&] {
    const Tensor numbers = for_numerics(grad_means), volumes = torch::stable::contiguous(labels);
    const Tensor voxels = torch::stable::contiguous(counts);
    const std::vector<int64_t> shape{batch, num_channels, tokens.t, tokens.h, tokens.w};
    Tensor grad = allocate("_tubelet_pool_backward", "grid", shape,
                           [&] { return torch::stable::new_empty(numbers, shape); });
    dispatch(numbers, volumes, [&]<typename Scalar, typename Label>() {
      const Scalar* from = numbers.const_data_ptr<Scalar>();
      const Label* label = volumes.const_data_ptr<Label>();
      const int64_t* count = voxels.const_data_ptr<int64_t>();
      check_label_values("_tubelet_pool_backward", label, batch * size.count(), num_tubelets);
      Scalar* to = grad.mutable_data_ptr<Scalar>();
      for_each_volume(batch, [&](int64_t b, const ParallelFor& parallel_for) {
        tubelet_pool_backward(from + b * num_tubelets * num_channels, num_channels,
                              label + b * size.count(), count + b * num_tubelets, num_tubelets,
                              cells, parallel_for, to + b * num_channels * tokens.count());
      });
    });
    return torch::stable::to(grad, grad_means.scalar_type());
  });
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) {
  m.impl("tubelet_pool", TORCH_BOX(&vtcd::tubelet_pool_op));
  m.impl("_tubelet_pool_backward", TORCH_BOX(&vtcd::tubelet_pool_backward_op));
}
