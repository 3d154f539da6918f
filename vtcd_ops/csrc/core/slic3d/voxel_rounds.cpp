// SPDX-License-Identifier: MIT
#include "core/slic3d/voxel_rounds.h"

#include <algorithm>
#include <atomic>
#include <bit>

namespace vtcd {
namespace {

constexpr int64_t kChannelBlock = 8;  // channels added up together

double tie_of(const std::vector<Extent>& extents) {
  int64_t most = 0;
  for (const Extent& extent : extents) most = std::max(most, extent.count);
  return tie_bound(most);
}

}  // namespace

VoxelRounds::VoxelRounds(const FeatureRows& features, const Seeds& seeds, const FeatureScale& scale,
                         const SpatialScale& space, const ParallelFor& parallel_for,
                         int32_t* labels)
    : features_(features),
      seeds_(seeds),
      space_(space),
      filter_(features.num_channels(), scale, space, features.size()),
      parallel_for_(parallel_for),
      labels_(labels),
      clusters_(seeds.clusters(features.size())),
      extents_(seeds.count()),
      centers_(seeds.count() * features.num_channels()),
      float_centers_(centers_.size()),
      windows_(features.size()),
      reach_(clusters_.size()) {}

void VoxelRounds::run(int64_t max_num_iter, bool space_decides_first_round) {
  seeds_.write_labels(features_.size(), labels_);
  for (int64_t round = 0; round < max_num_iter; ++round) {
    const bool changed = (round == 0 && space_decides_first_round) || assign(round == 0);
    // The same labels give the same centers and so the same labels again.
    if (round + 1 == max_num_iter || (round > 0 && !changed)) break;
    update();
  }
}

bool VoxelRounds::assign(bool first) {
  const Shape3 size = features_.size();
  windows_.find(clusters_, parallel_for_);
  find_reach();
  const bool rounded = features_.interpolated() && !first;
  const VoxelRound round{
      first,  clusters_, extents_, centers_.data(), float_centers_.data(),
      space_, filter_,   reach_,   span_,           rounded ? tie_of(extents_) : 0};
  std::atomic<bool> changed = false;
  parallel_for_(0, size.t * size.h, 1, [&](int64_t begin, int64_t end) {
    RowLabeller labeller(features_, round);
    bool any_changed = false;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t z = row / size.h, y = row % size.h;
      any_changed |= labeller.label(z, y, windows_.clusters(z, y), labels_ + row * size.w);
    }
    if (any_changed) changed.store(true, std::memory_order_relaxed);
  });
  return changed;
}

// Two spans of the largest power of 2 that is no longer than the longest window cover each.
void VoxelRounds::find_reach() {
  int64_t longest = 1;
  for (const Cluster& cluster : clusters_)
    if (cluster.alive) longest = std::max(longest, cluster.end[2] - cluster.begin[2]);
  span_ = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(longest)));
  for (size_t k = 0; k < clusters_.size(); ++k) {
    const Cluster& cluster = clusters_[k];
    if (!cluster.alive) continue;
    const int64_t begin = cluster.begin[2], second = std::max(cluster.end[2] - span_, begin);
    reach_[k] = {cluster.position[0], cluster.position[1], static_cast<int32_t>(begin),
                 static_cast<int32_t>(second)};
  }
}

void VoxelRounds::update() {
  sum_extents();
  for (size_t k = 0; k < clusters_.size(); ++k)
    move_to_mean(clusters_[k], extents_[k], features_.size(), seeds_.reach);
  std::fill(centers_.begin(), centers_.end(), 0.0);
  const int64_t num_channels = features_.num_channels();
  const int64_t num_blocks = (num_channels + kChannelBlock - 1) / kChannelBlock;
  parallel_for_(0, num_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      sum_channels(block * kChannelBlock, std::min((block + 1) * kChannelBlock, num_channels));
  });
}

void VoxelRounds::sum_extents() {
  const Shape3 size = features_.size();
  std::fill(extents_.begin(), extents_.end(), Extent{});
  const int32_t* label = labels_;
  for (int64_t z = 0; z < size.t; ++z)
    for (int64_t y = 0; y < size.h; ++y, label += size.w)
      for (int64_t begin = 0; begin < size.w;) {
        int64_t end = begin + 1;
        while (end < size.w && label[end] == label[begin]) ++end;
        const int64_t count = end - begin;
        extents_[label[begin]].add({count, {z * count, y * count, (begin + end - 1) * count / 2}});
        begin = end;
      }
}

// The means of the channels [begin, end): voxels are added one after another, as the reference adds
// them.
void VoxelRounds::sum_channels(int64_t begin, int64_t end) {
  const Shape3 size = features_.size();
  const int64_t stride = features_.num_channels();
  std::vector<double> buffer(features_.buffer_size(end - begin));
  for (int64_t row = 0; row < size.t * size.h; ++row) {
    const int32_t* label = labels_ + row * size.w;
    const FeatureRow from = features_.row(row / size.h, row % size.h, begin, end, buffer.data());
    for (int64_t x = 0; x < size.w;) {
      int64_t last = x + 1;
      while (last < size.w && label[last] == label[x]) ++last;
      double sum[kChannelBlock];
      double* center = &centers_[label[x] * stride + begin];
      std::copy_n(center, end - begin, sum);
      for (; x < last; ++x)
        for (int64_t c = 0; c < end - begin; ++c) sum[c] += from.data[c * from.stride + x];
      std::copy_n(sum, end - begin, center);
    }
  }
  for (size_t k = 0; k < extents_.size(); ++k)
    for (int64_t c = begin; c < end && extents_[k].count > 0; ++c) {
      double& center = centers_[k * stride + c];
      center /= static_cast<double>(extents_[k].count);
      float_centers_[k * stride + c] = static_cast<float>(center * filter_.unit);
    }
}

}  // namespace vtcd
