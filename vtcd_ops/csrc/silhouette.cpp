// SPDX-License-Identifier: MIT
#include "core/silhouette.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <vector>

#include "ragged.h"

namespace vtcd {
namespace {

using torch::stable::Tensor;

// data [ΣN, C], offsets int64 [P + 1], labels int32 or int64 [ΣN].
Tensor silhouette_op(const Tensor& data, const Tensor& offsets, const Tensor& labels) {
  const RaggedBatch batch = check_ragged("silhouette", data, offsets);
  const std::vector<int64_t> clusters = check_labels("silhouette", "labels", batch, {}, labels);
  Tensor coefficients = zeros("silhouette", "data", data, {data.size(0)});
  for_each_problem("silhouette", batch, [&](int64_t problem, const ParallelFor& parallel_for) {
    const int64_t first_row = batch.offsets[problem];
    std::vector<double> values(batch.num_rows(problem));
    silhouette(batch.columns(problem), clusters.data() + first_row, values.data(), parallel_for);
    if (data.scalar_type() == torch::headeronly::ScalarType::Float) {
      std::copy(values.begin(), values.end(), coefficients.mutable_data_ptr<float>() + first_row);
    } else {
      std::copy(values.begin(), values.end(), coefficients.mutable_data_ptr<double>() + first_row);
    }
  });
  return coefficients;
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) { m.impl("silhouette", TORCH_BOX(&vtcd::silhouette_op)); }
