// SPDX-License-Identifier: MIT
// How far each cluster is from the corner voxels of cells, and which clusters can win a voxel
// there.
#pragma once

#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/pack.h"
#include "core/slic3d/clusters.h"
#include "core/slic3d/margins.h"
#include "core/slic3d/tokens.h"

namespace vtcd {

// A cell is a box on which every cluster's distance, up to what all clusters share, is affine in
// each coordinate (interpolation.h): it is known from its 8 corner voxels, and a cluster that is no
// nearer than another at all 8 corners is no nearer at any voxel of the cell.
class Corners {
 public:
  // Farther than any distance.
  static constexpr float kFar = 1e30f;

  // spatial is in the unit of the scores.
  Corners(const CellGrid& cells, int64_t num_clusters, const SpatialWeights& spatial);

  // Starts a round.
  //
  //   scores    [K, num_scores], kept until the next round
  void start_round(const Round& round, const float* scores, int64_t num_scores,
                   const Margins& margins);

  int64_t num_clusters() const { return num_clusters_; }
  int64_t padded_cells() const { return padded_cells_; }
  const CellGrid& cells() const { return cells_; }
  const Round& round() const { return *round_; }
  const std::vector<Cluster>& clusters() const { return round_->clusters; }
  const Margins& margins() const { return margins_; }

 private:
  friend class CornerRow;

  const CellGrid& cells_;
  int64_t num_clusters_;
  SpatialWeights spatial_;
  int64_t padded_cells_;
  std::vector<float> first_weight_, last_weight_;  // of the upper token, at a cell's end voxels
  bool regular_ = true;                            // cell i of x is between the tokens i and i + 1
  const Round* round_ = nullptr;
  const float* scores_ = nullptr;
  int64_t num_scores_ = 0;
  Margins margins_{};
  // [K, padded_cells]: 0 where the cluster's window has all (any) of the cell's x, else kFar
  std::vector<float> not_all_, not_any_;
  // [K, 2, padded_cells]: the distances along x alone
  std::vector<float> x_distance_;
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
  int32_t nearest(int64_t cell) const { return nearest_[cell]; }
  bool decided(int64_t cell) const { return nearest_[cell] >= 0 && num_candidates_[cell] == 1; }
  // In ascending order of the clusters.
  void candidates(int64_t cell, std::vector<Candidate>& found) const;

 private:
  struct Active {
    int32_t cluster;
    bool has_all;  // of the row's z and y
  };

  const float* corner(int64_t cluster, int z, int y) const {
    return &corners_row_[((cluster * 2 + z) * 2 + y) * 2 * padded_];
  }
  void find_active();
  void interpolate_row(const Active& active, int end_z);
  void drop_beaten(int32_t nearest, std::vector<Candidate>& found) const;
  template <int NumCorners>
  void find_candidates(int64_t begin);

  const Corners& corners_;
  int64_t padded_;
  AxisCell z_{}, y_{};
  int num_z_ = 2;  // 1 in a layer of one voxel: its first plane is its last
  int64_t padded_plane_;
  std::vector<float> layer_;        // [2 (z), K, h * w, padded]
  std::vector<float> corners_row_;  // [K, 2 (z), 2 (y), 2 (x), padded_cells]
  std::vector<Active> active_;
  std::vector<int32_t> nearest_, num_candidates_;  // [padded_cells]
  // [active / 32, padded_cells]: bit i of word j is whether active_[32 j + i] is one
  std::vector<int32_t> is_candidate_;
};

}  // namespace vtcd
