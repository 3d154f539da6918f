// SPDX-License-Identifier: MIT
#include "cuda/slic3d.cuh"

namespace vtcd::cuda {

int64_t slic3d_workspace_bytes(const SlicPlan& plan) { return SlicWork(plan, nullptr).bytes; }

template void slic3d(const SlicPlan&, const float*, void*, int32_t*, int64_t*, Stream);
template void slic3d(const SlicPlan&, const double*, void*, int32_t*, int64_t*, Stream);

}  // namespace vtcd::cuda
