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

// The lanes of `limit` that a distance does not exceed, without those from `end` on.
IndexPack within(const Pack& voxel, int64_t end, const Pack& distance, const Pack& limit) {
  return (voxel < static_cast<double>(end)) & (distance <= limit);
}

}  // namespace

RowLabeller::RowLabeller(const FeatureRows& features, const VoxelRound& round)
    : features_(features),
      round_(round),
      buffer_(features.buffer_size(features.num_channels())),
      voxel_(features.size().w + kPadding),
      square_(voxel_.size()),
      least_(voxel_.size()),
      second_(voxel_.size()),
      limit_(voxel_.size()),
      nearest_(voxel_.size()),
      before_(features.size().w),
      float_voxel_(voxel_.size()),
      float_limit_(voxel_.size()),
      float_row_(features.num_channels() * voxel_.size()),
      largest_limit_(voxel_.size()),
      span_(round.span) {
  std::iota(voxel_.begin(), voxel_.end(), 0.0);
  std::iota(float_voxel_.begin(), float_voxel_.end(), 0.0f);
}

bool RowLabeller::label(int64_t z, int64_t y, std::span<const int32_t> reaching, int32_t* labels) {
  const int64_t width = features_.size().w;
  start_row(z, y, labels);
  if (round_.first || round_.tie > 0) measure_squares();
  // Few channels are measured as soon as a cluster is ruled out by a look at them; not where they
  // are interpolated, as a voxel's cluster is then much nearer than most. A constant volume has
  // none.
  const int64_t num_channels = features_.num_channels();
  filtered_ =
      !round_.first && (num_channels > kFewChannels || (round_.tie > 0 && num_channels > 0));
  if (filtered_) {
    fill_filter();
    measure_own(labels);
    find_largest_limits();
    for (const int32_t k : reaching)
      if (in_reach(k)) measure(k);
  } else {
    for (const int32_t k : reaching) measure_all(k);
  }
  bool changed = false;
  for (int64_t x = 0; x < width; ++x) {
    changed |= labels[x] != nearest_[x];
    labels[x] = static_cast<int32_t>(nearest_[x]);
  }
  if (round_.tie == 0) return changed;
  changed = false;
  for (int64_t x = 0; x < width; ++x) {
    if (is_tie(x)) labels[x] = first_of_nearest(x, reaching);
    changed |= labels[x] != before_[x];
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
  std::fill(float_limit_.begin(), float_limit_.begin() + width,
            std::numeric_limits<float>::infinity());
  std::fill(float_limit_.begin() + width, float_limit_.end(), -1.0f);
  std::copy_n(labels, width, nearest_.begin());
  std::copy_n(labels, width, before_.begin());
}

void RowLabeller::measure_squares() {
  std::fill(square_.begin(), square_.end(), 0.0);
  for (int64_t c = 0; c < features_.num_channels(); ++c) {
    const double* from = row_.data + c * row_.stride;
    for (int64_t x = 0; x < features_.size().w; ++x)
      square_[x] = add_squared_difference(square_[x], from[x], 0.0);
  }
}

void RowLabeller::fill_filter() {
  const int64_t width = features_.size().w, stride = static_cast<int64_t>(voxel_.size());
  for (int64_t c = 0; c < features_.num_channels(); ++c) {
    const double* from = row_.data + c * row_.stride;
    float* to = &float_row_[c * stride];
    for (int64_t x = 0; x < width; ++x) to[x] = static_cast<float>(from[x] * round_.filter.unit);
  }
}

// A cluster's distances to the voxels from x on; in the first round its features are 0.
inline Pack RowLabeller::distances(int32_t k, double across, int64_t x) const {
  const SpatialScale& space = round_.space;
  const double position = round_.clusters[k].position[2];
  Pack color = {};
  if (round_.first) {
    color = vtcd::load(&square_[x]);
  } else {
    const int64_t num_channels = features_.num_channels();
    const double* center = round_.centers + k * num_channels;
    const double* from = row_.data + x;
    for (int64_t c = 0; c < num_channels; ++c, from += row_.stride)
      color = add_squared_difference(color, vtcd::load(from), center[c]);
  }
  const Pack spatial =
      (across + squared_offset(space.spacing[2], position, vtcd::load(&voxel_[x]))) * space.weight;
  return spatial + color;
}

// The nearest cluster, and the first of two that are equally near.
void RowLabeller::take(int32_t k, int64_t x, const Pack& distance) {
  const Pack least = vtcd::load(&least_[x]), second = vtcd::load(&second_[x]);
  const IndexPack nearest = load(&nearest_[x]);
  const IndexPack inside = vtcd::load(&voxel_[x]) < static_cast<double>(round_.clusters[k].end[2]);
  const IndexPack first = (distance < least) | ((distance == least) & (k < nearest));
  const IndexPack other = inside & ~((nearest == k) & (distance == least));
  const IndexPack taken = other & first & (distance < kFar);
  const Pack rival = taken ? least : distance;
  vtcd::store(&second_[x], other ? minimum(rival, second) : second);
  if (!any(taken)) return;
  store(&nearest_[x], taken ? IndexPack{} + k : nearest);
  if (filtered_) {
    for (int lane = 0; lane < kPackSize; ++lane)
      if (taken[lane]) set_nearest(x + lane, distance[lane]);
  } else {
    const Pack limit = distance + round_.tie * (2 * distance + vtcd::load(&square_[x]));
    vtcd::store(&least_[x], taken ? distance : least);
    vtcd::store(&limit_[x], taken ? limit : vtcd::load(&limit_[x]));
  }
}

inline void RowLabeller::measure_pack(int32_t k, double across, int64_t x) {
  const int64_t end = round_.clusters[k].end[2];
  if (x >= end) return;
  const Pack distance = distances(k, across, x);
  if (any(within(vtcd::load(&voxel_[x]), end, distance, vtcd::load(&limit_[x]))))
    take(k, x, distance);
}

// The distance of each voxel to the cluster that has it: few others are nearer.
void RowLabeller::measure_own(const int32_t* labels) {
  const int64_t width = features_.size().w;
  for (int64_t begin = 0; begin < width;) {
    const int32_t k = labels[begin];
    int64_t end = begin + 1;
    while (end < width && labels[end] == k) ++end;
    const Cluster& own = round_.clusters[k];
    const bool reached =
        own.alive && z_ >= own.begin[0] && z_ < own.end[0] && y_ >= own.begin[1] && y_ < own.end[1];
    const int64_t last = reached ? std::min(end, own.end[2]) : begin;
    const double across = squared_offsets(own);
    int64_t x = std::max(begin, own.begin[2]);
    if (last - x < kShortRun) {
      for (; x < last; ++x) set_nearest(x, own_distance(k, across, x));
    }
    for (; x < last; x += kPackSize) {
      const Pack found = distances(k, across, x);
      for (int64_t i = x; i < std::min(x + kPackSize, last); ++i) set_nearest(i, found[i - x]);
    }
    begin = end;
  }
}

// The distance of a single voxel, in the same order of operations.
double RowLabeller::own_distance(int32_t k, double across, int64_t x) const {
  const SpatialScale& space = round_.space;
  const int64_t num_channels = features_.num_channels();
  const double* center = round_.centers + k * num_channels;
  const double* from = row_.data + x;
  const double position = round_.clusters[k].position[2];
  double color = 0;
  for (int64_t c = 0; c < num_channels; ++c, from += row_.stride)
    color = add_squared_difference(color, *from, center[c]);
  return (across + squared_offset(space.spacing[2], position, voxel_[x])) * space.weight + color;
}

void RowLabeller::set_nearest(int64_t x, double distance) {
  if (!(distance < kFar)) return;
  least_[x] = distance;
  limit_[x] = tie_limit(distance, round_.tie, square_[x]);
  float_limit_[x] = round_.filter.limit_of(limit_[x]);
}

double RowLabeller::squared_offsets(const Cluster& cluster) const {
  const SpatialScale& space = round_.space;
  return squared_offset(space.spacing[0], cluster.position[0], static_cast<double>(z_)) +
         squared_offset(space.spacing[1], cluster.position[1], static_cast<double>(y_));
}

void RowLabeller::find_largest_limits() {
  const int64_t width = features_.size().w;
  std::copy_n(limit_.begin(), width, largest_limit_.begin());
  for (int64_t covered = 1; covered < span_; covered *= 2)
    for (int64_t x = 0; x + covered < width; ++x)
      largest_limit_[x] = std::max(largest_limit_[x], largest_limit_[x + covered]);
}

// Whether a cluster is not so far in z and y alone that it matters to no voxel of its window.
// Limits only fall while the row is looked at.
inline bool RowLabeller::in_reach(int32_t k) const {
  const RowReach& reach = round_.reach[k];
  const SpatialScale& space = round_.space;
  const double across =
      squared_offset(space.spacing[0], reach.position_z, static_cast<double>(z_)) +
      squared_offset(space.spacing[1], reach.position_y, static_cast<double>(y_));
  const double limit =
      std::max(largest_limit_[reach.first_begin], largest_limit_[reach.second_begin]);
  return across * space.weight <= limit;
}

void RowLabeller::measure_all(int32_t k) {
  const double across = squared_offsets(round_.clusters[k]);
  for (int64_t x = round_.clusters[k].begin[2]; x < round_.clusters[k].end[2]; x += kPackSize)
    measure_pack(k, across, x);
}

void RowLabeller::measure(int32_t k) {
  const Cluster& cluster = round_.clusters[k];
  const double across = squared_offsets(cluster);
  int64_t x = cluster.begin[2];
  for (; cluster.end[2] - x > kFloatPackSize; x += 2 * kFloatPackSize) filter<2>(k, across, x);
  if (x < cluster.end[2]) filter<1>(k, across, x);
}

// Measures those voxels exactly for which single precision cannot rule the cluster out.
template <int Packs>
void RowLabeller::filter(int32_t k, double across, int64_t begin) {
  const Cluster& cluster = round_.clusters[k];
  const DistanceFilter& filter = round_.filter;
  const int64_t num_channels = features_.num_channels();
  const int64_t stride = static_cast<int64_t>(voxel_.size());
  const float step = static_cast<float>(filter.step[2]);
  const float position = static_cast<float>(cluster.position[2]);
  const float aside = static_cast<float>(across * round_.space.weight * filter.unit * filter.unit);
  FloatPack sum[Packs];
  for (int p = 0; p < Packs; ++p) {
    const FloatPack offset =
        step * (position - vtcd::load(&float_voxel_[begin + p * kFloatPackSize]));
    sum[p] = multiply_add(offset, offset, broadcast(aside));
  }
  const float* center = round_.float_centers + k * num_channels;
  const float* from = &float_row_[begin];
  for (int64_t first = 0;; first += kChannelBlock) {
    IntPack near = {};
    for (int p = 0; p < Packs; ++p)
      near |= sum[p] <= vtcd::load(&float_limit_[begin + p * kFloatPackSize]);
    if (!any(near)) return;
    if (first >= num_channels) break;
    const int64_t last = std::min(first + kChannelBlock, num_channels);
    for (int64_t c = first; c < last; ++c, from += stride)
      for (int p = 0; p < Packs; ++p) {
        const FloatPack difference = vtcd::load(from + p * kFloatPackSize) - center[c];
        sum[p] = multiply_add(difference, difference, sum[p]);
      }
  }
  for (int p = 0; p < Packs; ++p) {
    const int64_t x = begin + p * kFloatPackSize;
    const IntPack near = sum[p] <= vtcd::load(&float_limit_[x]);
    if (any(low_half(near))) measure_pack(k, across, x);
    if (any(high_half(near))) measure_pack(k, across, x + kPackSize);
  }
}

bool RowLabeller::is_tie(int64_t x) const {
  return round_.tie > 0 && second_[x] < kFar && second_[x] <= limit_[x];
}

// The first cluster that is as near to a voxel as the nearest, up to what rounding can do.
int32_t RowLabeller::first_of_nearest(int64_t x, std::span<const int32_t> reaching) const {
  constexpr double kRoundoff = std::numeric_limits<double>::epsilon() / 2;
  const SpatialScale& space = round_.space;
  const int64_t num_channels = features_.num_channels();
  struct OfCluster {
    int32_t cluster;
    Measured measured;
  };
  std::vector<OfCluster> found;
  const double voxel[3] = {static_cast<double>(z_), static_cast<double>(y_),
                           static_cast<double>(x)};
  for (const int32_t k : reaching) {
    const Cluster& cluster = round_.clusters[k];
    if (!cluster.has(2, x)) continue;
    double color = 0, error = 0;
    const double count = static_cast<double>(round_.extents[k].count);
    for (int64_t c = 0; c < num_channels; ++c) {
      const double feature = row_.data[c * row_.stride + x];
      const double center = round_.first ? 0.0 : round_.centers[k * num_channels + c];
      color = add_squared_difference(color, feature, center);
      error += squared_difference_error(feature, center, count);
    }
    found.push_back({k,
                     {spatial_distance(space, cluster, voxel) + color,
                      round_.first ? 0.0 : kRoundoff * error}});
  }
  const OfCluster& nearest =
      *std::min_element(found.begin(), found.end(), [](const OfCluster& a, const OfCluster& b) {
        return a.measured.distance < b.measured.distance;
      });
  for (const OfCluster& each : found)
    if (each.measured.as_near_as(nearest.measured)) return each.cluster;
  return nearest.cluster;
}

}  // namespace vtcd
