// SPDX-License-Identifier: MIT
#include "csrc/tubelet_pool.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "core/formulas/narrow_float.h"
#include "core/formulas/tubelet_pool.h"
#include "cuda/binding.h"
#include "cuda/tubelet_pool.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The weights of the labels of a batch of volumes, in parts that kWorkBytes suffice for.
class Weights {
 public:
  Weights(const PoolArguments& arguments, const Tensor& labels, const OnDevice& on)
      : plan_{arguments.grid, arguments.size, arguments.interpolation, arguments.num_channels,
              arguments.num_tubelets},
        batch_(arguments.batch),
        labels_(labels),
        outside_(labels, on),
        stream_(on.stream()) {
    const int64_t rows = plan_.size.t * plan_.size.h * plan_.along_x().count();
    const int64_t labels_at_once = std::clamp<int64_t>(plan_.num_tubelets, 1, kLabelBlock);
    const int64_t planes = plan_.size.t * labels_at_once * plan_.grid.h * plan_.grid.w;
    const int64_t tokens = labels_at_once * plan_.grid.count();
    volumes_at_once_ = std::clamp<int64_t>(kWorkBytes / 8 / (rows + planes + tokens), 1,
                                           std::clamp<int64_t>(batch_, 1, kMostVolumes));
    cells_ = memory(num_places(plan_) * static_cast<int64_t>(sizeof(AxisCell)), ScalarType::Byte);
    runs_ = memory(volumes_at_once_ * rows, ScalarType::Long);
    planes_ = memory(volumes_at_once_ * planes, ScalarType::Double);
    weights_ = memory(volumes_at_once_ * tokens, ScalarType::Double);
    counts_ = memory(volumes_at_once_ * plan_.size.t * labels_at_once, ScalarType::Long);
  }

  // Calls use(plan, part, work) with the weights of every part.
  template <typename Use>
  void for_each_part(const Use& use) {
    labels_.scalar_type() == ScalarType::Long ? run<int64_t>(use) : run<int32_t>(use);
  }

  // Throws where a label was outside.
  void check(const char* op) const {
    outside_.read([&](const std::array<int64_t, 3>& found) {
      check_label_range(op, found[0] > 0 ? -1 - found[0] : 0, found[2] > 0 ? found[1] : -1,
                        plan_.num_tubelets);
    });
  }

 private:
  static constexpr int64_t kWorkBytes = int64_t{1} << 28;
  static constexpr int64_t kMostVolumes = 1 << 12;

  Tensor memory(int64_t count, ScalarType type) const {
    return torch::stable::new_empty(labels_, {count}, type);
  }

  template <typename Label, typename Use>
  void run(const Use& use) {
    const PoolWork work{static_cast<AxisCell*>(cells_.mutable_data_ptr()),
                        runs_.mutable_data_ptr<int64_t>(), planes_.mutable_data_ptr<double>(),
                        counts_.mutable_data_ptr<int64_t>(), weights_.mutable_data_ptr<double>()};
    const Label* labels = labels_.const_data_ptr<Label>();
    for (int64_t volume = 0; volume < batch_; volume += volumes_at_once_) {
      PoolPart part{volume, std::min(volumes_at_once_, batch_ - volume), 0, 0};
      find_runs(plan_, part, work, labels, outside_.words(), stream_);
      for (; part.first_label < plan_.num_tubelets; part.first_label += kLabelBlock) {
        part.num_labels = std::min(kLabelBlock, plan_.num_tubelets - part.first_label);
        weigh_planes(plan_, part, work, labels, stream_);
        use(plan_, part, work);
      }
    }
  }

  PoolPlan plan_;
  int64_t batch_, volumes_at_once_;
  Tensor labels_, cells_, runs_, planes_, weights_, counts_;
  Report<3> outside_;
  Stream stream_;
};

template <typename Scalar>
void pool(Weights& weights, const Tensor& features, Tensor& means, Tensor& counts,
          const OnDevice& on) {
  weights.for_each_part([&](const PoolPlan& plan, const PoolPart& part, const PoolWork& work) {
    pool_means(plan, part, work, static_cast<const Scalar*>(features.const_data_ptr()),
               static_cast<Scalar*>(means.mutable_data_ptr()), counts.mutable_data_ptr<int64_t>(),
               on.stream());
  });
}

// features [B, C, t, h, w], labels [B, T, H, W] -> means [B, S, C], counts int64 [B, S].
std::tuple<Tensor, Tensor> tubelet_pool_op(const Tensor& features, const Tensor& labels,
                                           int64_t num_tubelets, const std::string& interpolation) {
  const char* op = "tubelet_pool";
  return on_device(op, "features", features, [&](const OnDevice& on) -> std::tuple<Tensor, Tensor> {
    const PoolArguments arguments =
        check_tubelet_pool(features, labels, num_tubelets, interpolation);
    const auto empty = [&](const std::vector<int64_t>& shape, ScalarType type) {
      return allocate(op, "num_tubelets", shape,
                      [&] { return torch::stable::new_empty(features, shape, type); });
    };
    Tensor means =
        empty({arguments.batch, num_tubelets, arguments.num_channels}, features.scalar_type());
    Tensor counts = empty({arguments.batch, num_tubelets}, ScalarType::Long);
    const Tensor numbers = torch::stable::contiguous(features);
    Weights weights(arguments, torch::stable::contiguous(labels), on);
    switch (features.scalar_type()) {
      case ScalarType::Half:
        pool<Half>(weights, numbers, means, counts, on);
        break;
      case ScalarType::BFloat16:
        pool<BFloat16>(weights, numbers, means, counts, on);
        break;
      case ScalarType::Double:
        pool<double>(weights, numbers, means, counts, on);
        break;
      default:
        pool<float>(weights, numbers, means, counts, on);
    }
    weights.check(op);
    return {means, counts};
  });
}

template <typename Scalar>
void spread(Weights& weights, const Tensor& grad_means, const Tensor& counts, Tensor& grad,
            const OnDevice& on) {
  weights.for_each_part([&](const PoolPlan& plan, const PoolPart& part, const PoolWork& work) {
    spread_means(plan, part, work, grad_means.const_data_ptr<Scalar>(),
                 counts.const_data_ptr<int64_t>(), grad.mutable_data_ptr<Scalar>(), on.stream());
  });
}

// grad_means [B, S, C], labels [B, T, H, W], counts int64 [B, S] -> [B, C, t, h, w].
Tensor tubelet_pool_backward_op(const Tensor& grad_means, const Tensor& labels,
                                const Tensor& counts, const std::vector<int64_t>& grid,
                                const std::string& interpolation) {
  const char* op = "_tubelet_pool_backward";
  return on_device(op, "grad_means", grad_means, [&](const OnDevice& on) {
    const PoolArguments arguments =
        check_tubelet_pool_backward(grad_means, labels, counts, grid, interpolation);
    const Tensor numbers = for_numerics(grad_means), voxels = torch::stable::contiguous(counts);
    const std::vector<int64_t> shape{arguments.batch, arguments.num_channels, grid[0], grid[1],
                                     grid[2]};
    Tensor grad =
        allocate(op, "grid", shape, [&] { return torch::stable::new_empty(numbers, shape); });
    if (arguments.num_tubelets == 0) torch::stable::zero_(grad);
    Weights weights(arguments, torch::stable::contiguous(labels), on);
    numbers.scalar_type() == ScalarType::Double ? spread<double>(weights, numbers, voxels, grad, on)
                                                : spread<float>(weights, numbers, voxels, grad, on);
    weights.check(op);
    return torch::stable::to(grad, grad_means.scalar_type());
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) {
  m.impl("tubelet_pool", TORCH_BOX(&vtcd::cuda::tubelet_pool_op));
  m.impl("_tubelet_pool_backward", TORCH_BOX(&vtcd::cuda::tubelet_pool_backward_op));
}
