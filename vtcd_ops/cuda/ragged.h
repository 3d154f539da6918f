// SPDX-License-Identifier: MIT
// What the CUDA bindings of the operators on ragged batches share.
#pragma once

#include <array>

#include "csrc/ragged.h"
#include "cuda/binding.h"
#include "cuda/finite.h"

namespace vtcd {

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
    if (batch.data.is_cpu()) throw;  // another argument is not: that is what check() has found
    Report<1> found(batch.data, on);
    find_non_finite(batch.data, found.words(), on);
    found.read([&](const std::array<int64_t, 1>& values) { check_finite(op, values[0] == 0); });
    throw;
  }
}

}  // namespace vtcd
