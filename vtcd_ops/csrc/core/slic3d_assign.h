// SPDX-License-Identifier: MIT
// A round of SLIC: every voxel to its nearest cluster, and what each cluster's voxels add up to.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/parallel.h"
#include "core/slic3d_cell.h"
#include "core/slic3d_clusters.h"
#include "core/slic3d_corners.h"
#include "core/slic3d_seeds.h"

namespace vtcd {

class Assignment {
 public:
  // labels [T, H, W]
  Assignment(const CellGrid& cells, int64_t num_clusters, int32_t* labels);

  // The first round: seeds have no features, so only space decides.
  void assign_seeds(const Seeds& seeds);

  // Any later round. Returns whether a label changed.
  bool assign(const Corners& corners, const ParallelFor& parallel_for);

  // The voxels of each cluster, [K].
  const std::vector<Extent>& extents() const { return extents_; }
  // Sum of the interpolation weights of a cluster's voxels on each token, [t * h, K, row_length].
  const double* weights() const { return weights_.data(); }
  // Where they are not all zero, [t * h, K].
  const RowMask& nonzero() const { return nonzero_; }
  int64_t row_length() const { return row_length_; }

  // Writes the labels of the cells that one cluster has wholly; until then only their number is
  // known.
  void finish(const ParallelFor& parallel_for);

 private:
  // What one thread needs for one layer of cells.
  struct Worker;

  int64_t num_layers() const { return static_cast<int64_t>(cells_.z.size()); }
  int64_t cell_index(int64_t layer, int64_t y, int64_t x) const {
    return (layer * static_cast<int64_t>(cells_.y.size()) + y) *
               static_cast<int64_t>(cells_.x.size()) +
           x;
  }
  bool assign_layer(int64_t layer, Worker& worker);
  bool assign_cell(int64_t layer, const Box& box, int64_t cell, int64_t index, Worker& worker);
  void take_whole(int64_t layer, const Box& box, int64_t cluster);
  void take_voxels(int64_t layer, const Box& box);
  void add(int64_t layer, const Box& box, int64_t cluster, const Moments& moments);
  void fill(const Box& box, int32_t label);
  // Adds up the layers.
  void collect(const ParallelFor& parallel_for);
  double* layer_weights(int64_t layer, int upper) {
    return &layer_weights_[(layer * 2 + upper) * cells_.grid.h * num_clusters_ * row_length_];
  }

  const CellGrid& cells_;
  int64_t num_clusters_;
  int64_t row_length_;
  int32_t* labels_;
  std::vector<int32_t> owner_;         // of each cell: the cluster that has it wholly, or -1
  std::vector<double> layer_weights_;  // [layers, 2 (tokens along t), h, K, row_length]
  std::vector<Extent> layer_extents_;  // [layers, K]
  std::vector<Extent> extents_;
  std::vector<double> weights_;
  RowMask nonzero_;
};

}  // namespace vtcd
