// SPDX-License-Identifier: MIT
// The voxels of one cell that more than one cluster may win.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/pack.h"
#include "core/slic3d/clusters.h"
#include "core/slic3d/exact.h"

namespace vtcd {

// Integer moments of a set of voxels of a box: entry [a][b][c] is the sum of dz^a dy^b dx^c, with
// offsets from the box's first voxel. They give the voxels' number, their mean coordinates and,
// because interpolation is affine on a box, what weight they put on each of its 8 tokens.
using Moments = std::array<std::array<std::array<int64_t, 2>, 2>, 2>;

Extent extent_of(const Moments& moments, const Box& box);

// Weights of the tokens (lower, upper) of each axis: the adjoint of the interpolation.
using TokenWeights = std::array<std::array<std::array<double, 2>, 2>, 2>;
TokenWeights token_weights(const Moments& moments, const Box& box);

// Labels the voxels of boxes by the nearest of their candidates. Distances are interpolated in
// single precision; where two are closer than that is worth, the exact ones decide.
class CellLabeller {
 public:
  // margin: no difference of two interpolated distances is farther from the exact one.
  // labels [T, H, W]
  CellLabeller(const ExactDistances& exact, const Round& round, float margin, Shape3 size,
               int32_t* labels);

  // Finds the voxels' moments: moments(i) for candidate i. Where `any_outside`, some voxels may be
  // outside all windows, in no candidate's moments. Writes the labels if `write`; a voxel outside
  // all windows keeps its own.
  void label(const Box& box, const std::vector<Candidate>& candidates, bool any_outside,
             bool write);

  const Moments& moments(size_t candidate) const { return moments_[candidate]; }
  // Whether no label was decided by rounding so far, and how many took double precision.
  bool certain() const { return certain_; }
  int64_t num_exact() const { return num_exact_; }

 private:
  // Voxels of one plane and up to kFloatPackSize of its columns.
  struct Tile {
    const Box& box;
    int64_t z, begin, valid;  // columns [begin, begin + valid)
    FloatPack fraction;       // of the box along x
    IntPack column, beyond;   // offsets along x; -1 where there is no column
  };
  using PlaneMoments = std::array<int64_t, 4>;  // sums of 1, dx, dy and dx dy
  // A candidate's distance in a tile: value + dy * slope.
  struct Line {
    FloatPack value, slope;
    int64_t begin_y, end_y;  // its window
    IntPack cluster, won;
  };

  static Tile tile(const Box& box, int64_t z, int64_t begin);
  static Line line(const Tile& tile, const float (&corner)[2][2]);
  template <int Count>
  bool label_tile(const Tile& tile, const std::vector<Candidate>& candidates, bool write);
  void label_tile_exactly(const Tile& tile, const std::vector<Candidate>& candidates, bool write);
  Line clipped_line(const Tile& tile, const Candidate& candidate) const;
  IntPack decide(const Tile& tile, int64_t y, const std::vector<Candidate>& candidates,
                 const IntPack& close, IntPack label);
  static PlaneMoments all_of(const Tile& tile);
  static PlaneMoments won_of(const Tile& tile, const IntPack& won);
  static void add(const Tile& tile, const PlaneMoments& plane, Moments& moments);
  void write_labels(const Tile& tile, int64_t y, const IntPack& labels);

  const ExactDistances& exact_;
  const Round& round_;
  float margin_;
  Shape3 size_;
  int32_t* labels_;
  std::vector<Line> lines_;
  std::vector<Moments> moments_;
  std::vector<double> feature_;
  bool certain_ = true;
  int64_t num_exact_ = 0;
};

}  // namespace vtcd
