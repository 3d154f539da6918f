// SPDX-License-Identifier: MIT
// slic3d on the device, all volumes of a batch in each launch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cuda/slic3d_connectivity.cuh"
#include "cuda/slic3d_features.cuh"
#include "cuda/slic3d_update.cuh"

namespace vtcd::cuda {

// Whether further rounds would change no volume; waits for the rounds so far.
inline bool all_done(const SlicPlan& plan, const SlicWork& work, Stream stream) {
  std::vector<VolumeState> states(plan.batch);
  copy_to_host(states.data(), work.state, states.size() * sizeof(VolumeState), stream);
  return std::all_of(states.begin(), states.end(),
                     [](const VolumeState& state) { return state.done != 0; });
}

template <typename Scalar>
void slic3d(const SlicPlan& plan, const Scalar* features, void* workspace, int32_t* labels,
            int64_t* not_finite, Stream stream) {
  if (plan.batch == 0) return;
  constexpr int64_t kRoundsAtOnce = 16;  // that are launched before a look whether to go on
  const SlicWork work(plan, workspace);
  fill_bytes(workspace, 0, work.zeros, stream);
  scale_features(plan, work, features, not_finite, stream);
  start_at_seeds(plan, work, labels, stream);
  const bool recorded = is_capturing(stream);
  for (int64_t round = 0; round < plan.max_num_iter; ++round) {
    if (round > 0 && round % kRoundsAtOnce == 0 && !recorded && all_done(plan, work, stream)) break;
    voxel_round(plan, work, labels, round, stream);
  }
  if (plan.connected) connect(plan, work, labels, 0, stream);
}

}  // namespace vtcd::cuda
