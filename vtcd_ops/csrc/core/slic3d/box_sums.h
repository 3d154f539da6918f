// SPDX-License-Identifier: MIT
// What voxels of a box add up to: their number, their coordinates and their weight on its tokens.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/slic3d/clusters.h"

namespace vtcd {

// Whole-number moments of a set of voxels of a box: entry 4 a + 2 b + c is the sum of
// dz^a dy^b dx^c, with offsets from the box's first voxel. They give the voxels' number, their mean
// coordinates and, because interpolation is affine on a box, what weight they put on each of its 8
// tokens.
using Moments = std::array<double, 8>;

// Weights of the tokens (lower, upper) of each axis, in the same order.
using TokenWeights = std::array<double, 8>;

struct BoxSums {
  void subtract(const BoxSums& other);

  Extent extent;
  TokenWeights weights;
};

// The places of a box among the cells of each axis.
struct BoxPlace {
  int64_t z, y, x;
};

// The adjoint of the interpolation, times scale(): voxels lie at whole multiples of
// 1 / (size - 1) between tokens, so all weights are whole numbers, and their sums are exact in any
// order up to 2^53, which is far beyond 10 million voxels.
class BoxAdjoint {
 public:
  explicit BoxAdjoint(const CellGrid& cells);

  double scale() const { return axes_[0].scale * axes_[1].scale * axes_[2].scale; }
  // Of all voxels of a box.
  BoxSums all(const BoxPlace& box) const;
  BoxSums sums(const BoxPlace& box, const Moments& moments) const;
  // sums[seed * num_tokens + token]: weight on a token of the voxels of an axis whose nearest seed
  // is `seed`.
  std::vector<double> of_seeds(int axis, const std::vector<int32_t>& nearest,
                               size_t num_seeds) const;

 private:
  struct Cell {
    // In: the sum of values and the sum of value * offset; out: weights of the tokens.
    void to_tokens(double scale, double& values, double& offsets) const {
      const double on_upper = weight * values + slope * offsets;
      values = scale * values - on_upper;
      offsets = on_upper;
    }

    AxisCell cell;
    double weight, slope;  // of the upper token: at the first voxel, and from one to the next
    double all_lower, all_upper;  // of all voxels
    int64_t coordinates;          // their sum
  };
  struct Axis {
    double scale;
    int64_t num_tokens;
    std::vector<Cell> cells;
  };
  static Axis axis_of(const std::vector<AxisCell>& cells, int64_t num_tokens, int64_t num_voxels,
                      Interpolation interpolation);

  std::array<Axis, 3> axes_;
};

}  // namespace vtcd
