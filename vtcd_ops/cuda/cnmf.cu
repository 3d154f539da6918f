// SPDX-License-Identifier: MIT
#include "cuda/cnmf.cuh"

namespace vtcd::cuda {

#define VTCD_INSTANTIATE(T)                                          \
  template CnmfBytes cnmf_bytes<T>(int64_t, int64_t, int64_t, bool); \
  template void cnmf(const CnmfBatch<T>&, int64_t, int64_t, const CnmfSettings&, Stream);
VTCD_INSTANTIATE(float)
VTCD_INSTANTIATE(double)
#undef VTCD_INSTANTIATE

}  // namespace vtcd::cuda
