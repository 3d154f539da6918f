// SPDX-License-Identifier: MIT
#include "cuda/kmeans.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "cuda/ragged.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Results {
  Tensor labels, centers, inertia, num_iter;
};

// Throws the words of the CPU for the first problem whose inertia its dtype cannot hold.
template <typename Scalar>
void check_inertia(const char* op, int64_t problem, const Tensor& raw_inertia,
                   const Tensor& exponents, const OnDevice& on) {
  double inertia = 0;
  int32_t exponent = 0;
  copy_to_host(&inertia, raw_inertia.const_data_ptr<double>() + problem, sizeof(inertia),
               on.stream());
  copy_to_host(&exponent, exponents.const_data_ptr<int32_t>() + problem, sizeof(exponent),
               on.stream());
  narrow<Scalar>(op, "an inertia", inertia, exponent, problem, /*is_zero_exact=*/true);
}

template <typename Scalar>
void compute(const char* op, const RaggedBatch& batch, const std::vector<int64_t>& k,
             const KMeansOptions& options, Results& results, const OnDevice& on) {
  const auto make = [&](int64_t size, ScalarType type) {
    return torch::stable::new_empty(batch.data, {size}, type);
  };
  const KMeansProblems problems{batch.offsets, k, batch.data.size(1)};
  Tensor workspace = make(kmeans_workspace_bytes(problems, options), ScalarType::Byte);
  Tensor raw_inertia = make(batch.num_problems(), ScalarType::Double);
  Tensor exponents = make(batch.num_problems(), ScalarType::Int);
  Report<2> found(batch.data, on);
  find_non_finite(batch.data, found.words(), on);
  kmeans(problems, options, batch.data.const_data_ptr<Scalar>(), workspace.mutable_data_ptr(),
         KMeansOutputs<Scalar>{
             results.labels.mutable_data_ptr<int32_t>(), results.centers.mutable_data_ptr<Scalar>(),
             results.inertia.mutable_data_ptr<Scalar>(),
             results.num_iter.mutable_data_ptr<int64_t>(), raw_inertia.mutable_data_ptr<double>(),
             exponents.mutable_data_ptr<int32_t>(), found.words() + 1},
         on.stream());
  found.read([&](const std::array<int64_t, 2>& values) {
    check_finite(op, values[0] == 0);
    if (values[1] == 0) return;
    check_inertia<Scalar>(op, batch.num_problems() - values[1], raw_inertia, exponents, on);
  });
}

// data [ΣN, C], offsets int64 [P + 1], k int64 [P].
std::tuple<Tensor, Tensor, Tensor, Tensor> kmeans_op(const Tensor& data, const Tensor& offsets,
                                                     const Tensor& k, int64_t num_restarts,
                                                     int64_t max_num_iter, double tol,
                                                     int64_t seed) {
  const char* op = "kmeans";
  return on_device(op, "data", data, [&](const OnDevice& on) {
    check_not_recorded(op, on);
    const RaggedBatch batch = check_ragged_layout(op, data, offsets);
    std::vector<int64_t> num_clusters;
    check_after_values(op, batch, on, [&] {
      num_clusters = check_k(op, batch, k);
      check_restarts(op, num_restarts);
      check_iterations(op, max_num_iter, tol);
    });
    const int64_t num_problems = batch.num_problems();
    const int64_t max_k =
        num_problems > 0 ? *std::max_element(num_clusters.begin(), num_clusters.end()) : 0;
    Results results{zeros(op, "data", batch.data, {data.size(0)}, ScalarType::Int),
                    zeros(op, "k", batch.data, {num_problems, max_k, data.size(1)}),
                    zeros(op, "data", batch.data, {num_problems}),
                    zeros(op, "data", batch.data, {num_problems}, ScalarType::Long)};
    const KMeansOptions options{num_restarts, max_num_iter, tol, seed};
    if (data.scalar_type() == ScalarType::Float) {
      compute<float>(op, batch, num_clusters, options, results, on);
    } else {
      compute<double>(op, batch, num_clusters, options, results, on);
    }
    return std::make_tuple(results.labels, results.centers, results.inertia, results.num_iter);
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) { m.impl("kmeans", TORCH_BOX(&vtcd::cuda::kmeans_op)); }
