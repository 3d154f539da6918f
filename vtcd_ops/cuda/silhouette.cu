// SPDX-License-Identifier: MIT
#include "cuda/silhouette.cuh"

namespace vtcd::cuda {

#define VTCD_INSTANTIATE(Scalar, Label)                                                       \
  template void silhouette(const SilhouetteBatch<Scalar, Label>&, const SilhouetteWorkspace&, \
                           Scalar*, int64_t*, Stream);
VTCD_INSTANTIATE(float, int32_t)
VTCD_INSTANTIATE(float, int64_t)
VTCD_INSTANTIATE(double, int32_t)
VTCD_INSTANTIATE(double, int64_t)
#undef VTCD_INSTANTIATE

}  // namespace vtcd::cuda
