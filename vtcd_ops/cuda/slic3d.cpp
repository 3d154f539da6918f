// SPDX-License-Identifier: MIT
#include "csrc/slic3d.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cuda/binding.h"
#include "cuda/slic3d.h"
#include "cuda/slic3d_plan.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Of what a call works in; a batch that takes more is worked on in parts.
constexpr int64_t kMaxWorkspace = int64_t{1} << 30;

// features [B, C, t, h, w] float or double, contiguous; labels int32 [B, T, H, W].
template <typename Scalar>
void label_volumes(const Tensor& features, SlicPlan plan, Tensor& labels, const OnDevice& on) {
  const int64_t batch = plan.batch;
  plan.batch = 1;
  const int64_t fit = kMaxWorkspace / slic3d_workspace_bytes(plan);
  plan.batch = std::clamp<int64_t>(fit, 1, batch);
  Tensor workspace =
      torch::stable::new_empty(features, {slic3d_workspace_bytes(plan)}, ScalarType::Byte);
  bool finite = true;
  for (int64_t begin = 0; begin < batch; begin += plan.batch) {
    plan.batch = std::min(plan.batch, batch - begin);
    finite &= slic3d(
        plan, features.const_data_ptr<Scalar>() + begin * plan.num_channels * plan.grid.count(),
        workspace.mutable_data_ptr(),
        labels.mutable_data_ptr<int32_t>() + begin * plan.size.count(), on.stream());
  }
  check_finite(finite);
}

// Recorded rounds cannot end before the last one.
void check_recorded_rounds(int64_t max_num_iter, const OnDevice& on) {
  constexpr int64_t kMostRecorded = 1000;
  VTCD_CHECK(max_num_iter <= kMostRecorded || !on.is_recorded(),
             "slic3d: max_num_iter expected at most ", kMostRecorded,
             " while a CUDA graph is recorded, got ", max_num_iter);
}

// features [B, C, t, h, w] -> labels int32 [B, T, H, W].
Tensor slic3d_op(const Tensor& features, const std::vector<int64_t>& size, int64_t n_segments,
                 double compactness, int64_t max_num_iter, const std::vector<double>& spacing,
                 bool enforce_connectivity, double min_size_factor, double max_size_factor,
                 const std::string& interpolation) {
  return on_device("slic3d", "features", features, [&](const OnDevice& on) {
    const Shape3 grid = check_features("slic3d", features);
    const Shape3 volume = check_slic3d_size(size);
    const Slic3dOptions options =
        check_slic3d_options(n_segments, compactness, max_num_iter, spacing, enforce_connectivity,
                             min_size_factor, max_size_factor, interpolation);
    check_recorded_rounds(max_num_iter, on);
    const std::vector<int64_t> shape{features.size(0), volume.t, volume.h, volume.w};
    Tensor labels = allocate("slic3d", "size", shape, [&] {
      return torch::stable::new_empty(features, shape, ScalarType::Int);
    });
    if (features.size(0) == 0) return labels;
    const Tensor numbers = for_numerics(features);
    const SlicPlan plan = slic_plan(features.size(0), features.size(1), grid, volume, options);
    if (numbers.scalar_type() == ScalarType::Float) {
      label_volumes<float>(numbers, plan, labels, on);
    } else {
      label_volumes<double>(numbers, plan, labels, on);
    }
    return labels;
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) { m.impl("slic3d", TORCH_BOX(&vtcd::cuda::slic3d_op)); }
