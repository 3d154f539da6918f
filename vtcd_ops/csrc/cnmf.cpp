// SPDX-License-Identifier: MIT
#include "cnmf.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "core/cnmf/cnmf.h"
#include "core/kmeans.h"

namespace vtcd {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct CnmfOutputs {
  Tensor weights;   // [ΣN, Kmax]
  Tensor encoding;  // [ΣN, Kmax]
  Tensor centers;   // [P, Kmax, C]
  Tensor error;     // [P]
  Tensor num_iter;  // int64 [P]
};

// Writes the factors of one problem, whose data are 2^exponent times those factorised, into its
// part of the outputs, which are 0 where it has fewer concepts.
template <typename T>
void write_factors(const CnmfFactors& factors, int exponent, int64_t problem, int64_t first_row,
                   const CnmfOutputs& outputs) {
  const int64_t num_points = factors.weights.rows(), num_concepts = factors.weights.cols();
  const int64_t max_k = outputs.weights.size(1), num_channels = outputs.centers.size(2);
  T* weights = outputs.weights.mutable_data_ptr<T>() + first_row * max_k;
  T* encoding = outputs.encoding.mutable_data_ptr<T>() + first_row * max_k;
  double largest = 0;
  for (int64_t n = 0; n < num_points; ++n) {
    for (int64_t k = 0; k < num_concepts; ++k) {
      weights[n * max_k + k] = static_cast<T>(factors.weights(n, k));
      encoding[n * max_k + k] = static_cast<T>(factors.encoding(k, n));
      largest = std::max(largest, factors.encoding(k, n));
    }
  }
  check_encoding<T>(largest, problem);
  T* centers = outputs.centers.mutable_data_ptr<T>() + problem * max_k * num_channels;
  const Eigen::MatrixXd scaled = times_power_of_two(factors.centers, exponent);
  for (int64_t i = 0; i < scaled.size(); ++i) centers[i] = static_cast<T>(scaled.data()[i]);
  outputs.error.mutable_data_ptr<T>()[problem] = narrow_error<T>(factors.error, exponent, problem);
  outputs.num_iter.mutable_data_ptr<int64_t>()[problem] = factors.num_iter;
}

// init [N]: labels in [0, num_concepts), or null for those of k-means.
CnmfFactors factorise(const PointSet& data, int64_t num_concepts, const int64_t* init,
                      bool multiplicative, const CnmfOptions& options, int64_t seed,
                      const ParallelFor& parallel_for) {
  std::vector<int32_t> labels;
  if (init != nullptr) {
    labels.assign(init, init + data.size());
  } else {
    KMeansOptions start;
    start.seed = seed;
    labels = kmeans(data.points, num_concepts, start, parallel_for).labels;
  }
  return multiplicative ? cnmf_multiplicative(data, labels.data(), num_concepts, options)
                        : cnmf_descent(data, labels.data(), num_concepts, options, parallel_for);
}

// data [ΣN, C], offsets int64 [P + 1], k int64 [P], init [ΣN].
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> cnmf(
    const Tensor& data, const Tensor& offsets, const Tensor& k, const std::optional<Tensor>& init,
    const std::string& solver, int64_t max_num_iter, double tol, int64_t seed) {
  const RaggedBatch batch = check_ragged("cnmf", data, offsets);
  const std::vector<int64_t> num_concepts = check_k("cnmf", batch, k);
  std::vector<int64_t> labels;
  if (init.has_value()) labels = check_labels("cnmf", "init", batch, num_concepts, *init);
  check_cnmf_options(solver, max_num_iter, tol);

  const int64_t num_problems = batch.num_problems(), num_rows = data.size(0);
  const int64_t max_k =
      num_problems > 0 ? *std::max_element(num_concepts.begin(), num_concepts.end()) : 0;
  CnmfOutputs outputs{zeros("cnmf", "k", data, {num_rows, max_k}),
                      zeros("cnmf", "k", data, {num_rows, max_k}),
                      zeros("cnmf", "k", data, {num_problems, max_k, data.size(1)}),
                      zeros("cnmf", "data", data, {num_problems}),
                      zeros("cnmf", "data", data, {num_problems}, ScalarType::Long)};
  const CnmfOptions options{max_num_iter, tol};
  for_each_problem("cnmf", batch, [&](int64_t problem, const ParallelFor& parallel_for) {
    const int64_t first_row = batch.offsets[problem];
    const PointSet points(batch.columns(problem));
    const CnmfFactors factors = factorise(points, num_concepts[problem],
                                          labels.empty() ? nullptr : labels.data() + first_row,
                                          solver == "mu", options, seed, parallel_for);
    if (data.scalar_type() == ScalarType::Float) {
      write_factors<float>(factors, points.exponent, problem, first_row, outputs);
    } else {
      write_factors<double>(factors, points.exponent, problem, first_row, outputs);
    }
  });
  return {outputs.weights, outputs.encoding, outputs.centers, outputs.error, outputs.num_iter};
}

}  // namespace
}  // namespace vtcd

STABLE_TORCH_LIBRARY_IMPL(vtcd, CPU, m) { m.impl("cnmf", TORCH_BOX(&vtcd::cnmf)); }
