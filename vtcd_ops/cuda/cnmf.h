// SPDX-License-Identifier: MIT
// What the CUDA binding of cnmf calls; the meaning is that of csrc/core/cnmf/cnmf.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/stream.h"

namespace vtcd::cuda {

struct CnmfSettings {
  bool multiplicative;
  int64_t max_num_iter;
  double tol;
};

// A problem of the batch: these rows of the data, so many concepts.
struct CnmfProblem {
  int64_t index, first_row, num_rows, num_concepts;
  int64_t workspace;  // where its part of the workspace begins, in bytes
};

// The pointers are those of the device.
template <typename T>
struct CnmfBatch {
  const T* data;  // [ΣN, C], row by row
  int64_t num_rows, num_channels, max_k;
  const int64_t* labels;       // [ΣN] the start
  const CnmfProblem* problem;  // [problems of this launch]
  unsigned char* workspace;

  T *weights, *encoding;  // [ΣN, Kmax]
  T* centers;             // [P, Kmax, C]
  T* error;               // [P]
  int64_t* num_iter;      // [P]
  double* summary;        // [P, 3] the largest encoding, the error, and the exponent of the latter
  // Begins with 0. [0]: data were not finite; [1]: ΣN less the first row whose label is outside;
  // [2]: P less the first problem whose encoding or error its dtype cannot hold.
  int64_t* report;
  int64_t num_problems;
};

// The bytes that a problem takes in the workspace, in shared memory where all but its largest
// tables lie if the block has that much, and there with the factorisation of one support.
struct CnmfBytes {
  int64_t workspace, shared, wanted = 0;
};
template <typename T>
CnmfBytes cnmf_bytes(int64_t num_rows, int64_t num_channels, int64_t num_concepts,
                     bool multiplicative);

// Factorises problems that all have their tables in shared memory, of which a block gets
// `shared_bytes`, or, where that is 0, in the workspace.
template <typename T>
void cnmf(const CnmfBatch<T>& batch, int64_t num_problems, int64_t shared_bytes,
          const CnmfSettings& settings, Stream stream);

}  // namespace vtcd::cuda
