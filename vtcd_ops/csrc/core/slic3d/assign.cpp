// SPDX-License-Identifier: MIT
#include "core/slic3d/assign.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/pack.h"

namespace vtcd {
namespace {

constexpr int64_t kFewClusters = 64;

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
  Worker(const Corners& corners, const ExactDistances& exact, const RowLanesOfBoxes& lanes,
         bool write, Shape3 size, int32_t* labels)
      : row(corners),
        labeller(exact, lanes, corners.round(), corners.margins(), size, labels),
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
      layer_weights_((first_plane_.back() + 2) * rows_of_plane() * row_length_),
      layer_touched_((first_plane_.back() + 2) * rows_of_plane()),
      row_lanes_(cells),
      adjoint_(cells),
      layer_extents_(cells.z.size() * num_clusters),
      extents_(num_clusters),
      weights_(cells.grid.t * rows_of_plane() * row_length_),
      touched_(cells.grid.t * rows_of_plane()) {}

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
  const auto along_z = adjoint_.of_seeds(0, seeds.nearest[0], at_z.size());
  const auto along_y = adjoint_.of_seeds(1, seeds.nearest[1], at_y.size());
  const auto along_x = adjoint_.of_seeds(2, seeds.nearest[2], at_x.size());
  // Regions are products of intervals, and so are their weights, sizes and summed coordinates.
  for (size_t z = 0; z < at_z.size(); ++z)
    for (size_t y = 0; y < at_y.size(); ++y)
      for (size_t x = 0; x < at_x.size(); ++x)
        for (int64_t row = 0; row < grid.t * grid.h; ++row) {
          const int64_t cluster = row * num_clusters_ + cluster_of(z, y, x);
          const double factor =
              along_z[z * grid.t + row / grid.h] * along_y[y * grid.h + row % grid.h];
          if (factor == 0) continue;
          touched_[cluster] = 1;
          double* to = &weights_[cluster * row_length_];
          std::fill_n(to, row_length_, 0.0);
          for (int64_t w = 0; w < grid.w; ++w) to[w] = factor * along_x[x * grid.w + w];
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
    Worker worker(corners, exact, row_lanes_, write, cells_.size, labels_);
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
  // Few clusters touch most rows: all are made at once.
  const bool few = num_clusters_ <= kFewClusters;
  const int64_t first = first_plane_[layer] * rows_of_plane();
  const int64_t count = num_planes(layer) * rows_of_plane();
  std::fill_n(&layer_touched_[first], count, static_cast<uint8_t>(few));
  if (few) std::fill_n(&layer_weights_[first * row_length_], count * row_length_, 0.0);
  std::fill_n(&layer_extents_[layer * num_clusters_], num_clusters_, Extent{});
  worker.row.start_layer(cells_.z[layer]);
  for (size_t y = 0; y < cells_.y.size(); ++y) {
    worker.row.start_row(cells_.y[y]);
    for (size_t x = 0; x < cells_.x.size(); ++x)
      assign_cell({layer, static_cast<int64_t>(y), static_cast<int64_t>(x)}, worker);
  }
}

void Assignment::assign_cell(const BoxPlace& place, Worker& worker) {
  const Box box{cells_.z[place.z], cells_.y[place.y], cells_.x[place.x]};
  const int32_t nearest = worker.row.nearest(place.x);
  if (worker.row.decided(place.x)) {
    add(place, nearest, adjoint_.all(place));
    if (worker.write) fill(box, nearest);
    return;
  }
  worker.row.candidates(place.x, worker.candidates);
  const bool any_outside = nearest < 0;
  worker.labeller.label(box, worker.candidates, any_outside, worker.write);
  worker.outside |= any_outside;
  if (any_outside) {
    if (worker.write && labels_known_) take_voxels(place, box);
    return;
  }
  BoxSums left = adjoint_.all(place);
  for (size_t i = 1; i < worker.candidates.size(); ++i) {
    const Moments& moments = worker.labeller.moments(i);
    if (moments[0] == 0) continue;
    const BoxSums won = adjoint_.sums(place, moments);
    add(place, worker.candidates[i].cluster, won);
    left.subtract(won);
  }
  if (left.extent.count > 0) add(place, worker.candidates[0].cluster, left);
}

void Assignment::take_voxels(const BoxPlace& place, const Box& box) {
  for (int64_t z = 0; z < box.z.count; ++z)
    for (int64_t y = 0; y < box.y.count; ++y)
      for (int64_t x = 0; x < box.x.count; ++x) {
        const int64_t row = (box.z.first + z) * cells_.size.h + box.y.first + y;
        const int64_t a[2] = {1, z}, b[2] = {1, y}, c[2] = {1, x};
        Moments moments;
        for (int i = 0; i < 8; ++i)
          moments[i] = static_cast<double>(a[i / 4] * b[i / 2 % 2] * c[i % 2]);
        add(place, labels_[row * cells_.size.w + box.x.first + x], adjoint_.sums(place, moments));
      }
}

void Assignment::add(const BoxPlace& place, int64_t cluster, const BoxSums& sums) {
  const AxisCell &y = cells_.y[place.y], &x = cells_.x[place.x];
  layer_extents_[place.z * num_clusters_ + cluster].add(sums.extent);
  const int64_t h[2] = {y.lower, y.upper};
  for (int i = 0; i < num_planes(place.z); ++i)
    for (int j = 0; j < 2; ++j) {
      double* row = layer_row(place.z, i, h[j], cluster);
      row[x.lower] += sums.weights[4 * i + 2 * j];
      row[x.upper] += sums.weights[4 * i + 2 * j + 1];
    }
}

inline double* Assignment::layer_row(int64_t layer, int upper, int64_t h, int64_t cluster) {
  const int64_t row = (first_plane_[layer] + upper) * rows_of_plane() + h * num_clusters_ + cluster;
  double* weights = &layer_weights_[row * row_length_];
  if (!layer_touched_[row]) {
    layer_touched_[row] = 1;
    std::fill_n(weights, row_length_, 0.0);
  }
  return weights;
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
  std::vector<int64_t> parts;  // first rows
  for (int64_t layer = 0; layer < num_layers(); ++layer)
    for (int upper = 0; upper < num_planes(layer); ++upper)
      if ((upper == 0 ? cells_.z[layer].lower : cells_.z[layer].upper) == t)
        parts.push_back((first_plane_[layer] + upper) * rows_of_plane());
  bool any_changed = false;
  for (int64_t row = 0; row < rows_of_plane(); ++row) {
    uint8_t& touched = touched_[t * rows_of_plane() + row];
    const uint8_t before = touched;
    touched = 0;
    for (const int64_t part : parts) touched |= layer_touched_[part + row];
    any_changed |= touched != before;
    if (touched == 0) continue;
    double* to = &weights_[(t * rows_of_plane() + row) * row_length_];
    IndexPack changed = {};
    for (int64_t w = 0; w < row_length_; w += kPackSize) {
      Pack sum = {};
      for (const int64_t part : parts)
        if (layer_touched_[part + row] != 0)
          sum += load(&layer_weights_[(part + row) * row_length_ + w]);
      if (before != 0) changed |= sum != load(to + w);
      store(to + w, sum);
    }
    any_changed |= any(changed);
  }
  return any_changed;
}

void Assignment::fill(const Box& box, int32_t label) {
  for (int64_t z = 0; z < box.z.count; ++z)
    for (int64_t y = 0; y < box.y.count; ++y) {
      const int64_t row = (box.z.first + z) * cells_.size.h + box.y.first + y;
      std::fill_n(labels_ + row * cells_.size.w + box.x.first, box.x.count, label);
    }
}

}  // namespace vtcd
