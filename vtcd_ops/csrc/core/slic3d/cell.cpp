// SPDX-License-Identifier: MIT
#include "core/slic3d/cell.h"

#include <algorithm>
#include <cstring>

#include "core/slic3d/corners.h"

namespace vtcd {
namespace {

// What a cluster won of a column in one tile: the number of voxels in the low half, the sum of
// their offsets along y in the high half. Sums over a tile of these, and of these times offsets
// along x, fit too.
constexpr int32_t kOneVoxel = 1;
constexpr int32_t kOneRow = 1 << 16;
constexpr int64_t kMaxOffsetSum = kMaxCellLength * (kMaxCellLength - 1) / 2;
static_assert(kMaxOffsetSum * kMaxOffsetSum < kOneRow / 2);

// 1 / (count - 1): offsets as a fraction of a cell, 0 for a cell of one voxel.
float inverse_length(const AxisCell& cell) {
  return cell.count > 1 ? 1.0f / static_cast<float>(cell.count - 1) : 0.0f;
}

int32_t sum(const IntPack& pack) {
  typedef int32_t Quad __attribute__((vector_size(16)));
  Quad quads[kFloatPackSize / 4];
  std::memcpy(quads, &pack, sizeof pack);
  for (int i = 1; i < kFloatPackSize / 4; ++i) quads[0] += quads[i];
  return (quads[0][0] + quads[0][1]) + (quads[0][2] + quads[0][3]);
}

// The four corners of a plane of a box.
void corners_of_plane(const Candidate& candidate, const Box& box, int64_t z, float (&plane)[2][2]) {
  const auto& c = candidate.corner;
  const float fraction = static_cast<float>(z) * inverse_length(box.z);
  for (int y = 0; y < 2; ++y)
    for (int x = 0; x < 2; ++x)
      plane[y][x] = z == 0                 ? c[0][y][x]
                    : z + 1 == box.z.count ? c[1][y][x]
                                           : c[0][y][x] + fraction * (c[1][y][x] - c[0][y][x]);
}

}  // namespace

CellLabeller::CellLabeller(const ExactDistances& exact, const RowLanesOfBoxes& lanes,
                           const Round& round, const Margins& margins, Shape3 size, int32_t* labels)
    : exact_(exact),
      lanes_(lanes),
      round_(round),
      margins_(margins),
      size_(size),
      labels_(labels),
      feature_(exact.channel_stride()) {}

void CellLabeller::label(const Box& box, const std::vector<Candidate>& candidates, bool any_outside,
                         bool write) {
  using LabelRows = void (CellLabeller::*)(const Box&, const std::vector<Candidate>&, bool);
  constexpr LabelRows kLabelRows[kMostInRows + 1] = {nullptr,
                                                     nullptr,
                                                     &CellLabeller::label_rows<2>,
                                                     &CellLabeller::label_rows<3>,
                                                     &CellLabeller::label_rows<4>,
                                                     &CellLabeller::label_rows<5>,
                                                     &CellLabeller::label_rows<6>,
                                                     &CellLabeller::label_rows<7>,
                                                     &CellLabeller::label_rows<8>};
  const size_t count = candidates.size();
  moments_.assign(count, Moments{});
  bool in_rows = !any_outside && count > 1 && count <= kMostInRows;
  for (const Candidate& candidate : candidates) in_rows &= !candidate.clipped;
  in_rows ? (this->*kLabelRows[count])(box, candidates, write)
          : label_voxels(box, candidates, write);
}

void CellLabeller::label_voxels(const Box& box, const std::vector<Candidate>& candidates,
                                bool write) {
  for (int64_t z = 0; z < box.z.count; ++z)
    for (int64_t begin = 0; begin < box.x.count; begin += kFloatPackSize)
      label_tile(tile(box, z, begin), candidates, write);
}

CellLabeller::Tile CellLabeller::tile(const Box& box, int64_t z, int64_t begin) {
  const int64_t valid = std::min<int64_t>(box.x.count - begin, kFloatPackSize);
  const IntPack column = iota() + static_cast<int32_t>(begin);
  const IntPack beyond = column >= static_cast<int32_t>(box.x.count);
  const FloatPack fraction = __builtin_convertvector(column, FloatPack) * inverse_length(box.x);
  return {box, z, begin, valid, fraction, column, beyond};
}

CellLabeller::Line CellLabeller::line(const Tile& tile, const float (&corner)[2][2]) {
  Line line;
  line.value = corner[0][0] + (corner[0][1] - corner[0][0]) * tile.fraction;
  const FloatPack last = corner[1][0] + (corner[1][1] - corner[1][0]) * tile.fraction;
  line.slope = (last - line.value) * inverse_length(tile.box.y);
  return line;
}

// For any number of candidates and any windows, with exact decisions where they are needed.
void CellLabeller::label_tile(const Tile& tile, const std::vector<Candidate>& candidates,
                              bool write) {
  lines_.clear();
  for (const Candidate& candidate : candidates) lines_.push_back(clipped_line(tile, candidate));
  IntPack one = broadcast(kOneVoxel);
  for (int64_t y = 0; y < tile.box.y.count; ++y, one += kOneRow) {
    const float dy = static_cast<float>(y);
    FloatPack nearest = broadcast(Corners::kFar), closest = nearest;
    IntPack label = broadcast(-1);
    for (const Line& line : lines_) {
      if (y < line.begin_y || y >= line.end_y) continue;
      const FloatPack value = line.value + dy * line.slope, difference = value - nearest;
      closest = minimum(absolute(difference), closest);
      nearest = minimum(value, nearest);
      label = difference < 0 ? line.cluster : label;
    }
    const IntPack close = (closest <= margins_.voxel) & ~tile.beyond;
    if (any(close)) label = decide(tile, y, candidates, nearest, close, label);
    for (Line& line : lines_) line.won = label == line.cluster ? line.won + one : line.won;
    if (write) write_labels(tile, y, label);
  }
  for (size_t i = 1; i < lines_.size(); ++i) add(tile, won_of(tile, lines_[i].won), moments_[i]);
}

CellLabeller::Line CellLabeller::clipped_line(const Tile& tile, const Candidate& candidate) const {
  const Box& box = tile.box;
  float corner[2][2];
  corners_of_plane(candidate, box, tile.z, corner);
  Line clipped = line(tile, corner);
  clipped.cluster = broadcast(candidate.cluster);
  clipped.won = IntPack{};
  clipped.begin_y = 0;
  clipped.end_y = box.y.count;
  if (!candidate.clipped) return clipped;
  const Cluster& cluster = round_.clusters[candidate.cluster];
  const int64_t z = box.z.first + tile.z;
  clipped.begin_y = cluster.begin[1] - box.y.first;
  clipped.end_y = z >= cluster.begin[0] && z < cluster.end[0] ? cluster.end[1] - box.y.first : 0;
  const int32_t first = static_cast<int32_t>(cluster.begin[2] - box.x.first);
  const int32_t end = static_cast<int32_t>(cluster.end[2] - box.x.first);
  const IntPack outside = (tile.column < first) | (tile.column >= end);
  clipped.value = outside ? broadcast(2 * Corners::kFar) : clipped.value;  // wins against none
  return clipped;
}

// The labels of row y with those lanes decided exactly that are too `close` to call.
IntPack CellLabeller::decide(const Tile& tile, int64_t y, const std::vector<Candidate>& candidates,
                             const FloatPack& nearest, const IntPack& close, IntPack label) {
  const float dy = static_cast<float>(y);
  for (int lane = 0; lane < tile.valid; ++lane) {
    if (!close[lane]) continue;
    near_.clear();
    for (size_t i = 0; i < lines_.size(); ++i) {
      const Line& line = lines_[i];
      if (y < line.begin_y || y >= line.end_y) continue;
      const float value = line.value[lane] + dy * line.slope[lane];
      if (value <= nearest[lane] + margins_.voxel) near_.push_back(candidates[i]);
    }
    label[lane] = decide_voxel(tile.box, {tile.z, y, tile.begin + lane});
  }
  return label;
}

// The nearest of near_ to a voxel.
int32_t CellLabeller::decide_voxel(const Box& box, const std::array<int64_t, 3>& offset) {
  const Nearest found = exact_.nearest(round_, box, offset, near_, feature_);
  certain_ &= found.certain;
  ++num_exact_;
  return found.cluster;
}

CellLabeller::PlaneMoments CellLabeller::won_of(const Tile& tile, const IntPack& won) {
  const IntPack valid = won & ~tile.beyond;
  const int32_t sums = sum(valid), x_sums = sum(valid * tile.column);
  return {sums % kOneRow, x_sums % kOneRow, sums / kOneRow, x_sums / kOneRow};
}

void CellLabeller::add(const Tile& tile, const PlaneMoments& plane, Moments& moments) {
  for (int i = 0; i < 4; ++i) {
    moments[i] += static_cast<double>(plane[i]);
    moments[i + 4] += static_cast<double>(tile.z * plane[i]);
  }
}

void CellLabeller::write_labels(const Tile& tile, int64_t y, const IntPack& labels) {
  int32_t* to = row_of_labels(tile.box, tile.z, y) + tile.begin;
  for (int lane = 0; lane < tile.valid; ++lane)
    if (labels[lane] >= 0) to[lane] = labels[lane];
}

}  // namespace vtcd
