// SPDX-License-Identifier: MIT
#include "core/slic3d/corners.h"

#include <algorithm>
#include <bit>

namespace vtcd {
namespace {

enum class Overlap { kNone, kSome, kAll };

Overlap overlap(const Cluster& cluster, int axis, const AxisCell& cell) {
  const int64_t begin = cluster.begin[axis], end = cluster.end[axis];
  if (!cluster.alive || cell.first >= end || cell.first + cell.count <= begin)
    return Overlap::kNone;
  return cell.first >= begin && cell.first + cell.count <= end ? Overlap::kAll : Overlap::kSome;
}

}  // namespace

Corners::Corners(const CellGrid& cells, int64_t num_clusters, const SpatialWeights& spatial)
    : cells_(cells),
      num_clusters_(num_clusters),
      spatial_(spatial),
      padded_cells_(padded_floats(static_cast<int64_t>(cells.x.size()))),
      first_weight_(padded_cells_),
      last_weight_(padded_cells_),
      not_all_(num_clusters * padded_cells_),
      not_any_(num_clusters * padded_cells_),
      x_distance_(num_clusters * 2 * padded_cells_) {
  for (size_t cell = 0; cell < cells.x.size(); ++cell) {
    first_weight_[cell] = static_cast<float>(cells.x[cell].weight);
    last_weight_[cell] = static_cast<float>(cells.x[cell].weight_at(cells.x[cell].count - 1));
    const int64_t lower = static_cast<int64_t>(cell);
    regular_ &= cells.x[cell].lower == lower && cells.x[cell].upper == lower + 1;
  }
}

void Corners::start_round(const Round& round, const float* scores, int64_t num_scores,
                          const Margins& margins) {
  round_ = &round;
  scores_ = scores;
  num_scores_ = num_scores;
  margins_ = margins;
  for (int64_t k = 0; k < num_clusters_; ++k) {
    const Cluster& cluster = round.clusters[k];
    for (size_t cell = 0; cell < cells_.x.size(); ++cell) {
      const Overlap found = overlap(cluster, 2, cells_.x[cell]);
      not_all_[k * padded_cells_ + cell] = found == Overlap::kAll ? 0 : kFar;
      not_any_[k * padded_cells_ + cell] = found == Overlap::kNone ? kFar : 0;
      const int64_t first = cells_.x[cell].first, last = first + cells_.x[cell].count - 1;
      float* distance = &x_distance_[k * 2 * padded_cells_ + cell];
      distance[0] = static_cast<float>(spatial_.affine_distance(cluster, 2, first));
      distance[padded_cells_] = static_cast<float>(spatial_.affine_distance(cluster, 2, last));
    }
  }
}

CornerRow::CornerRow(const Corners& corners)
    : corners_(corners),
      padded_(corners.padded_cells_),
      padded_plane_(padded_floats(corners.cells_.grid.h * corners.cells_.grid.w) +
                    kFloatRowAlignment),
      layer_(2 * corners.num_clusters_ * padded_plane_),
      corners_row_(corners.num_clusters_ * 8 * padded_),
      nearest_(padded_),
      num_candidates_(padded_),
      is_candidate_((corners.num_clusters_ + 31) / 32 * padded_) {}

void CornerRow::start_layer(const AxisCell& z) {
  z_ = z;
  num_z_ = z.count > 1 ? 2 : 1;
  const int64_t tokens = corners_.cells_.grid.h * corners_.cells_.grid.w;
  for (int64_t k = 0; k < corners_.num_clusters_; ++k) {
    if (overlap(corners_.clusters()[k], 0, z) == Overlap::kNone) continue;
    const float* lower = corners_.scores_ + k * corners_.num_scores_ + z.lower * tokens;
    const float* upper = corners_.scores_ + k * corners_.num_scores_ + z.upper * tokens;
    for (int end_z = 0; end_z < num_z_; ++end_z) {
      const float weight = static_cast<float>(z.weight_at(end_z * (z.count - 1)));
      float* to = &layer_[(end_z * corners_.num_clusters_ + k) * padded_plane_];
      for (int64_t i = 0; i < tokens; ++i) to[i] = lower[i] + weight * (upper[i] - lower[i]);
    }
  }
}

void CornerRow::start_row(const AxisCell& y) {
  y_ = y;
  find_active();
  for (const Active& active : active_)
    for (int end_z = 0; end_z < num_z_; ++end_z) interpolate_row(active, end_z);
  const int64_t num_cells = static_cast<int64_t>(corners_.cells_.x.size());
  for (int64_t begin = 0; begin < num_cells; begin += kFloatPackSize)
    num_z_ > 1 ? find_candidates<8>(begin) : find_candidates<4>(begin);
}

// Finds a cluster's distances at the corners of the cells of the row, at one end of z.
void CornerRow::interpolate_row(const Active& active, int end_z) {
  const auto& x_cells = corners_.cells_.x;
  const int64_t num_cells = static_cast<int64_t>(x_cells.size());
  const int64_t k = active.cluster, width = corners_.cells_.grid.w;
  const Cluster& cluster = corners_.clusters()[k];
  const float* plane = &layer_[(end_z * corners_.num_clusters_ + k) * padded_plane_];
  const float* rows[2] = {plane + y_.lower * width, plane + y_.upper * width};
  const double z_distance =
      corners_.spatial_.affine_distance(cluster, 0, z_.first + end_z * (z_.count - 1));
  const float* x_distance = &corners_.x_distance_[k * 2 * padded_];
  for (int end_y = 0; end_y < 2; ++end_y) {
    const int64_t offset = end_y * (y_.count - 1);
    const float weight = static_cast<float>(y_.weight_at(offset));
    const FloatPack weights = broadcast(weight);
    const FloatPack spatial = broadcast(static_cast<float>(
        z_distance + corners_.spatial_.affine_distance(cluster, 1, y_.first + offset)));
    float* to = &corners_row_[((k * 2 + end_z) * 2 + end_y) * 2 * padded_];
    for (int64_t cell = 0; cell < num_cells; cell += kFloatPackSize) {
      FloatPack lower, upper;
      if (corners_.regular_) {
        lower = lerp(load(rows[0] + cell), load(rows[1] + cell), weights);
        upper = lerp(load(rows[0] + cell + 1), load(rows[1] + cell + 1), weights);
      } else {
        for (int i = 0; i < kFloatPackSize; ++i) {
          const AxisCell& x = x_cells[std::min(cell + i, num_cells - 1)];
          lower[i] = rows[0][x.lower] + weight * (rows[1][x.lower] - rows[0][x.lower]);
          upper[i] = rows[0][x.upper] + weight * (rows[1][x.upper] - rows[0][x.upper]);
        }
      }
      store(to + cell, lerp(lower, upper, load(&corners_.first_weight_[cell])) +
                           (load(x_distance + cell) + spatial));
      store(to + padded_ + cell, lerp(lower, upper, load(&corners_.last_weight_[cell])) +
                                     (load(x_distance + padded_ + cell) + spatial));
    }
  }
}

void CornerRow::find_active() {
  active_.clear();
  for (int64_t k = 0; k < corners_.num_clusters_; ++k) {
    const Cluster& cluster = corners_.clusters()[k];
    const Overlap in_z = overlap(cluster, 0, z_), in_y = overlap(cluster, 1, y_);
    if (in_z == Overlap::kNone || in_y == Overlap::kNone) continue;
    active_.push_back({static_cast<int32_t>(k), in_z == Overlap::kAll && in_y == Overlap::kAll});
  }
}

// For the cells [begin, begin + kFloatPackSize), one in each lane.
template <int NumCorners>
void CornerRow::find_candidates(int64_t begin) {
  FloatPack best[NumCorners], smallest = broadcast(Corners::kFar);
  for (FloatPack& value : best) value = smallest;
  IntPack nearest = broadcast(-1);
  for (const Active& active : active_) {
    if (!active.has_all) continue;
    const float* from = corner(active.cluster, 0, 0) + begin;
    FloatPack value[NumCorners], total = load(&corners_.not_all_[active.cluster * padded_ + begin]);
    for (int i = 0; i < NumCorners; ++i) value[i] = load(from + i * padded_);
    for (int i = 0; i < NumCorners; ++i) total += value[i];
    const IntPack nearer = total < smallest;
    smallest = nearer ? total : smallest;
    nearest = nearer ? broadcast(active.cluster) : nearest;
    for (int i = 0; i < NumCorners; ++i) best[i] = nearer ? value[i] : best[i];
  }
  IntPack num_candidates = {}, bits = {};
  const size_t num_active = active_.size();
  for (size_t a = 0; a < num_active; ++a) {
    const float* from = corner(active_[a].cluster, 0, 0) + begin;
    FloatPack least = load(from) - best[0];
    for (int i = 1; i < NumCorners; ++i) least = minimum(least, load(from + i * padded_) - best[i]);
    least += load(&corners_.not_any_[active_[a].cluster * padded_ + begin]);
    const IntPack possible = least <= corners_.margins_.corner;
    num_candidates -= possible;
    bits |= possible & (int32_t{1} << (a % 32));
    if (a % 32 == 31 || a + 1 == num_active) {
      std::memcpy(&is_candidate_[a / 32 * padded_ + begin], &bits, sizeof bits);
      bits = IntPack{};
    }
  }
  std::memcpy(&nearest_[begin], &nearest, sizeof nearest);
  std::memcpy(&num_candidates_[begin], &num_candidates, sizeof num_candidates);
}

void CornerRow::candidates(int64_t cell, std::vector<Candidate>& found) const {
  found.resize(num_candidates_[cell]);
  auto next = found.begin();
  for (size_t first = 0; first < active_.size(); first += 32) {
    uint32_t bits = static_cast<uint32_t>(is_candidate_[first / 32 * padded_ + cell]);
    for (; bits != 0; bits &= bits - 1, ++next) {
      const Active& active = active_[first + std::countr_zero(bits)];
      next->cluster = active.cluster;
      next->clipped = !active.has_all || corners_.not_all_[active.cluster * padded_ + cell] > 0;
      const float* from = corner(active.cluster, 0, 0) + cell;
      const int64_t to_last_plane = num_z_ > 1 ? 4 * padded_ : 0;
      for (int i = 0; i < 8; ++i)
        next->corner[i / 4][i / 2 % 2][i % 2] = from[i % 4 * padded_ + i / 4 * to_last_plane];
    }
  }
  if (found.size() > 2 && nearest_[cell] >= 0) drop_beaten(nearest_[cell], found);
}

// Drops candidates that another one beats at all corners: not the nearest at the middle, which
// beats none of them there and which, as the sum of its distances is the least, none beats.
void CornerRow::drop_beaten(int32_t nearest, std::vector<Candidate>& found) const {
  const float margin = corners_.margins_.corner;
  auto beats = [&](const Candidate& winner, const Candidate& loser) {
    return all_larger(&loser.corner[0][0][0], &winner.corner[0][0][0], margin);
  };
  size_t kept = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    bool beaten = false;
    for (size_t j = 0; j < found.size() && found[i].cluster != nearest; ++j)
      beaten |= !found[j].clipped && found[j].cluster != nearest && beats(found[j], found[i]);
    if (!beaten) found[kept++] = found[i];
  }
  found.resize(kept);
}

}  // namespace vtcd
