// SPDX-License-Identifier: MIT
#include "cuda/silhouette.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <vector>

#include "cuda/ragged.h"
#include "cuda/transfer.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The tensors that a SilhouetteWorkspace points into.
struct Workspace {
  Workspace(const RaggedBatch& batch)
      : origins(doubles(batch, batch.num_problems() * batch.data.size(1))),
        centring(torch::stable::new_empty(
            batch.data, {batch.num_problems() * static_cast<int64_t>(sizeof(Centring))},
            ScalarType::Byte)),
        points(doubles(batch, batch.data.numel())),
        norms(doubles(batch, batch.data.size(0))),
        labels(torch::stable::new_empty(batch.data, {batch.data.size(0)}, ScalarType::Long)),
        order(torch::stable::new_empty(batch.data, {batch.data.size(0)}, ScalarType::Long)) {}

  static Tensor doubles(const RaggedBatch& batch, int64_t count) {
    return torch::stable::new_empty(batch.data, {count}, ScalarType::Double);
  }
  SilhouetteWorkspace pointers() {
    return {origins.mutable_data_ptr<double>(), static_cast<Centring*>(centring.mutable_data_ptr()),
            points.mutable_data_ptr<double>(),  norms.mutable_data_ptr<double>(),
            labels.mutable_data_ptr<int64_t>(), order.mutable_data_ptr<int64_t>()};
  }

  Tensor origins, centring, points, norms, labels, order;
};

// Number of tiles of the problems before each, [P + 1].
std::vector<int64_t> count_tiles(const RaggedBatch& batch) {
  std::vector<int64_t> tiles{0};
  for (int64_t p = 0; p < batch.num_problems(); ++p)
    tiles.push_back(tiles.back() + (batch.num_rows(p) + kSilhouetteTile - 1) / kSilhouetteTile);
  return tiles;
}

template <typename Scalar, typename Label>
void compute(const RaggedBatch& batch, const Tensor& labels, Tensor& coefficients, Report<2>& found,
             const OnDevice& on) {
  const std::vector<int64_t> tiles = count_tiles(batch);
  const Tensor offsets_there = upload(batch.offsets, batch.data, on);
  const Tensor tiles_there = upload(tiles, batch.data, on);
  Workspace workspace(batch);
  const SilhouetteBatch<Scalar, Label> there{batch.data.const_data_ptr<Scalar>(),
                                             offsets_there.const_data_ptr<int64_t>(),
                                             tiles_there.const_data_ptr<int64_t>(),
                                             labels.const_data_ptr<Label>(),
                                             batch.data.size(0),
                                             batch.num_problems(),
                                             batch.data.size(1),
                                             tiles.back()};
  silhouette(there, workspace.pointers(), coefficients.mutable_data_ptr<Scalar>(),
             found.words() + 1, on.stream());
}

template <typename Scalar>
void compute(const RaggedBatch& batch, const Tensor& labels, Tensor& coefficients, Report<2>& found,
             const OnDevice& on) {
  if (labels.scalar_type() == ScalarType::Int) {
    compute<Scalar, int32_t>(batch, labels, coefficients, found, on);
  } else {
    compute<Scalar, int64_t>(batch, labels, coefficients, found, on);
  }
}

// A label of the device.
int64_t read_label(const Tensor& labels, int64_t row, const OnDevice& on) {
  if (labels.scalar_type() == ScalarType::Int) {
    int32_t label = 0;
    copy_to_host(&label, labels.const_data_ptr<int32_t>() + row, sizeof(label), on.stream());
    return label;
  }
  int64_t label = 0;
  copy_to_host(&label, labels.const_data_ptr<int64_t>() + row, sizeof(label), on.stream());
  return label;
}

// data [ΣN, C], offsets int64 [P + 1], labels int32 or int64 [ΣN].
Tensor silhouette_op(const Tensor& data, const Tensor& offsets, const Tensor& labels) {
  const char* op = "silhouette";
  return on_device(op, "data", data, [&](const OnDevice& on) {
    check_not_recorded(op, on);
    const RaggedBatch batch = check_ragged_layout(op, data, offsets);
    check_after_values(op, batch, on, [&] { check_labels_layout(op, "labels", batch, labels); });
    Tensor coefficients = allocate(op, "data", {data.size(0)}, [&] {
      return torch::stable::new_empty(batch.data, {data.size(0)});
    });
    const Tensor clusters = torch::stable::contiguous(labels);
    Report<2> found(batch.data, on);
    find_non_finite(batch.data, found.words(), on);
    if (data.scalar_type() == ScalarType::Float) {
      compute<float>(batch, clusters, coefficients, found, on);
    } else {
      compute<double>(batch, clusters, coefficients, found, on);
    }
    found.read([&](const std::array<int64_t, 2>& values) {
      check_finite(op, values[0] == 0);
      if (values[1] == 0) return;
      const int64_t row = data.size(0) - values[1];
      check_label(op, "labels", {}, 0, read_label(clusters, row, on));
    });
    return coefficients;
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) {
  m.impl("silhouette", TORCH_BOX(&vtcd::cuda::silhouette_op));
}
