// SPDX-License-Identifier: MIT
#include "core/kmeans.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "ragged.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// centers [Kmax, C], inertia [1]: those of one problem.
template <typename T>
void write_clusters(const KMeansResult& result, int64_t problem, T* centers, T* inertia) {
  for (int64_t i = 0; i < result.centers.size(); ++i)
    centers[i] = static_cast<T>(result.centers.data()[i]);
  *inertia = narrow<T>("kmeans", "an inertia", result.inertia, result.inertia_exponent, problem,
                       /*is_zero_exact=*/true);
}

// data [ΣN, C], offsets int64 [P + 1], k int64 [P].
std::tuple<Tensor, Tensor, Tensor, Tensor> kmeans_op(const Tensor& data, const Tensor& offsets,
                                                     const Tensor& k, int64_t num_restarts,
                                                     int64_t max_num_iter, double tol,
                                                     int64_t seed) {
  const RaggedBatch batch = check_ragged("kmeans", data, offsets);
  const std::vector<int64_t> num_clusters = check_k("kmeans", batch, k);
  check_restarts("kmeans", num_restarts);
  check_iterations("kmeans", max_num_iter, tol);

  const int64_t num_problems = batch.num_problems(), num_channels = data.size(1);
  const int64_t max_k =
      num_problems > 0 ? *std::max_element(num_clusters.begin(), num_clusters.end()) : 0;
  Tensor labels = zeros("kmeans", "data", data, {data.size(0)}, ScalarType::Int);
  Tensor centers = zeros("kmeans", "k", data, {num_problems, max_k, num_channels});
  Tensor inertia = zeros("kmeans", "data", data, {num_problems});
  Tensor num_iter = zeros("kmeans", "data", data, {num_problems}, ScalarType::Long);
  const KMeansOptions options{num_restarts, max_num_iter, tol, seed};
  for_each_problem("kmeans", batch, [&](int64_t problem, const ParallelFor& parallel_for) {
    const KMeansResult result =
        kmeans(batch.columns(problem), num_clusters[problem], options, parallel_for);
    std::copy(result.labels.begin(), result.labels.end(),
              labels.mutable_data_ptr<int32_t>() + batch.offsets[problem]);
    const int64_t first_center = problem * max_k * num_channels;
    if (data.scalar_type() == ScalarType::Float) {
      write_clusters(result, problem, centers.mutable_data_ptr<float>() + first_center,
                     inertia.mutable_data_ptr<float>() + problem);
    } else {
      write_clusters(result, problem, centers.mutable_data_ptr<double>() + first_center,
                     inertia.mutable_data_ptr<double>() + problem);
    }
    num_iter.mutable_data_ptr<int64_t>()[problem] = result.num_iter;
  });
  return {labels, centers, inertia, num_iter};
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) { m.impl("kmeans", TORCH_BOX(&vtcd::kmeans_op)); }
