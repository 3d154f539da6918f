// SPDX-License-Identifier: MIT
#include "core/slic3d/row_labeller.h"

#include <algorithm>
#include <numeric>

namespace vtcd {
namespace {

constexpr double kFar = std::numeric_limits<double>::max();

IndexPack load(const int64_t* from) {
  IndexPack pack;
  std::memcpy(&pack, from, sizeof pack);
  return pack;
}

void store(int64_t* to, const IndexPack& pack) { std::memcpy(to, &pack, sizeof pack); }

Pack minimum(const Pack& a, const Pack& b) { return a < b ? a : b; }

constexpr int kTilePacks = static_cast<int>(FeatureRows::kReadAhead) / kPackSize;

}  // namespace

RowLabeller::RowLabeller(const FeatureRows& features, const VoxelRound& round)
    : features_(features),
      round_(round),
      buffer_(features.buffer_size(features.num_channels())),
      voxel_(features.size().w + FeatureRows::kReadAhead),
      square_(voxel_.size()),
      least_(voxel_.size()),
      second_(voxel_.size()),
      limit_(voxel_.size()),
      nearest_(voxel_.size()) {
  std::iota(voxel_.begin(), voxel_.end(), 0.0);
}

bool RowLabeller::label(int64_t z, int64_t y, std::span<const int32_t> reaching, int32_t* labels) {
  start_row(z, y, labels);
  // A cluster of few channels is measured as soon as it is ruled out.
  if (!round_.first && features_.num_channels() > kChannelBlock) measure_own(labels);
  for (const int32_t k : reaching) measure(k);
  bool changed = false;
  for (int64_t x = 0; x < features_.size().w; ++x) {
    const int32_t found =
        is_tie(x) ? first_of_nearest(x, reaching) : static_cast<int32_t>(nearest_[x]);
    changed |= labels[x] != found;
    labels[x] = found;
  }
  return changed;
}

void RowLabeller::start_row(int64_t z, int64_t y, const int32_t* labels) {
  const int64_t width = features_.size().w;
  z_ = z;
  y_ = y;
  row_ = features_.row(z, y, 0, features_.num_channels(), buffer_.data());
  std::fill(least_.begin(), least_.end(), kFar);
  std::fill(second_.begin(), second_.end(), kFar);
  std::fill(limit_.begin(), limit_.begin() + width, kFar);
  std::fill(limit_.begin() + width, limit_.end(), -1.0);  // no voxels
  std::copy_n(labels, width, nearest_.begin());
  std::fill(square_.begin(), square_.end(), 0.0);
  if (!round_.first && round_.tie == 0) return;
  for (int64_t c = 0; c < features_.num_channels(); ++c) {
    const double* from = row_.data + c * row_.stride;
    for (int64_t x = 0; x < width; ++x)
      square_[x] = add_squared_difference(square_[x], from[x], 0.0);
  }
}

// Finds a cluster's distances to the voxels from `begin` on; where kPrune, returns false as soon as
// none of those inside can matter: a sum of squares only grows, rounded or not.
template <int Packs, bool kPrune>
[[gnu::always_inline]] inline bool RowLabeller::distances(int32_t k, double across, int64_t begin,
                                                          const IndexPack* inside,
                                                          Pack* distance) const {
  const Cluster& cluster = round_.clusters[k];
  const SpatialScale& space = round_.space;
  Pack spatial[Packs], color[Packs] = {};
  for (int p = 0; p < Packs; ++p) {
    const Pack x = vtcd::load(&voxel_[begin + p * kPackSize]);
    spatial[p] = (across + squared_offset(space.spacing[2], cluster.position[2], x)) * space.weight;
  }
  auto matters = [&] {
    IndexPack some = {};
    for (int p = 0; p < Packs; ++p)
      some |= inside[p] & (spatial[p] + color[p] <= vtcd::load(&limit_[begin + p * kPackSize]));
    return any(some);
  };
  if (kPrune && !matters()) return false;
  if (round_.first) {
    for (int p = 0; p < Packs; ++p) color[p] = vtcd::load(&square_[begin + p * kPackSize]);
  } else {
    const int64_t num_channels = features_.num_channels();
    const double* center = round_.centers + k * num_channels;
    const double* from = row_.data + begin;
    for (int64_t first = 0; first < num_channels; first += kChannelBlock) {
      const int64_t last = std::min(first + kChannelBlock, num_channels);
      for (int64_t c = first; c < last; ++c, from += row_.stride)
        for (int p = 0; p < Packs; ++p)
          color[p] = add_squared_difference(color[p], vtcd::load(from + p * kPackSize), center[c]);
      if (kPrune && last < num_channels && !matters()) return false;
    }
  }
  for (int p = 0; p < Packs; ++p) distance[p] = spatial[p] + color[p];
  return true;
}

// The distance of each voxel to the cluster that has it: few others are nearer, and most of those
// are told by a part of the channels.
void RowLabeller::measure_own(const int32_t* labels) {
  const int64_t width = features_.size().w;
  for (int64_t begin = 0; begin < width;) {
    int64_t end = begin + 1;
    while (end < width && labels[end] == labels[begin]) ++end;
    const Cluster& own = round_.clusters[labels[begin]];
    const bool reached =
        own.alive && z_ >= own.begin[0] && z_ < own.end[0] && y_ >= own.begin[1] && y_ < own.end[1];
    const int64_t last = reached ? std::min(end, own.end[2]) : begin;
    const double across = squared_offsets(own);
    for (int64_t x = std::max(begin, own.begin[2]); x < last; x += kPackSize) {
      Pack found;
      distances<1, false>(labels[begin], across, x, nullptr, &found);
      for (int64_t i = x; i < std::min(x + kPackSize, last); ++i) {
        const double distance = found[i - x];
        if (!(distance < kFar)) continue;
        least_[i] = distance;
        limit_[i] = distance + round_.tie * (2 * distance + square_[i]);
      }
    }
    begin = end;
  }
}

double RowLabeller::squared_offsets(const Cluster& cluster) const {
  const SpatialScale& space = round_.space;
  return squared_offset(space.spacing[0], cluster.position[0], static_cast<double>(z_)) +
         squared_offset(space.spacing[1], cluster.position[1], static_cast<double>(y_));
}

void RowLabeller::measure(int32_t k) {
  const Cluster& cluster = round_.clusters[k];
  const double across = squared_offsets(cluster);
  int64_t x = cluster.begin[2];
  const int64_t end = cluster.end[2];
  for (; end - x > FeatureRows::kReadAhead / 2; x += FeatureRows::kReadAhead)
    measure_tile<kTilePacks>(k, across, x, end);
  if (x < end) measure_tile<kTilePacks / 2>(k, across, x, end);
}

template <int Packs>
void RowLabeller::measure_tile(int32_t k, double across, int64_t begin, int64_t end) {
  IndexPack inside[Packs];
  for (int p = 0; p < Packs; ++p)
    inside[p] = vtcd::load(&voxel_[begin + p * kPackSize]) < static_cast<double>(end);
  Pack distance[Packs];
  if (!distances<Packs, true>(k, across, begin, inside, distance)) return;
  for (int p = 0; p < Packs; ++p) {
    const int64_t x = begin + p * kPackSize;
    const IndexPack near = inside[p] & (distance[p] <= vtcd::load(&limit_[x]));
    if (any(near)) take(k, x, inside[p], distance[p]);
  }
}

// The nearest cluster, and the first of two that are equally near.
void RowLabeller::take(int32_t k, int64_t x, const IndexPack& inside, const Pack& distance) {
  const Pack least = vtcd::load(&least_[x]), second = vtcd::load(&second_[x]);
  const IndexPack nearest = load(&nearest_[x]);
  const IndexPack first = (distance < least) | ((distance == least) & (k < nearest));
  const IndexPack other = inside & ~((nearest == k) & (distance == least));
  const IndexPack taken = other & first & (distance < kFar);
  const Pack rival = taken ? least : distance;
  const Pack limit = distance + round_.tie * (2 * distance + vtcd::load(&square_[x]));
  vtcd::store(&second_[x], other ? minimum(rival, second) : second);
  vtcd::store(&least_[x], taken ? distance : least);
  vtcd::store(&limit_[x], taken ? limit : vtcd::load(&limit_[x]));
  store(&nearest_[x], taken ? IndexPack{} + k : nearest);
}

bool RowLabeller::is_tie(int64_t x) const {
  return round_.tie > 0 && second_[x] < kFar && second_[x] <= limit_[x];
}

// The first cluster that is as near to a voxel as the nearest, up to what rounding can do.
int32_t RowLabeller::first_of_nearest(int64_t x, std::span<const int32_t> reaching) const {
  constexpr double kRoundoff = std::numeric_limits<double>::epsilon() / 2;
  const SpatialScale& space = round_.space;
  const int64_t num_channels = features_.num_channels();
  struct Measured {
    int32_t cluster;
    double distance, error;
  };
  std::vector<Measured> measured;
  const double voxel[3] = {static_cast<double>(z_), static_cast<double>(y_),
                           static_cast<double>(x)};
  for (const int32_t k : reaching) {
    const Cluster& cluster = round_.clusters[k];
    if (x < cluster.begin[2] || x >= cluster.end[2]) continue;
    double offsets = 0, color = 0, error = 0;
    for (int axis = 0; axis < 3; ++axis)
      offsets += squared_offset(space.spacing[axis], cluster.position[axis], voxel[axis]);
    const double count = static_cast<double>(round_.extents[k].count);
    for (int64_t c = 0; c < num_channels; ++c) {
      const double feature = row_.data[c * row_.stride + x];
      const double center = round_.first ? 0.0 : round_.centers[k * num_channels + c];
      color = add_squared_difference(color, feature, center);
      error += squared_difference_error(feature, center, count);
    }
    measured.push_back({k, offsets * space.weight + color, round_.first ? 0.0 : kRoundoff * error});
  }
  const Measured& nearest = *std::min_element(
      measured.begin(), measured.end(),
      [](const Measured& a, const Measured& b) { return a.distance < b.distance; });
  for (const Measured& each : measured)
    if (each.distance - each.error <= nearest.distance + nearest.error) return each.cluster;
  return nearest.cluster;
}

}  // namespace vtcd
