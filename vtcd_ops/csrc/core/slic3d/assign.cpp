// SPDX-License-Identifier: MIT
#include "core/slic3d/assign.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

namespace vtcd {
namespace {

// Sum of d over d = 0 .. count - 1.
int64_t sum_below(int64_t count) { return count * (count - 1) / 2; }

// Moments of all voxels of a box.
Moments whole(const Box& box) {
  const int64_t z[2] = {box.z.count, sum_below(box.z.count)};
  const int64_t y[2] = {box.y.count, sum_below(box.y.count)};
  const int64_t x[2] = {box.x.count, sum_below(box.x.count)};
  Moments moments;
  for (int a = 0; a < 2; ++a)
    for (int b = 0; b < 2; ++b)
      for (int c = 0; c < 2; ++c) moments[a][b][c] = z[a] * y[b] * x[c];
  return moments;
}

// sums[seed * num_tokens + token]: interpolation weight on a token of the voxels whose nearest seed
// along the axis is `seed`.
std::vector<double> seed_weights(const std::vector<AxisCell>& cells, int64_t num_tokens,
                                 const std::vector<int32_t>& nearest, size_t num_seeds) {
  std::vector<double> sums(num_seeds * num_tokens);
  for (const AxisCell& cell : cells) {
    for (int64_t d = 0; d < cell.count; ++d) {
      const int64_t seed = nearest[cell.first + d];
      double lower = 1, upper = static_cast<double>(d);
      cell.to_tokens(lower, upper);
      sums[seed * num_tokens + cell.lower] += lower;
      sums[seed * num_tokens + cell.upper] += upper;
    }
  }
  return sums;
}

// For each seed of an axis the number and the sum of the voxels nearest to it.
std::vector<std::pair<int64_t, int64_t>> seed_extents(const std::vector<int32_t>& nearest,
                                                      size_t num_seeds) {
  std::vector<std::pair<int64_t, int64_t>> extents(num_seeds);
  for (size_t voxel = 0; voxel < nearest.size(); ++voxel) {
    extents[nearest[voxel]].first += 1;
    extents[nearest[voxel]].second += static_cast<int64_t>(voxel);
  }
  return extents;
}

}  // namespace

struct Assignment::Worker {
  Worker(const Corners& corners, const ExactDistances& exact, bool write, Shape3 size,
         int32_t* labels)
      : row(corners),
        labeller(exact, corners.round(), corners.margin(), size, labels),
        write(write) {}

  CornerRow row;
  CellLabeller labeller;
  std::vector<Candidate> candidates;
  bool write;
  bool outside = false;
};

Assignment::Assignment(const CellGrid& cells, int64_t num_clusters, int32_t* labels)
    : cells_(cells),
      num_clusters_(num_clusters),
      row_length_(padded(cells.grid.w)),
      labels_(labels),
      first_plane_(first_planes()),
      layer_weights_((first_plane_.back() + 2) * plane_size()),
      layer_extents_(cells.z.size() * num_clusters),
      extents_(num_clusters),
      weights_(cells.grid.t * plane_size()) {
  std::fill_n(weights_.get(), cells.grid.t * plane_size(), 0.0);
}

std::vector<int64_t> Assignment::first_planes() const {
  std::vector<int64_t> first(num_layers());
  for (int64_t layer = 1; layer < num_layers(); ++layer)
    first[layer] = first[layer - 1] + num_planes(layer - 1);
  return first;
}

void Assignment::assign_seeds(const Seeds& seeds) {
  const Shape3 grid = cells_.grid;
  // not by a structured binding, which clang before 16 lets no lambda capture
  const auto &at_z = seeds.coordinates[0], &at_y = seeds.coordinates[1],
             &at_x = seeds.coordinates[2];
  auto cluster_of = [&](int64_t z, int64_t y, int64_t x) {
    return static_cast<int32_t>((z * at_y.size() + y) * at_x.size() + x);
  };
  const auto along_z = seed_weights(cells_.z, grid.t, seeds.nearest[0], at_z.size());
  const auto along_y = seed_weights(cells_.y, grid.h, seeds.nearest[1], at_y.size());
  const auto along_x = seed_weights(cells_.x, grid.w, seeds.nearest[2], at_x.size());
  // Regions are products of intervals, and so are their weights, sizes and summed coordinates.
  for (size_t z = 0; z < at_z.size(); ++z)
    for (size_t y = 0; y < at_y.size(); ++y)
      for (size_t x = 0; x < at_x.size(); ++x)
        for (int64_t row = 0; row < grid.t * grid.h; ++row) {
          const int64_t cluster = row * num_clusters_ + cluster_of(z, y, x);
          const double factor =
              along_z[z * grid.t + row / grid.h] * along_y[y * grid.h + row % grid.h];
          for (int64_t w = 0; w < grid.w; ++w)
            weights_[cluster * row_length_ + w] = factor * along_x[x * grid.w + w];
        }
  const auto extent_z = seed_extents(seeds.nearest[0], at_z.size());
  const auto extent_y = seed_extents(seeds.nearest[1], at_y.size());
  const auto extent_x = seed_extents(seeds.nearest[2], at_x.size());
  for (size_t z = 0; z < at_z.size(); ++z)
    for (size_t y = 0; y < at_y.size(); ++y)
      for (size_t x = 0; x < at_x.size(); ++x) {
        const auto [count_z, sum_z] = extent_z[z];
        const auto [count_y, sum_y] = extent_y[y];
        const auto [count_x, sum_x] = extent_x[x];
        extents_[cluster_of(z, y, x)] = {
            count_z * count_y * count_x,
            {sum_z * count_y * count_x, count_z * sum_y * count_x, count_z * count_y * sum_x}};
      }
}

void Assignment::write_seed_labels(const Seeds& seeds) {
  seeds.write_labels(cells_.size, labels_);
  labels_known_ = true;
}

Assignment::Outcome Assignment::assign(const Corners& corners, const ExactDistances& exact,
                                       bool write, const ParallelFor& parallel_for) {
  // More voxels in double precision take longer than all voxels one by one.
  const int64_t most_exact = cells_.size.count() / 16;
  std::atomic<bool> outside = false, certain = true;
  std::atomic<int64_t> num_exact = 0;
  parallel_for(0, num_layers(), 1, [&](int64_t begin, int64_t end) {
    Worker worker(corners, exact, write, cells_.size, labels_);
    int64_t counted = 0;
    for (int64_t layer = begin; layer < end && certain; ++layer) {
      assign_layer(layer, worker);
      num_exact += worker.labeller.num_exact() - counted;
      counted = worker.labeller.num_exact();
      if (!worker.labeller.certain() || num_exact > most_exact) certain = false;
    }
    if (worker.outside) outside = true;
  });
  labels_known_ = write && (labels_known_ || !outside);
  return {outside, certain};
}

void Assignment::assign_layer(int64_t layer, Worker& worker) {
  double* weights = layer_weights(layer, 0);
  std::fill_n(weights, num_planes(layer) * plane_size(), 0.0);
  std::fill_n(&layer_extents_[layer * num_clusters_], num_clusters_, Extent{});
  worker.row.start_layer(cells_.z[layer]);
  for (const AxisCell& y : cells_.y) {
    worker.row.start_row(y);
    for (size_t x = 0; x < cells_.x.size(); ++x)
      assign_cell(layer, {cells_.z[layer], y, cells_.x[x]}, static_cast<int64_t>(x), worker);
  }
}

void Assignment::assign_cell(int64_t layer, const Box& box, int64_t cell, Worker& worker) {
  const int32_t nearest = worker.row.nearest(cell);
  if (worker.row.decided(cell)) {
    take_whole(layer, box, nearest);
    if (worker.write) fill(box, nearest);
    return;
  }
  worker.row.candidates(cell, worker.candidates);
  const bool any_outside = nearest < 0;
  worker.labeller.label(box, worker.candidates, any_outside, worker.write);
  worker.outside |= any_outside;
  if (any_outside) {
    if (worker.write && labels_known_) take_voxels(layer, box);
    return;
  }
  for (size_t i = 0; i < worker.candidates.size(); ++i) {
    const Moments& moments = worker.labeller.moments(i);
    if (moments[0][0][0] > 0) add(layer, box, worker.candidates[i].cluster, moments);
  }
}

void Assignment::take_whole(int64_t layer, const Box& box, int64_t cluster) {
  add(layer, box, cluster, whole(box));
}

void Assignment::take_voxels(int64_t layer, const Box& box) {
  for (int64_t z = 0; z < box.z.count; ++z)
    for (int64_t y = 0; y < box.y.count; ++y)
      for (int64_t x = 0; x < box.x.count; ++x) {
        const int64_t row = (box.z.first + z) * cells_.size.h + box.y.first + y;
        const int64_t a[2] = {1, z}, b[2] = {1, y}, c[2] = {1, x};
        Moments moments;
        for (int i = 0; i < 8; ++i)
          moments[i / 4][i / 2 % 2][i % 2] = a[i / 4] * b[i / 2 % 2] * c[i % 2];
        add(layer, box, labels_[row * cells_.size.w + box.x.first + x], moments);
      }
}

void Assignment::add(int64_t layer, const Box& box, int64_t cluster, const Moments& moments) {
  layer_extents_[layer * num_clusters_ + cluster].add(extent_of(moments, box));
  const TokenWeights weights = token_weights(moments, box);
  const int64_t h[2] = {box.y.lower, box.y.upper}, w[2] = {box.x.lower, box.x.upper};
  for (int z = 0; z < num_planes(layer); ++z) {
    double* plane = layer_weights(layer, z);
    for (int y = 0; y < 2; ++y)
      for (int x = 0; x < 2; ++x)
        plane[(h[y] * num_clusters_ + cluster) * row_length_ + w[x]] += weights[z][y][x];
  }
}

bool Assignment::collect(const ParallelFor& parallel_for) {
  std::atomic<bool> changed = false;
  parallel_for(0, cells_.grid.t, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      if (collect_plane(t)) changed.store(true, std::memory_order_relaxed);
  });
  std::vector<Extent> extents(num_clusters_);
  for (int64_t layer = 0; layer < num_layers(); ++layer)
    for (int64_t k = 0; k < num_clusters_; ++k)
      extents[k].add(layer_extents_[layer * num_clusters_ + k]);
  extents_.swap(extents);
  return changed || extents != extents_;
}

// Adds up the weights on the tokens of t.
bool Assignment::collect_plane(int64_t t) {
  const int64_t rows = cells_.grid.h * num_clusters_;
  std::vector<const double*> parts;
  for (int64_t layer = 0; layer < num_layers(); ++layer) {
    if (cells_.z[layer].lower == t) parts.push_back(layer_weights(layer, 0));
    if (num_planes(layer) > 1 && cells_.z[layer].upper == t)
      parts.push_back(layer_weights(layer, 1));
  }
  std::vector<double> sum(row_length_);
  bool changed = false;
  for (int64_t row = 0; row < rows; ++row) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (const double* part : parts)
      for (int64_t w = 0; w < row_length_; ++w) sum[w] += part[row * row_length_ + w];
    double* to = &weights_[(t * rows + row) * row_length_];
    changed |= std::memcmp(sum.data(), to, row_length_ * sizeof(double)) != 0;
    std::copy(sum.begin(), sum.end(), to);
  }
  return changed;
}

void Assignment::fill(const Box& box, int32_t label) {
  for (int64_t z = 0; z < box.z.count; ++z)
    for (int64_t y = 0; y < box.y.count; ++y) {
      const int64_t row = (box.z.first + z) * cells_.size.h + box.y.first + y;
      std::fill_n(labels_ + row * cells_.size.w + box.x.first, box.x.count, label);
    }
}

}  // namespace vtcd
