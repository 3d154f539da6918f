// SPDX-License-Identifier: MIT
// The checks of cnmf that the bindings of the CPU and of CUDA share.
#pragma once

#include <string>

#include "ragged.h"

namespace vtcd {

inline void check_cnmf_options(const std::string& solver, int64_t max_num_iter, double tol) {
  VTCD_CHECK(solver == "cd" || solver == "mu", "cnmf: solver expected cd or mu, got ", solver);
  check_iterations("cnmf", max_num_iter, tol);
}

template <typename T>
void check_encoding(double largest, int64_t problem) {
  narrow<T>("cnmf", "an encoding", largest, 0, problem);
}

// The error, which is 2^exponent times as large, in the dtype of the data.
template <typename T>
T narrow_error(double error, int exponent, int64_t problem) {
  return narrow<T>("cnmf", "an error", error, exponent, problem);
}

}  // namespace vtcd
