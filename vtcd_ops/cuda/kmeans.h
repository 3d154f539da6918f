// SPDX-License-Identifier: MIT
// k-means of a ragged batch on the device, for its binding and for operators that begin with it;
// the meaning and the bits are those of csrc/core/kmeans.h.
#pragma once

#include <cstdint>
#include <vector>

#include "core/formulas/kmeans.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

// The sizes of the problems, known to the host: offsets [P + 1] and k [P], checked.
struct KMeansProblems {
  const std::vector<int64_t>& offsets;
  const std::vector<int64_t>& k;
  int64_t num_channels;
};

// On the device. All but labels may be null.
template <typename Scalar>
struct KMeansOutputs {
  int32_t* labels;              // [ΣN]
  Scalar* centers = nullptr;    // [P, Kmax, C], 0 before: only the first k of a problem are written
  Scalar* inertia = nullptr;    // [P]
  int64_t* num_iter = nullptr;  // [P]
  double* raw_inertia = nullptr;  // [P] before it is scaled by 2^exponent
  int32_t* exponent = nullptr;    // [P]
  // 0 before; becomes the largest P - problem whose inertia a Scalar cannot hold
  int64_t* failed = nullptr;
};

// Bytes of the device that kmeans() works in.
int64_t kmeans_workspace_bytes(const KMeansProblems& problems, const KMeansOptions& options);

// data [ΣN, C] and workspace lie on the device.
template <typename Scalar>
void kmeans(const KMeansProblems& problems, const KMeansOptions& options, const Scalar* data,
            void* workspace, const KMeansOutputs<Scalar>& outputs, Stream stream);

}  // namespace vtcd::cuda
