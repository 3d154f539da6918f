// SPDX-License-Identifier: MIT
// The nearest cluster of a voxel in double precision, where single precision cannot tell.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/slic3d/clusters.h"
#include "core/slic3d/tokens.h"

namespace vtcd {

class ExactDistances {
 public:
  ExactDistances(const Tokens& tokens, const SpatialWeights& spatial, const CellGrid& cells);

  int64_t channel_stride() const { return tokens_.channel_stride(); }
  // Differences of distances below this are rounding even here.
  double margin() const { return margin_; }

  // The nearest of `candidates` (ascending) whose windows have the voxel at offsets (z, y, x) of a
  // box; the first of those that are equally near; -1 where no window has it.
  //
  //   feature    [channel_stride], working memory
  int32_t nearest(const Round& round, const Box& box, const std::array<int64_t, 3>& offset,
                  const std::vector<Candidate>& candidates, std::vector<double>& feature) const;

 private:
  void interpolate(const Box& box, const std::array<int64_t, 3>& offset, double* feature) const;

  const Tokens& tokens_;
  SpatialWeights spatial_;
  Shape3 grid_;
  double margin_;
};

// How far a difference of two candidates' interpolated single precision distances can be from the
// exact one, for distances in space up to `spatial`.
double interpolation_margin(const ScoreBound& score, double spatial);

}  // namespace vtcd
