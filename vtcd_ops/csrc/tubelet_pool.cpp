// SPDX-License-Identifier: MIT
#include "core/tubelet_pool.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "tubelet_pool.h"
#include "volume.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct LabelRange {
  int64_t low = 0, high = -1;  // of no labels
};

// labels [count], contiguous.
template <typename Label>
LabelRange range_of(const Label* labels, int64_t count) {
  if (count == 0) return {};
  Label low = labels[0], high = labels[0];
#pragma omp simd reduction(min : low) reduction(max : high)
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, labels[i]);
    high = std::max(high, labels[i]);
  }
  return {low, high};
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
  const auto [batch, num_channels, tubelets, grid, size, how] =
      check_tubelet_pool(features, labels, num_tubelets, interpolation);
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
      if (batch == 0) return;  // without features tokens may be more than can be gone through
      const CellGrid cells(grid, size, how);
      Scalar* mean = means.mutable_data_ptr<Scalar>();
      int64_t* count = counts.mutable_data_ptr<int64_t>();
      // Volume by volume, so that labels that were just read are pooled.
      std::vector<LabelRange> ranges(batch);
      for_each_volume(batch, [&](int64_t b, const ParallelFor& parallel_for) {
        const Label* labels_of_volume = label + b * size.count();
        ranges[b] = range_of(labels_of_volume, size.count());
        if (ranges[b].low < -1 || ranges[b].high >= num_tubelets) return;
        tubelet_pool(from + b * num_channels * grid.count(), num_channels, labels_of_volume,
                     num_tubelets, cells, parallel_for, mean + b * num_tubelets * num_channels,
                     count + b * num_tubelets);
      });
      LabelRange range = ranges[0];
      for (const auto& [low, high] : ranges)
        range = {std::min(range.low, low), std::max(range.high, high)};
      check_label_range("tubelet_pool", range.low, range.high, num_tubelets);
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
  const auto [batch, num_channels, num_tubelets, tokens, size, how] =
      check_tubelet_pool_backward(grad_means, labels, counts, grid, interpolation);
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
      const LabelRange range = range_of(label, batch * size.count());
      check_label_range("_tubelet_pool_backward", range.low, range.high, num_tubelets);
      if (grad.numel() == 0) return;  // as above
      const CellGrid cells(tokens, size, how);
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
