// SPDX-License-Identifier: MIT
// slic3d on the device, all volumes of a batch in each launch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cuda/slic3d_centers.cuh"
#include "cuda/slic3d_connectivity.cuh"
#include "cuda/slic3d_features.cuh"
#include "cuda/slic3d_update.cuh"

namespace vtcd::cuda {

// Whether to look if further rounds are needed, which waits for those so far.
inline bool is_time_to_look(int64_t round, bool recorded) {
  constexpr int64_t kRoundsAtOnce = 16;
  return round > 0 && round % kRoundsAtOnce == 0 && !recorded;
}

// Whether further rounds would change no volume.
inline bool all_done(const SlicPlan& plan, const SlicWork& work, int32_t path, Stream stream) {
  std::vector<VolumeState> states(plan.batch);
  copy_to_host(states.data(), work.state, states.size() * sizeof(VolumeState), stream);
  return std::all_of(states.begin(), states.end(), [path](const VolumeState& state) {
    return state.done != 0 || state.path != path;
  });
}

// All rounds of those volumes that are labelled voxel by voxel, again after they were labelled by
// cells, and their fragments.
inline void label_by_voxels(const SlicPlan& plan, const SlicWork& work, int32_t* labels,
                            bool recorded, Stream stream) {
  if (SlicWork::has_cells(plan)) start_at_seeds(plan, work, labels, true, stream);
  for (int64_t round = 0; round < plan.max_num_iter; ++round) {
    if (is_time_to_look(round, recorded) && all_done(plan, work, kByVoxels, stream)) break;
    voxel_round(plan, work, labels, round, stream);
  }
  if (plan.connected) connect(plan, work, labels, kByVoxels, stream);
}

inline void label_by_cells(const SlicPlan& plan, const SlicWork& work, int32_t* labels,
                           bool recorded, Stream stream) {
  start_cells(plan, work, stream);
  for (int64_t round = 1; round < plan.max_num_iter; ++round) {
    if (is_time_to_look(round, recorded) && all_done(plan, work, kByCells, stream)) break;
    cell_round(plan, work, labels, round, stream);
  }
  if (plan.connected) connect(plan, work, labels, kByCells, stream);
}

template <typename Scalar>
bool slic3d(const SlicPlan& plan, const Scalar* features, void* workspace, int32_t* labels,
            Stream stream) {
  if (plan.batch == 0) return true;
  const SlicWork work(plan, workspace);
  const bool recorded = is_capturing(stream);
  fill_bytes(workspace, 0, work.zeros, stream);
  scale_features(plan, work, features, stream);
  start_at_seeds(plan, work, labels, false, stream);
  if (SlicWork::has_cells(plan)) label_by_cells(plan, work, labels, recorded, stream);
  int64_t found[2] = {0, 1};
  if (!recorded) copy_to_host(found, work.found, sizeof(found), stream);
  if (found[1] != 0) label_by_voxels(plan, work, labels, recorded, stream);
  return found[0] == 0;
}

}  // namespace vtcd::cuda
