// SPDX-License-Identifier: MIT
// The voxels of one cell that more than one cluster may win.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/slic3d_clusters.h"
#include "core/slic3d_corners.h"

namespace vtcd {

// A product of three cells.
struct Box {
  AxisCell z, y, x;
};

// Integer moments of a set of voxels of a box: entry [a][b][c] is the sum of dz^a dy^b dx^c, with
// offsets from the box's first voxel. They give the voxels' number, their mean coordinates and,
// because interpolation is affine on a box, what weight they put on each of its 8 tokens.
using Moments = std::array<std::array<std::array<int64_t, 2>, 2>, 2>;

Extent extent_of(const Moments& moments, const Box& box);

// Weights of the tokens (lower, upper) of each axis: the adjoint of the interpolation.
using TokenWeights = std::array<std::array<std::array<double, 2>, 2>, 2>;
TokenWeights token_weights(const Moments& moments, const Box& box);

// Labels the voxels of boxes by the nearest of their candidates, the first of those that are
// equally near (within `margin`); a voxel outside all windows keeps its label.
class CellLabeller {
 public:
  // labels [T, H, W]
  CellLabeller(Shape3 size, int32_t* labels) : size_(size), labels_(labels) {}

  // Returns whether a label changed. The voxels' moments are in moments(i) for candidate i, unless
  // `any_outside`: then some voxels may be outside all windows.
  bool label(const Box& box, const std::vector<Candidate>& candidates,
             const std::vector<Cluster>& clusters, bool any_outside, double margin);

  const Moments& moments(size_t candidate) const { return moments_[candidate]; }

 private:
  template <int Count>
  bool label_plane(const Box& box, const std::vector<Candidate>& candidates, int64_t z,
                   int64_t begin, double margin);
  void prepare_plane(const Box& box, const std::vector<Candidate>& candidates,
                     const std::vector<Cluster>& clusters, int64_t z, int64_t begin);
  void add_moments(const Box& box, size_t num_candidates, int64_t z, int64_t begin);

  // The distance of a candidate in the plane being labelled, value + dy * slope, for kPackSize
  // voxels along x; its window along y; what it won there.
  struct Line {
    Pack value, slope;
    int64_t begin_y, end_y;
    IndexPack cluster, count, sum_y;
  };

  Shape3 size_;
  int32_t* labels_;
  std::vector<Line> lines_;
  std::vector<Moments> moments_;
};

}  // namespace vtcd
