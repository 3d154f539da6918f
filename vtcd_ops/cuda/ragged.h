// SPDX-License-Identifier: MIT
// What the CUDA bindings of the operators on ragged batches share.
#pragma once

#include <vector>

#include "csrc/ragged.h"
#include "cuda/binding.h"
#include "cuda/finite.h"

namespace vtcd {

// Integers of the host on the device of `like`.
inline torch::stable::Tensor integers_on_device(const std::vector<int64_t>& values,
                                                const torch::stable::Tensor& like,
                                                const OnDevice& on) {
  torch::stable::Tensor copy = torch::stable::new_empty(like, {static_cast<int64_t>(values.size())},
                                                        torch::headeronly::ScalarType::Long);
  if (!values.empty())
    copy_to_device(copy.mutable_data_ptr(), values.data(), values.size() * sizeof(int64_t),
                   on.stream());
  return copy;
}

// The offsets are read by the host, which a CUDA graph would not do again.
inline void check_not_recorded(const char* op, const OnDevice& on) {
  VTCD_CHECK(!is_capturing(on.stream()), op,
             ": a CUDA graph cannot record it, since it reads the offsets on the host");
}

// found[0] becomes 1 where data are not finite.
inline void find_non_finite(const torch::stable::Tensor& data, int64_t* found, const OnDevice& on) {
  if (data.scalar_type() == torch::headeronly::ScalarType::Float) {
    cuda::find_non_finite(data.const_data_ptr<float>(), data.numel(), found, on.stream());
  } else {
    cuda::find_non_finite(data.const_data_ptr<double>(), data.numel(), found, on.stream());
  }
}

// Runs check(), the checks that come after that of the values of data. These are looked at first
// where it throws: the CPU tells of them first.
template <typename Check>
void check_after_values(const char* op, const RaggedBatch& batch, const OnDevice& on,
                        const Check& check) {
  try {
    check();
  } catch (const CheckError&) {
    Report<1> found(batch.data, on);
    find_non_finite(batch.data, found.words(), on);
    found.read([&](const std::array<int64_t, 1>& values) { check_finite(op, values[0] == 0); });
    throw;
  }
}

}  // namespace vtcd
