// SPDX-License-Identifier: MIT
#include "core/slic3d/exact.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/formulas/slic3d_margin.h"
#include "core/pack.h"

namespace vtcd {
namespace {

bool has(const Cluster& cluster, const std::array<int64_t, 3>& voxel) {
  return cluster.has(0, voxel[0]) && cluster.has(1, voxel[1]) && cluster.has(2, voxel[2]);
}

// |a - b|^2, in kRowAlignment partial sums whatever the instruction set.
double squared_distance(const double* a, const double* b, int64_t stride) {
  Pack sum[kRowPacks] = {};
  for (int64_t c = 0; c < stride; c += kRowAlignment) {
    for (int p = 0; p < kRowPacks; ++p) {
      const Pack difference = load(a + c + p * kPackSize) - load(b + c + p * kPackSize);
      sum[p] += difference * difference;
    }
  }
  return sum_in_order(sum);
}

}  // namespace

ExactDistances::ExactDistances(const Tokens& tokens, const SpatialWeights& spatial,
                               const CellGrid& cells, double features)
    : tokens_(tokens), spatial_(spatial), grid_(cells.grid), features_(features) {}

double ExactDistances::rounding(double distance, int64_t most_voxels) const {
  return distance_rounding(distance, most_voxels, features_);
}

Nearest ExactDistances::nearest(const Round& round, const Box& box,
                                const std::array<int64_t, 3>& offset,
                                const std::vector<Candidate>& candidates,
                                std::vector<double>& feature) const {
  interpolate(box, offset, feature.data());
  const std::array<int64_t, 3> voxel = {box.z.first + offset[0], box.y.first + offset[1],
                                        box.x.first + offset[2]};
  constexpr double kFar = std::numeric_limits<double>::infinity();
  double least = kFar, second = kFar;
  int32_t nearest = -1;
  for (const Candidate& candidate : candidates) {
    const Cluster& cluster = round.clusters[candidate.cluster];
    if (candidate.clipped && !has(cluster, voxel)) continue;
    const int64_t stride = tokens_.channel_stride();
    double distance =
        squared_distance(feature.data(), &round.centers[candidate.cluster * stride], stride);
    for (int axis = 0; axis < 3; ++axis) distance += spatial_.distance(cluster, axis, voxel[axis]);
    second = std::min(second, std::max(distance, least));
    if (distance < least) nearest = candidate.cluster;
    least = std::min(least, distance);
  }
  const bool alone = second == kFar;
  return {nearest, alone || second - rounding(second, round.most_voxels) >
                                least + rounding(least, round.most_voxels)};
}

void ExactDistances::interpolate(const Box& box, const std::array<int64_t, 3>& offset,
                                 double* feature) const {
  const double weight[3] = {box.z.weight_at(offset[0]), box.y.weight_at(offset[1]),
                            box.x.weight_at(offset[2])};
  const int64_t z[2] = {box.z.lower, box.z.upper}, y[2] = {box.y.lower, box.y.upper};
  const double* corner[2][2][2];
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) {
      const int64_t row = (z[i] * grid_.h + y[j]) * grid_.w;
      corner[i][j][0] = tokens_.token(row + box.x.lower);
      corner[i][j][1] = tokens_.token(row + box.x.upper);
    }
  for (int64_t c = 0; c < tokens_.channel_stride(); c += kPackSize) {
    Pack plane[2];
    for (int i = 0; i < 2; ++i) {
      Pack line[2];
      for (int j = 0; j < 2; ++j)
        line[j] = lerp(load(corner[i][j][0] + c), load(corner[i][j][1] + c), weight[2]);
      plane[i] = lerp(line[0], line[1], weight[1]);
    }
    store(feature + c, lerp(plane[0], plane[1], weight[0]));
  }
}

}  // namespace vtcd
