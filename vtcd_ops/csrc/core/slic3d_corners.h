// SPDX-License-Identifier: MIT
// How far each cluster is from the corner voxels of cells, and which clusters can win a voxel
// there.
#pragma once

#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/pack.h"
#include "core/parallel.h"
#include "core/slic3d_clusters.h"
#include "core/slic3d_tokens.h"

namespace vtcd {

// A cell is a box on which every cluster's distance, up to what all clusters share, is affine in
// each coordinate (interpolation.h): it is known from its 8 corner voxels, and a cluster that is no
// nearer than another at all 8 corners is no nearer at any voxel of the cell.
class Corners {
 public:
  Corners(const CellGrid& cells, int64_t num_clusters, const SpatialWeights& spatial);

  // Starts a round: interpolates the scores of the token rows along x.
  //
  //   scores    [t * h, K, row_length]
  //   margin    differences below it are rounding
  void start_round(const std::vector<Cluster>& clusters, const RowMask& wanted,
                   const double* scores, int64_t row_length, double margin,
                   const ParallelFor& parallel_for);

  int64_t num_clusters() const { return num_clusters_; }
  int64_t padded_cells() const { return padded_cells_; }
  const CellGrid& cells() const { return cells_; }
  const std::vector<Cluster>& clusters() const { return *clusters_; }
  double margin() const { return margin_; }

 private:
  friend class CornerRow;
  void expand_row(const double* scores, int64_t cluster, double* expanded) const;

  const CellGrid& cells_;
  int64_t num_clusters_;
  SpatialWeights spatial_;
  int64_t padded_cells_;
  std::vector<double> first_weight_, last_weight_;  // of the upper token, at a cell's end voxels
  const std::vector<Cluster>* clusters_ = nullptr;
  double margin_ = 0;
  // [t * h, K, 2, padded_cells]: distances at the first and at the last voxels of the cells along x
  std::vector<double> expanded_;
  // [K, padded_cells]: 0 where the cluster's window has all (any) of the cell's x, else infinity
  std::vector<double> not_all_, not_any_;
  // [K, 2, padded_cells]: the distances along x alone
  std::vector<double> x_distance_;
};

// A cluster that may win voxels of a cell.
struct Candidate {
  int32_t cluster;
  bool clipped;            // its window has only some of the cell's voxels
  double corner[2][2][2];  // distances at the first and last voxels of z, y, x
};

// One row of cells along x: the working memory of a thread.
class CornerRow {
 public:
  explicit CornerRow(const Corners& corners);

  // The layer of cells that the next rows are in.
  void start_layer(const AxisCell& z);
  // Interpolates the distances to the corners of a row of cells and finds the candidates.
  void start_row(const AxisCell& y);

  // The cluster that is nearest at the middle of a cell among those that may take all its voxels,
  // or -1. Where no other cluster is a candidate it wins all voxels.
  int64_t nearest(int64_t cell) const { return nearest_[cell]; }
  bool decided(int64_t cell) const { return nearest_[cell] >= 0 && num_candidates_[cell] == 1; }
  // In ascending order of the clusters.
  void candidates(int64_t cell, std::vector<Candidate>& found) const;

 private:
  struct Active {
    int32_t cluster;
    bool has_all;  // of the row's z and y
  };

  const double* corner(int64_t cluster, int z, int y) const {
    return &corners_row_[((cluster * 2 + z) * 2 + y) * 2 * padded_];
  }
  void find_candidates(int64_t begin);

  const Corners& corners_;
  int64_t padded_;
  AxisCell z_{}, y_{};
  std::vector<double> layer_;        // [2 (z), h, K, 2 (x), padded_cells]
  std::vector<double> corners_row_;  // [K, 2 (z), 2 (y), 2 (x), padded_cells]
  std::vector<Active> active_;
  std::vector<int64_t> nearest_, num_candidates_;  // [padded_cells]
  std::vector<int64_t> is_candidate_;              // [K, padded_cells], 0 or -1
};

}  // namespace vtcd
