// SPDX-License-Identifier: MIT
// What the CUDA bindings of the operators on ragged batches share.
#pragma once

#include <vector>

#include "csrc/ragged.h"
#include "cuda/binding.h"

namespace vtcd {

// Integers of the host on the device of `like`.
inline torch::stable::Tensor integers_on_device(const std::vector<int64_t>& values,
                                                const torch::stable::Tensor& like,
                                                const OnDevice& on) {
  torch::stable::Tensor copy = torch::stable::new_empty(
      like, {static_cast<int64_t>(values.size())}, torch::headeronly::ScalarType::Long);
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

}  // namespace vtcd
