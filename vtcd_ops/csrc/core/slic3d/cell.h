// SPDX-License-Identifier: MIT
// The voxels of one cell that more than one cluster may win.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/pack.h"
#include "core/slic3d/box_rows.h"
#include "core/slic3d/box_sums.h"
#include "core/slic3d/clusters.h"
#include "core/slic3d/exact.h"
#include "core/slic3d/margins.h"

namespace vtcd {

// Labels the voxels of boxes by the nearest of their candidates. Distances are interpolated in
// single precision; where two are closer than that is worth, the exact ones decide.
//
// A few candidates whose windows have the whole box each have an interval of every row, which is
// found for as many rows at once as a pack has lanes (box_rows.h). Others are compared voxel by
// voxel.
class CellLabeller {
 public:
  // labels [T, H, W]
  CellLabeller(const ExactDistances& exact, const RowLanesOfBoxes& lanes, const Round& round,
               const Margins& margins, Shape3 size, int32_t* labels);

  // Finds the voxels' moments: moments(i) for candidate i, but for the first, which has all voxels
  // that no other has. Where `any_outside`, some voxels may be
  // outside all windows, in no candidate's moments. Writes the labels if `write`; a voxel outside
  // all windows keeps its own.
  void label(const Box& box, const std::vector<Candidate>& candidates, bool any_outside,
             bool write);

  const Moments& moments(size_t candidate) const { return moments_[candidate]; }
  // Whether no label was decided by rounding so far, and how many took double precision.
  bool certain() const { return certain_; }
  int64_t num_exact() const { return num_exact_; }

 private:
  static constexpr int kMostInRows = 8;  // candidates whose intervals are found

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

  template <int Count>
  void label_rows(const Box& box, const std::vector<Candidate>& candidates, bool write);
  template <int Count>
  void label_close_rows(const Box& box, int64_t pack, const std::vector<Candidate>& candidates,
                        const RowValues (&distance)[Count], float margin, const IntPack& close,
                        bool write);
  template <int Count>
  int nearest_of(const Box& box, const std::array<int64_t, 3>& offset,
                 const std::vector<Candidate>& candidates, const float (&first)[Count],
                 const float (&step)[Count], float margin);
  template <int Count>
  void write_rows(const Box& box, int64_t pack, const std::vector<Candidate>& candidates,
                  const RowIntervals (&interval)[Count]);
  void label_voxels(const Box& box, const std::vector<Candidate>& candidates, bool write);

  static Tile tile(const Box& box, int64_t z, int64_t begin);
  static Line line(const Tile& tile, const float (&corner)[2][2]);
  void label_tile(const Tile& tile, const std::vector<Candidate>& candidates, bool write);
  Line clipped_line(const Tile& tile, const Candidate& candidate) const;
  IntPack decide(const Tile& tile, int64_t y, const std::vector<Candidate>& candidates,
                 const FloatPack& nearest, const IntPack& close, IntPack label);
  int32_t decide_voxel(const Box& box, const std::array<int64_t, 3>& offset);
  static PlaneMoments won_of(const Tile& tile, const IntPack& won);
  static void add(const Tile& tile, const PlaneMoments& plane, Moments& moments);
  void write_labels(const Tile& tile, int64_t y, const IntPack& labels);
  int32_t* row_of_labels(const Box& box, int64_t z, int64_t y) const {
    return labels_ + ((box.z.first + z) * size_.h + box.y.first + y) * size_.w + box.x.first;
  }

  const ExactDistances& exact_;
  const RowLanesOfBoxes& lanes_;
  const Round& round_;
  Margins margins_;
  Shape3 size_;
  int32_t* labels_;
  std::vector<Line> lines_;
  std::vector<Candidate> near_;  // of a voxel, no farther than the margin from the nearest
  std::vector<Moments> moments_;
  std::vector<double> feature_;
  bool certain_ = true;
  int64_t num_exact_ = 0;
};

}  // namespace vtcd
