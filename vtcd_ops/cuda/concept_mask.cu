// SPDX-License-Identifier: MIT
#include "cuda/concept_mask.cuh"

#include "cuda/concept_mask_backward.cuh"

namespace vtcd::cuda {

#define VTCD_INSTANTIATE(Scalar, Factor)                                                \
  template void concept_mask(const MaskedTokens&, const Scalar*, const FeatureStrides&, \
                             const Factor*, Scalar*, const FeatureStrides&, int64_t*, Stream);
VTCD_INSTANTIATE(uint16_t, bool)
VTCD_INSTANTIATE(uint32_t, bool)
VTCD_INSTANTIATE(uint64_t, bool)
VTCD_INSTANTIATE(float, float)
VTCD_INSTANTIATE(double, double)
VTCD_INSTANTIATE(Half, float)
VTCD_INSTANTIATE(BFloat16, float)
#undef VTCD_INSTANTIATE

#define VTCD_INSTANTIATE(Scalar)                                                                   \
  template void concept_mask_backward(const MaskedTokens&, const Scalar*, const FeatureStrides&,   \
                                      const Scalar*, const FeatureStrides&, const Number<Scalar>*, \
                                      Scalar*, const FeatureStrides&, double*, int64_t*, Stream);
VTCD_INSTANTIATE(float)
VTCD_INSTANTIATE(double)
VTCD_INSTANTIATE(Half)
VTCD_INSTANTIATE(BFloat16)
#undef VTCD_INSTANTIATE

#define VTCD_INSTANTIATE(Result)                                                           \
  template void sum_by_unit(const MaskedTokens&, int64_t, int64_t, const double*, double*, \
                            Result*, Stream);
VTCD_INSTANTIATE(float)
VTCD_INSTANTIATE(double)
#undef VTCD_INSTANTIATE

}  // namespace vtcd::cuda
