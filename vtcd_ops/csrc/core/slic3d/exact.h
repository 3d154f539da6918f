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

// A voxel's nearest cluster.
struct Nearest {
  int32_t cluster;  // -1 where no window has the voxel
  bool certain;     // no other is as near within rounding, the reference's rounding too
};

class ExactDistances {
 public:
  // features: no scaled feature vector, less the least feature in every channel, is longer
  ExactDistances(const Tokens& tokens, const SpatialWeights& spatial, const CellGrid& cells,
                 double features);

  int64_t channel_stride() const { return tokens_.channel_stride(); }

  // What rounding can do to a distance, here and in the reference, whose centres are sums of up to
  // most_voxels voxels one after another.
  double rounding(double distance, int64_t most_voxels) const;

  // The nearest of `candidates` whose windows have the voxel at offsets (z, y, x) of a box.
  //
  //   feature    [channel_stride], working memory
  Nearest nearest(const Round& round, const Box& box, const std::array<int64_t, 3>& offset,
                  const std::vector<Candidate>& candidates, std::vector<double>& feature) const;

 private:
  void interpolate(const Box& box, const std::array<int64_t, 3>& offset, double* feature) const;

  const Tokens& tokens_;
  SpatialWeights spatial_;
  Shape3 grid_;
  double features_;
};

}  // namespace vtcd
