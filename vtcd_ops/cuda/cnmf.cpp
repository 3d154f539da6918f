// SPDX-License-Identifier: MIT
#include "csrc/cnmf.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "cuda/cnmf.h"
#include "cuda/kmeans.h"
#include "cuda/ragged.h"
#include "cuda/transfer.h"

namespace vtcd::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Workspace of one launch; a batch that takes more is factorised part by part.
constexpr int64_t kLargestWorkspace = int64_t{1} << 30;
// Of the shared memory of a block: what the kernel takes besides its tables.
constexpr int64_t kOtherShared = 2 << 10;

struct Outputs {
  Tensor weights, encoding, centers, error, num_iter, summary;

  Outputs(const Tensor& data, int64_t num_problems, int64_t max_k)
      : weights(make(data, "k", {data.size(0), max_k})),
        encoding(make(data, "k", {data.size(0), max_k})),
        centers(make(data, "k", {num_problems, max_k, data.size(1)})),
        error(make(data, "data", {num_problems})),
        num_iter(make(data, "data", {num_problems}, ScalarType::Long)),
        summary(make(data, "data", {num_problems, 3}, ScalarType::Double)) {}

  static Tensor make(const Tensor& like, const char* argument, const std::vector<int64_t>& shape,
                     std::optional<ScalarType> dtype = std::nullopt) {
    return allocate("cnmf", argument, shape,
                    [&] { return torch::stable::new_empty(like, shape, dtype); });
  }
};

Tensor bytes_on_device(const Tensor& like, int64_t count) {
  return torch::stable::new_empty(like, {std::max<int64_t>(count, 1)}, ScalarType::Byte);
}

// The problems of one launch.
struct Part {
  std::vector<CnmfProblem> problems;
  int64_t workspace_bytes = 0, shared_bytes = 0;  // of all of them; of the largest, 0: none
};

// The problems in parts, those whose tables fit into shared memory before the others, and large
// ones, which take longest, before small ones.
template <typename T>
std::vector<Part> parts_of(const RaggedBatch& batch, const std::vector<int64_t>& k,
                           bool multiplicative) {
  const int64_t most_shared = max_shared_bytes() - kOtherShared;
  std::vector<int64_t> order(k.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return batch.num_rows(a) * k[a] > batch.num_rows(b) * k[b];
  });
  std::vector<Part> parts;
  for (const bool in_shared : {true, false}) {
    parts.emplace_back();
    for (const int64_t p : order) {
      const CnmfBytes bytes =
          cnmf_bytes<T>(batch.num_rows(p), batch.data.size(1), k[p], multiplicative);
      if ((bytes.shared <= most_shared) != in_shared) continue;
      if (parts.back().workspace_bytes > 0 &&
          parts.back().workspace_bytes + bytes.workspace > kLargestWorkspace)
        parts.emplace_back();
      Part& part = parts.back();
      part.problems.push_back({p, batch.offsets[p], batch.num_rows(p), k[p], part.workspace_bytes});
      part.workspace_bytes += bytes.workspace;
      const int64_t shared = bytes.wanted <= most_shared ? bytes.wanted : bytes.shared;
      if (in_shared) part.shared_bytes = std::max(part.shared_bytes, shared);
    }
  }
  return parts;
}

// labels int64 [ΣN]
template <typename T>
void launch(const RaggedBatch& batch, const std::vector<int64_t>& k, const Tensor& labels,
            const CnmfSettings& settings, Outputs& outputs, int64_t* report, const OnDevice& on) {
  const std::vector<Part> parts = parts_of<T>(batch, k, settings.multiplicative);
  int64_t bytes = 0;
  for (const Part& part : parts) bytes = std::max(bytes, part.workspace_bytes);
  const Tensor workspace = bytes_on_device(batch.data, bytes);
  for (const Part& part : parts) {
    static_assert(sizeof(CnmfProblem) == 5 * sizeof(int64_t));
    const auto count = static_cast<int64_t>(part.problems.size());
    const auto* first = reinterpret_cast<const int64_t*>(part.problems.data());
    const Tensor table = upload({first, first + 5 * count}, batch.data, on);
    const CnmfBatch<T> there{batch.data.const_data_ptr<T>(),
                             batch.data.size(0),
                             batch.data.size(1),
                             outputs.weights.size(1),
                             labels.const_data_ptr<int64_t>(),
                             static_cast<const CnmfProblem*>(table.const_data_ptr()),
                             static_cast<unsigned char*>(workspace.mutable_data_ptr()),
                             outputs.weights.mutable_data_ptr<T>(),
                             outputs.encoding.mutable_data_ptr<T>(),
                             outputs.centers.mutable_data_ptr<T>(),
                             outputs.error.mutable_data_ptr<T>(),
                             outputs.num_iter.mutable_data_ptr<int64_t>(),
                             outputs.summary.mutable_data_ptr<double>(),
                             report,
                             batch.num_problems()};
    cnmf(there, count, part.shared_bytes, settings, on.stream());
  }
}

// The labels that k-means gives, as by default on the CPU: int64 [ΣN].
template <typename T>
Tensor start_of(const RaggedBatch& batch, const std::vector<int64_t>& k, int64_t seed,
                const OnDevice& on) {
  const KMeansProblems problems{batch.offsets, k, batch.data.size(1)};
  KMeansOptions options;
  options.seed = seed;
  const Tensor workspace = bytes_on_device(batch.data, kmeans_workspace_bytes(problems, options));
  Tensor labels = torch::stable::new_empty(batch.data, {batch.data.size(0)}, ScalarType::Int);
  KMeansOutputs<T> outputs{labels.mutable_data_ptr<int32_t>()};
  kmeans(problems, options, batch.data.const_data_ptr<T>(), workspace.mutable_data_ptr(), outputs,
         on.stream());
  return torch::stable::to(labels, ScalarType::Long);
}

// Throws what the kernel found of the values: see CnmfBatch::report.
template <typename T>
void check_found(const std::array<int64_t, 3>& found, const RaggedBatch& batch,
                 const std::vector<int64_t>& k, const Tensor& labels, const Outputs& outputs,
                 const OnDevice& on) {
  check_finite("cnmf", found[0] == 0);
  if (found[1] > 0) {
    const int64_t row = batch.data.size(0) - found[1];
    int64_t label = 0, problem = 0;
    copy_to_host(&label, labels.const_data_ptr<int64_t>() + row, sizeof(label), on.stream());
    while (batch.offsets[problem + 1] <= row) ++problem;
    check_label("cnmf", "init", k, problem, label);
  }
  if (found[2] > 0) {
    const int64_t problem = batch.num_problems() - found[2];
    double summary[3];
    copy_to_host(summary, outputs.summary.const_data_ptr<double>() + 3 * problem, sizeof(summary),
                 on.stream());
    check_encoding<T>(summary[0], problem);
    narrow_error<T>(summary[1], static_cast<int>(summary[2]), problem);
  }
}

template <typename T>
void factorise(const RaggedBatch& batch, const std::vector<int64_t>& k,
               const std::optional<Tensor>& init, const CnmfSettings& settings, int64_t seed,
               Outputs& outputs, const OnDevice& on) {
  if (batch.num_problems() == 0) return;
  const Tensor labels = init.has_value()
                            ? torch::stable::contiguous(torch::stable::to(*init, ScalarType::Long))
                            : start_of<T>(batch, k, seed, on);
  Report<3> report(batch.data, on);
  launch<T>(batch, k, labels, settings, outputs, report.words(), on);
  report.read([&](const std::array<int64_t, 3>& found) {
    check_found<T>(found, batch, k, labels, outputs, on);
  });
}

// data [ΣN, C], offsets int64 [P + 1], k int64 [P], init [ΣN].
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> cnmf_op(
    const Tensor& data, const Tensor& offsets, const Tensor& k, const std::optional<Tensor>& init,
    const std::string& solver, int64_t max_num_iter, double tol, int64_t seed) {
  const char* op = "cnmf";
  return on_device(op, "data", data, [&](const OnDevice& on) {
    check_not_recorded(op, on);
    const RaggedBatch batch = check_ragged_layout(op, data, offsets);
    std::vector<int64_t> num_concepts;
    check_after_values(op, batch, on, [&] {
      num_concepts = check_k(op, batch, k);
      if (init.has_value()) check_labels_layout(op, "init", batch, *init);
      check_cnmf_options(solver, max_num_iter, tol);
    });
    const int64_t max_k =
        num_concepts.empty() ? 0 : *std::max_element(num_concepts.begin(), num_concepts.end());
    Outputs outputs(batch.data, batch.num_problems(), max_k);
    const CnmfSettings settings{solver == "mu", max_num_iter, tol};
    if (data.scalar_type() == ScalarType::Float) {
      factorise<float>(batch, num_concepts, init, settings, seed, outputs, on);
    } else {
      factorise<double>(batch, num_concepts, init, settings, seed, outputs, on);
    }
    return std::make_tuple(outputs.weights, outputs.encoding, outputs.centers, outputs.error,
                           outputs.num_iter);
  });
}

}  // namespace
}  // namespace vtcd::cuda

STABLE_TORCH_LIBRARY_IMPL(vtcd, CUDA, m) { m.impl("cnmf", TORCH_BOX(&vtcd::cuda::cnmf_op)); }
