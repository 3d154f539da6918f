// SPDX-License-Identifier: MIT
// A ragged batch: P problems of N_p rows each in one tensor [ΣN, C], problem p in rows [offsets[p],
// offsets[p + 1]). Its checks, in the same words as vtcd_ops/ops/ragged.py, and the loop over its
// problems.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "checks.h"
#include "core/parallel.h"
#include "core/point_set.h"
#include "parallel.h"

namespace vtcd {

struct RaggedBatch {
  torch::stable::Tensor data;    // [ΣN, C], contiguous
  std::vector<int64_t> offsets;  // [P + 1]

  int64_t num_problems() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t num_rows(int64_t problem) const { return offsets[problem + 1] - offsets[problem]; }

  // The rows of a problem as columns in double precision, [C, N].
  Eigen::MatrixXd columns(int64_t problem) const {
    const int64_t num_channels = data.size(1), first = offsets[problem] * num_channels;
    if (data.scalar_type() == torch::headeronly::ScalarType::Float) {
      return columns_from_rows(data.const_data_ptr<float>() + first, num_rows(problem),
                               num_channels);
    }
    return columns_from_rows(data.const_data_ptr<double>() + first, num_rows(problem),
                             num_channels);
  }
};

// The values of a tensor of integers. One on a device is waited for.
inline std::vector<int64_t> read_integers(const char* op, const char* argument,
                                          const torch::stable::Tensor& tensor) {
  return within_memory(op, argument, tensor, [&]() -> std::vector<int64_t> {
    const torch::stable::Device host(torch::headeronly::DeviceType::CPU);
    const torch::stable::Tensor dense =
        torch::stable::contiguous(tensor.is_cpu() ? tensor : torch::stable::to(tensor, host));
    if (dense.scalar_type() == torch::headeronly::ScalarType::Int) {
      const int32_t* values = dense.const_data_ptr<int32_t>();
      return {values, values + dense.numel()};
    }
    const int64_t* values = dense.const_data_ptr<int64_t>();
    return {values, values + dense.numel()};
  });
}

template <typename T>
bool all_finite(const T* values, int64_t count) {
  T zero = 0;  // x - x is 0, or NaN where x is not finite
#pragma omp simd reduction(+ : zero)
  for (int64_t i = 0; i < count; ++i) zero += values[i] - values[i];
  return zero == 0;
}

// data [ΣN, C], offsets int64 [P + 1]. The values of data are not looked at.
inline RaggedBatch check_ragged_layout(const char* op, const torch::stable::Tensor& data,
                                       const torch::stable::Tensor& offsets) {
  using torch::headeronly::ScalarType;
  VTCD_CHECK(data.dim() == 2, op, ": data expected [N, C], got ", shape_text(data));
  const bool is_float = data.scalar_type() == ScalarType::Float;
  VTCD_CHECK(is_float || data.scalar_type() == ScalarType::Double, op,
             ": data expected float32 or float64, got ", dtype_text(data));
  VTCD_CHECK(data.size(1) > 0, op, ": data expected at least 1 channel, got ", shape_text(data));
  VTCD_CHECK(offsets.scalar_type() == ScalarType::Long, op, ": offsets expected int64, got ",
             dtype_text(offsets));
  check_beside(op, "offsets", offsets, data);
  VTCD_CHECK(offsets.dim() == 1 && offsets.numel() > 0, op, ": offsets expected [P + 1], got ",
             shape_text(offsets));
  RaggedBatch batch{
      within_memory(op, "data", data, [&] { return torch::stable::contiguous(data); }),
      read_integers(op, "offsets", offsets)};
  VTCD_CHECK(batch.offsets[0] == 0, op, ": offsets expected to start with 0, got ",
             batch.offsets[0]);
  for (int64_t p = 0; p < batch.num_problems(); ++p) {
    VTCD_CHECK(batch.offsets[p + 1] > batch.offsets[p], op, ": offsets expected to increase, got ",
               batch.offsets[p + 1], " after ", batch.offsets[p]);
  }
  VTCD_CHECK(batch.offsets.back() == data.size(0), op, ": offsets expected to end with ",
             data.size(0), ", the rows of data, got ", batch.offsets.back());
  return batch;
}

// Whether all values of data are finite.
inline void check_finite(const char* op, bool finite) {
  VTCD_CHECK(finite, op, ": data expected finite values, got NaN or Inf");
}

// data [ΣN, C], offsets int64 [P + 1], on the CPU.
inline RaggedBatch check_ragged(const char* op, const torch::stable::Tensor& data,
                                const torch::stable::Tensor& offsets) {
  RaggedBatch batch = check_ragged_layout(op, data, offsets);
  const bool is_float = data.scalar_type() == torch::headeronly::ScalarType::Float;
  const bool finite = is_float ? all_finite(batch.data.const_data_ptr<float>(), data.numel())
                               : all_finite(batch.data.const_data_ptr<double>(), data.numel());
  check_finite(op, finite);
  return batch;
}

// k int64 [P]: how many clusters or concepts each problem gets.
inline std::vector<int64_t> check_k(const char* op, const RaggedBatch& batch,
                                    const torch::stable::Tensor& k) {
  VTCD_CHECK(k.scalar_type() == torch::headeronly::ScalarType::Long, op, ": k expected int64, got ",
             dtype_text(k));
  check_beside(op, "k", k, batch.data);
  VTCD_CHECK(k.dim() == 1 && k.size(0) == batch.num_problems(), op, ": k expected [",
             batch.num_problems(), "], one per problem, got ", shape_text(k));
  std::vector<int64_t> values = read_integers(op, "k", k);
  for (int64_t p = 0; p < batch.num_problems(); ++p) {
    VTCD_CHECK(values[p] >= 1 && values[p] <= batch.num_rows(p), op, ": k expected 1 to ",
               batch.num_rows(p), ", the rows of problem ", p, ", got ", values[p]);
  }
  return values;
}

// labels int32 or int64 [ΣN]. Their values are not looked at.
inline void check_labels_layout(const char* op, const char* argument, const RaggedBatch& batch,
                                const torch::stable::Tensor& labels) {
  using torch::headeronly::ScalarType;
  VTCD_CHECK(labels.scalar_type() == ScalarType::Int || labels.scalar_type() == ScalarType::Long,
             op, ": ", argument, " expected int32 or int64, got ", dtype_text(labels));
  check_on_device(op, argument, labels, batch.data);
  VTCD_CHECK(labels.dim() == 1 && labels.size(0) == batch.data.size(0), op, ": ", argument,
             " expected [", batch.data.size(0), "], one per row of data, got ", shape_text(labels));
}

// The label of a row of a problem: from 0 and below k[problem] (any, where k is empty).
inline void check_label(const char* op, const char* argument, const std::vector<int64_t>& k,
                        int64_t problem, int64_t label) {
  VTCD_CHECK(label >= 0, op, ": ", argument, " expected at least 0, got ", label);
  VTCD_CHECK(k.empty() || label < k[problem], op, ": ", argument, " expected below ",
             k.empty() ? 0 : k[problem], ", the k of problem ", problem, ", got ", label);
}

// labels int32 or int64 [ΣN] on the CPU, each as check_label() wants it.
inline std::vector<int64_t> check_labels(const char* op, const char* argument,
                                         const RaggedBatch& batch, const std::vector<int64_t>& k,
                                         const torch::stable::Tensor& labels) {
  check_labels_layout(op, argument, batch, labels);
  std::vector<int64_t> values = read_integers(op, argument, labels);
  for (int64_t p = 0; p < batch.num_problems(); ++p) {
    for (int64_t n = batch.offsets[p]; n < batch.offsets[p + 1]; ++n)
      check_label(op, argument, k, p, values[n]);
  }
  return values;
}

inline void check_restarts(const char* op, int64_t num_restarts) {
  check_repeats(op, "num_restarts", num_restarts);
}

inline void check_iterations(const char* op, int64_t max_num_iter, double tol) {
  check_repeats(op, "max_num_iter", max_num_iter);
  VTCD_CHECK(tol >= 0 && std::isfinite(tol), op, ": tol expected finite and at least 0, got ", tol);
}

// value * 2^exponent in the dtype of the data; refuses what that cannot hold. What is below its
// smallest number is 0, unless 0 would say something else (`is_zero_exact`).
template <typename T>
T narrow(const char* op, const char* what, double value, int exponent, int64_t problem,
         bool is_zero_exact = false) {
  const T narrowed = static_cast<T>(std::ldexp(value, exponent));
  const bool vanished = is_zero_exact && narrowed == 0 && value != 0;
  VTCD_CHECK(std::isfinite(narrowed) && !vanished, op, ": data expected ", what, " that ",
             sizeof(T) == 4 ? "float32" : "float64", " can hold, got ",
             std::ldexp(static_cast<long double>(value), exponent), " in problem ", problem);
  return narrowed;
}

// A tensor of zeros, whose size is that of an argument.
inline torch::stable::Tensor zeros(
    const char* op, const char* argument, const torch::stable::Tensor& like,
    const std::vector<int64_t>& shape,
    std::optional<torch::headeronly::ScalarType> dtype = std::nullopt) {
  return allocate(op, argument, shape,
                  [&] { return torch::stable::new_zeros(like, shape, dtype); });
}

// Calls solve(problem, parallel_for) for every problem: side by side with one thread each, or one
// after the other with all threads inside where there are fewer problems than threads, and for
// large ones. A problem's result does not depend on which ParallelFor it is given, so neither
// threads nor batching change it.
inline void for_each_problem(const char* op, const RaggedBatch& batch,
                             const std::function<void(int64_t, const ParallelFor&)>& solve) {
  constexpr int64_t kLargeProblem = 2048;
  std::vector<int64_t> small;
  for (int64_t p = 0; p < batch.num_problems(); ++p) {
    if (batch.num_rows(p) < kLargeProblem) small.push_back(p);
  }
  const int64_t num_small = static_cast<int64_t>(small.size());
  const bool side_by_side = num_small >= static_cast<int64_t>(torch::stable::get_num_threads());
  within_memory(op, "data", batch.data, [&] {
    for (int64_t p = 0; p < batch.num_problems(); ++p) {
      if (batch.num_rows(p) >= kLargeProblem || !side_by_side) solve(p, torch_parallel_for);
    }
    if (!side_by_side) return;
    torch_parallel_for(0, num_small, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) solve(small[i], serial_for);
    });
  });
}

}  // namespace vtcd
