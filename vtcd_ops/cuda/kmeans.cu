// SPDX-License-Identifier: MIT
#include "cuda/kmeans.cuh"

namespace vtcd::cuda {

int64_t kmeans_workspace_bytes(const KMeansProblems& problems, const KMeansOptions& options) {
  return count_kmeans_bytes(problems, options);
}

#define VTCD_INSTANTIATE(Scalar)                                                          \
  template void kmeans(const KMeansProblems&, const KMeansOptions&, const Scalar*, void*, \
                       const KMeansOutputs<Scalar>&, Stream);
VTCD_INSTANTIATE(float)
VTCD_INSTANTIATE(double)
#undef VTCD_INSTANTIATE

}  // namespace vtcd::cuda
