// SPDX-License-Identifier: MIT
#include "cuda/slic3d.cuh"

namespace vtcd::cuda {

int64_t slic3d_workspace_bytes(const SlicPlan& plan) { return SlicWork(plan, nullptr).bytes; }

template bool slic3d(const SlicPlan&, const float*, void*, int32_t*, Stream);
template bool slic3d(const SlicPlan&, const double*, void*, int32_t*, Stream);

}  // namespace vtcd::cuda
