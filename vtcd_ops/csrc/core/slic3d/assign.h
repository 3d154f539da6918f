// SPDX-License-Identifier: MIT
// A round of SLIC: every voxel to its nearest cluster, and what each cluster's voxels add up to.
#pragma once

#include <cstdint>
#include <vector>

#include "core/large_array.h"
#include "core/parallel.h"
#include "core/slic3d/cell.h"
#include "core/slic3d/clusters.h"
#include "core/slic3d/corners.h"
#include "core/slic3d/seeds.h"

namespace vtcd {

class Assignment {
 public:
  // labels [T, H, W]
  Assignment(const CellGrid& cells, int64_t num_clusters, int32_t* labels);

  // The first round: seeds have no features, so only space decides. Writes no labels.
  void assign_seeds(const Seeds& seeds);
  void write_seed_labels(const Seeds& seeds);

  struct Outcome {
    bool outside;  // some voxels may be outside all windows
    bool certain;  // no label is decided by rounding, and few took double precision
  };
  // Any later round. Voxels outside all windows keep their labels: for a round with such voxels to
  // count, the labels of the round before must have been written. Where there are no such voxels
  // labels need not be written.
  Outcome assign(const Corners& corners, const ExactDistances& exact, bool write,
                 const ParallelFor& parallel_for);
  // Adds up the layers of a round. Returns whether the sums are others than before.
  bool collect(const ParallelFor& parallel_for);

  // The voxels of each cluster, [K].
  const std::vector<Extent>& extents() const { return extents_; }
  // Sum of the interpolation weights of a cluster's voxels on each token, [t * h, K, row_length],
  // times weight_scale().
  const double* weights() const { return weights_.get(); }
  double weight_scale() const { return adjoint_.scale(); }
  // Which rows of weights() a cluster has any in, [t * h, K]; others are not to be read.
  const uint8_t* touched() const { return touched_.data(); }

 private:
  // What one thread needs for one layer of cells.
  struct Worker;

  int64_t num_layers() const { return static_cast<int64_t>(cells_.z.size()); }
  void assign_layer(int64_t layer, Worker& worker);
  void assign_cell(const BoxPlace& place, Worker& worker);
  void take_voxels(const BoxPlace& place, const Box& box);
  void add(const BoxPlace& place, int64_t cluster, const BoxSums& sums);
  void fill(const Box& box, int32_t label);
  bool collect_plane(int64_t t);
  // The upper tokens of a layer of one voxel on its lower tokens have no weight and no place.
  int num_planes(int64_t layer) const {
    return cells_.z[layer].count == 1 && cells_.z[layer].weight == 0 ? 1 : 2;
  }
  std::vector<int64_t> first_planes() const;
  int64_t rows_of_plane() const { return cells_.grid.h * num_clusters_; }
  // The row of a layer's weights of a cluster on tokens (lower or upper, h), made if there is none.
  double* layer_row(int64_t layer, int upper, int64_t h, int64_t cluster);

  const CellGrid& cells_;
  int64_t num_clusters_;
  int64_t row_length_;
  int32_t* labels_;
  bool labels_known_ = false;         // they are those of the last round
  std::vector<int64_t> first_plane_;  // [layers]
  // [planes of tokens along t of all layers, h, K, row_length], and whether a round has touched a
  // row: of many clusters each touches few.
  LargeArray<double> layer_weights_;
  std::vector<uint8_t> layer_touched_;
  RowLanesOfBoxes row_lanes_;
  BoxAdjoint adjoint_;
  std::vector<Extent> layer_extents_;  // [layers, K]
  std::vector<Extent> extents_;
  LargeArray<double> weights_;
  std::vector<uint8_t> touched_;
};

}  // namespace vtcd
