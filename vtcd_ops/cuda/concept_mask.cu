// SPDX-License-Identifier: MIT
#include "cuda/concept_mask.cuh"

namespace vtcd::cuda {

#define VTCD_INSTANTIATE(Scalar, Factor)                                                \
  template void concept_mask(const MaskedTokens&, const Scalar*, const FeatureStrides&, \
                             const Factor*, Scalar*, const FeatureStrides&, int64_t*, Stream);
VTCD_INSTANTIATE(uint16_t, bool)
VTCD_INSTANTIATE(uint32_t, bool)
VTCD_INSTANTIATE(uint64_t, bool)
VTCD_INSTANTIATE(float, float)
VTCD_INSTANTIATE(double, double)
#undef VTCD_INSTANTIATE

}  // namespace vtcd::cuda
