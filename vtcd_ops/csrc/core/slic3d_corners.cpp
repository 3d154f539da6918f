// SPDX-License-Identifier: MIT
#include "core/slic3d_corners.h"

#include <limits>

namespace vtcd {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

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
      padded_cells_(padded(static_cast<int64_t>(cells.x.size()))),
      first_weight_(padded_cells_),
      last_weight_(padded_cells_),
      expanded_(cells.grid.t * cells.grid.h * num_clusters * 2 * padded_cells_),
      not_all_(num_clusters * padded_cells_),
      not_any_(num_clusters * padded_cells_),
      x_distance_(num_clusters * 2 * padded_cells_) {
  for (size_t cell = 0; cell < cells.x.size(); ++cell) {
    first_weight_[cell] = cells.x[cell].weight;
    last_weight_[cell] = cells.x[cell].weight_at(cells.x[cell].count - 1);
  }
}

void Corners::start_round(const std::vector<Cluster>& clusters, const RowMask& wanted,
                          const double* scores, int64_t row_length, double margin,
                          const ParallelFor& parallel_for) {
  clusters_ = &clusters;
  margin_ = margin;
  for (int64_t k = 0; k < num_clusters_; ++k) {
    for (size_t cell = 0; cell < cells_.x.size(); ++cell) {
      const Overlap found = overlap(clusters[k], 2, cells_.x[cell]);
      not_all_[k * padded_cells_ + cell] = found == Overlap::kAll ? 0 : kInfinity;
      not_any_[k * padded_cells_ + cell] = found == Overlap::kNone ? kInfinity : 0;
      const int64_t first = cells_.x[cell].first, last = first + cells_.x[cell].count - 1;
      double* distance = &x_distance_[k * 2 * padded_cells_ + cell];
      distance[0] = spatial_.distance(clusters[k], 2, first);
      distance[padded_cells_] = spatial_.distance(clusters[k], 2, last);
    }
  }
  parallel_for(0, cells_.grid.t * cells_.grid.h, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * num_clusters_; i < end * num_clusters_; ++i)
      if (wanted[i])
        expand_row(scores + i * row_length, i % num_clusters_, &expanded_[i * 2 * padded_cells_]);
  });
}

void Corners::expand_row(const double* scores, int64_t cluster, double* expanded) const {
  double* lower = expanded;
  double* upper = expanded + padded_cells_;
  for (size_t cell = 0; cell < cells_.x.size(); ++cell) {
    lower[cell] = scores[cells_.x[cell].lower];
    upper[cell] = scores[cells_.x[cell].upper];
  }
  const double* first_distance = &x_distance_[cluster * 2 * padded_cells_];
  const double* last_distance = first_distance + padded_cells_;
  for (int64_t cell = 0; cell < padded_cells_; cell += kPackSize) {
    const Pack low = load(lower + cell), step = load(upper + cell) - low;
    store(lower + cell, low + load(&first_weight_[cell]) * step + load(first_distance + cell));
    store(upper + cell, low + load(&last_weight_[cell]) * step + load(last_distance + cell));
  }
}

CornerRow::CornerRow(const Corners& corners)
    : corners_(corners),
      padded_(corners.padded_cells_),
      layer_(2 * corners.cells_.grid.h * corners.num_clusters_ * 2 * padded_),
      corners_row_(corners.num_clusters_ * 8 * padded_),
      nearest_(padded_),
      num_candidates_(padded_),
      is_candidate_(corners.num_clusters_ * padded_) {}

void CornerRow::start_layer(const AxisCell& z) {
  z_ = z;
  const int64_t num_clusters = corners_.num_clusters_, num_rows = corners_.cells_.grid.h;
  const int64_t length = 2 * padded_;
  for (int64_t k = 0; k < num_clusters; ++k) {
    if (overlap(corners_.clusters()[k], 0, z) == Overlap::kNone) continue;
    for (int64_t h = 0; h < num_rows; ++h) {
      const double* lower =
          &corners_.expanded_[((z.lower * num_rows + h) * num_clusters + k) * length];
      const double* upper =
          &corners_.expanded_[((z.upper * num_rows + h) * num_clusters + k) * length];
      double* first = &layer_[(h * num_clusters + k) * length];
      double* last = first + num_rows * num_clusters * length;
      const double last_weight = z.weight_at(z.count - 1);
      for (int64_t i = 0; i < length; i += kPackSize) {
        const Pack a = load(lower + i), b = load(upper + i);
        store(first + i, lerp(a, b, z.weight));
        store(last + i, lerp(a, b, last_weight));
      }
    }
  }
}

void CornerRow::start_row(const AxisCell& y) {
  y_ = y;
  const int64_t num_clusters = corners_.num_clusters_, num_rows = corners_.cells_.grid.h;
  const int64_t length = 2 * padded_;
  active_.clear();
  for (int64_t k = 0; k < num_clusters; ++k) {
    const Cluster& cluster = corners_.clusters()[k];
    const Overlap in_z = overlap(cluster, 0, z_), in_y = overlap(cluster, 1, y);
    if (in_z == Overlap::kNone || in_y == Overlap::kNone) continue;
    active_.push_back({static_cast<int32_t>(k), in_z == Overlap::kAll && in_y == Overlap::kAll});
    for (int end_z = 0; end_z < 2; ++end_z) {
      const int64_t plane = end_z * num_rows;
      const double* lower = &layer_[((plane + y.lower) * num_clusters + k) * length];
      const double* upper = &layer_[((plane + y.upper) * num_clusters + k) * length];
      const int64_t voxel_z = z_.first + end_z * (z_.count - 1);
      for (int end_y = 0; end_y < 2; ++end_y) {
        const int64_t offset = end_y * (y.count - 1);
        const double spatial = corners_.spatial_.distance(cluster, 0, voxel_z) +
                               corners_.spatial_.distance(cluster, 1, y.first + offset);
        double* to = &corners_row_[((k * 2 + end_z) * 2 + end_y) * length];
        for (int64_t i = 0; i < length; i += kPackSize)
          store(to + i, lerp(load(lower + i), load(upper + i), y.weight_at(offset)) + spatial);
      }
    }
  }
  for (int64_t begin = 0; begin < padded_; begin += kPackSize) find_candidates(begin);
}

// For the cells [begin, begin + kPackSize), one in each lane.
void CornerRow::find_candidates(int64_t begin) {
  Pack best[8], smallest = broadcast(kInfinity);
  for (Pack& value : best) value = smallest;
  IndexPack nearest = IndexPack{} - 1;
  for (const Active& active : active_) {
    if (!active.has_all) continue;
    const double* from = corner(active.cluster, 0, 0) + begin;
    Pack value[8];
    for (int i = 0; i < 8; ++i) value[i] = load(from + i * padded_);
    const Pack total = ((value[0] + value[1]) + (value[2] + value[3])) +
                       ((value[4] + value[5]) + (value[6] + value[7])) +
                       load(&corners_.not_all_[active.cluster * padded_ + begin]);
    const IndexPack nearer = total < smallest;
    smallest = nearer ? total : smallest;
    nearest = nearer ? IndexPack{} + active.cluster : nearest;
    for (int i = 0; i < 8; ++i) best[i] = nearer ? value[i] : best[i];
  }
  IndexPack num_candidates = {};
  for (const Active& active : active_) {
    const double* from = corner(active.cluster, 0, 0) + begin;
    Pack least = load(from) - best[0];
    for (int i = 1; i < 8; ++i) least = minimum(least, load(from + i * padded_) - best[i]);
    least += load(&corners_.not_any_[active.cluster * padded_ + begin]);
    const IndexPack possible = least <= broadcast(2 * corners_.margin_);
    std::memcpy(&is_candidate_[active.cluster * padded_ + begin], &possible, sizeof possible);
    num_candidates -= possible;
  }
  std::memcpy(&nearest_[begin], &nearest, sizeof nearest);
  std::memcpy(&num_candidates_[begin], &num_candidates, sizeof num_candidates);
}

void CornerRow::candidates(int64_t cell, std::vector<Candidate>& found) const {
  found.clear();
  for (const Active& active : active_) {
    const int64_t k = active.cluster;
    if (!is_candidate_[k * padded_ + cell]) continue;
    Candidate candidate;
    candidate.cluster = active.cluster;
    candidate.clipped = !active.has_all || corners_.not_all_[k * padded_ + cell] > 0;
    for (int z = 0; z < 2; ++z)
      for (int y = 0; y < 2; ++y)
        for (int x = 0; x < 2; ++x) candidate.corner[z][y][x] = corner(k, z, y)[x * padded_ + cell];
    found.push_back(candidate);
  }
}

}  // namespace vtcd
