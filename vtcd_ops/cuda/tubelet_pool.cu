// SPDX-License-Identifier: MIT
#include "cuda/tubelet_pool.cuh"

#include "cuda/tubelet_pool_means.cuh"

namespace vtcd::cuda {

#define VTCD_INSTANTIATE(Label)                                                               \
  template void find_runs(const PoolPlan&, const PoolPart&, const PoolWork&, const Label*,    \
                          int64_t*, Stream);                                                  \
  template void weigh_planes(const PoolPlan&, const PoolPart&, const PoolWork&, const Label*, \
                             Stream);
VTCD_INSTANTIATE(int32_t)
VTCD_INSTANTIATE(int64_t)
#undef VTCD_INSTANTIATE

#define VTCD_INSTANTIATE(Scalar)                                                             \
  template void pool_means(const PoolPlan&, const PoolPart&, const PoolWork&, const Scalar*, \
                           Scalar*, int64_t*, Stream);
VTCD_INSTANTIATE(float)
VTCD_INSTANTIATE(double)
VTCD_INSTANTIATE(Half)
VTCD_INSTANTIATE(BFloat16)
#undef VTCD_INSTANTIATE

#define VTCD_INSTANTIATE(Scalar)                                                               \
  template void spread_means(const PoolPlan&, const PoolPart&, const PoolWork&, const Scalar*, \
                             const int64_t*, Scalar*, Stream);
VTCD_INSTANTIATE(float)
VTCD_INSTANTIATE(double)
#undef VTCD_INSTANTIATE

}  // namespace vtcd::cuda
