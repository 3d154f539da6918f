// SPDX-License-Identifier: MIT
// The rows of a box along x, one in each lane.
#pragma once

#include <cstdint>
#include <vector>

#include "core/interpolation.h"
#include "core/pack.h"
#include "core/slic3d/clusters.h"

namespace vtcd {

// Where the rows of boxes of `num_z` planes of `num_y` rows lie: row z * num_y + y is in lane
// (z * num_y + y) % kFloatPackSize of a pack. All whole numbers here are exact.
class RowLanes {
 public:
  RowLanes(int64_t num_z, int64_t num_y);

  int64_t num_packs() const { return num_packs_; }
  // Weight of corner (z, y) of the box on the rows, corner = 2 z + y; 0 beyond the last row.
  FloatPack weight(int64_t pack, int corner) const { return part(pack, corner); }
  // Offsets from the box's first row.
  FloatPack y(int64_t pack) const { return part(pack, 4); }
  FloatPack z(int64_t pack) const { return part(pack, 5); }
  FloatPack yz(int64_t pack) const { return part(pack, 6); }
  // 1 where there is a row, else 0.
  FloatPack inside(int64_t pack) const { return part(pack, 7); }

 private:
  static constexpr int64_t kParts = 8;

  FloatPack part(int64_t pack, int64_t which) const {
    return load(&values_[(pack * kParts + which) * kFloatPackSize]);
  }

  int64_t num_packs_;
  std::vector<float> values_;  // [packs, kParts, kFloatPackSize]
};

// The RowLanes of every box of a grid of cells.
class RowLanesOfBoxes {
 public:
  explicit RowLanesOfBoxes(const CellGrid& cells);

  const RowLanes& of(const Box& box) const {
    return lanes_[place_[box.z.count * (kMaxCellLength + 1) + box.y.count]];
  }

 private:
  std::vector<int32_t> place_;  // [planes, rows]: of the box in lanes_, or -1
  std::vector<RowLanes> lanes_;
};

// Values on the rows of a box that are affine along x: `first` at x = 0, growing by `step`.
struct RowValues {
  FloatPack first, step;

  FloatPack at(const FloatPack& x) const { return multiply_add(x, step, first); }
};

// From values at a box's corners, [2 z + y, x]; inverse_length is 1 / (voxels of a row - 1), or 0.
inline RowValues row_values(const float (&corner)[4][2], const RowLanes& rows, int64_t pack,
                            float inverse_length) {
  FloatPack first = {}, last = {};
  for (int i = 0; i < 4; ++i) {
    const FloatPack weight = rows.weight(pack, i);
    first = multiply_add(weight, broadcast(corner[i][0]), first);
    last = multiply_add(weight, broadcast(corner[i][1]), last);
  }
  // The sum makes a negative zero positive: equal steps have a difference of +0.
  return {first, (last - first) * inverse_length + 0.0f};
}

// Voxels [begin, end) of each row, whole numbers; none where end <= begin.
struct RowIntervals {
  FloatPack begin, end;
};

// Where each of `Count` clusters is nearest on rows of `length` voxels, found by where each two are
// equally near. On a row the nearest of affine distances is in one piece for each cluster. What is
// found is not certain: is_certain() says where it is right.
template <int Count>
void find_intervals(const RowValues (&distance)[Count], float length,
                    RowIntervals (&interval)[Count]) {
  for (RowIntervals& each : interval) each = {FloatPack{}, broadcast(length)};
  for (int a = 0; a < Count; ++a)
    for (int b = a + 1; b < Count; ++b) {
      const FloatPack difference = distance[b].first - distance[a].first;
      const FloatPack step = distance[b].step - distance[a].step;
      // b is nearer before the crossing and a from it on where the difference grows, else a and b.
      const IntPack grows = step >= 0;
      const FloatPack after = minimum(1 - difference / step, broadcast(length));
      const FloatPack crossing = whole(maximum(after, FloatPack{}));
      interval[b].end = grows ? minimum(crossing, interval[b].end) : interval[b].end;
      interval[a].begin = grows ? maximum(crossing, interval[a].begin) : interval[a].begin;
      interval[a].end = grows ? interval[a].end : minimum(crossing, interval[a].end);
      interval[b].begin = grows ? interval[b].begin : maximum(crossing, interval[b].begin);
    }
}

// The rows on which all voxels are in one interval each, and every cluster is nearer than all
// others by more than `margin` at both ends of its interval: then, as distances are affine, also
// between them (docs/mathematics.md).
template <int Count>
IntPack certain_rows(const RowValues (&distance)[Count], const RowIntervals (&interval)[Count],
                     float length, float margin) {
  FloatPack total = {};
  IntPack certain = broadcast(-1);
  for (int k = 0; k < Count; ++k) {
    const FloatPack &first = interval[k].begin, last = interval[k].end - 1;
    const FloatPack own_first = distance[k].at(first), own_last = distance[k].at(last);
    FloatPack least = broadcast(2 * margin);
    for (int j = 0; j < Count; ++j) {
      if (j == k) continue;
      least = minimum(distance[j].at(first) - own_first, least);
      least = minimum(distance[j].at(last) - own_last, least);
    }
    const IntPack none = last < first;
    certain &= none | (least > margin);
    total += none ? FloatPack{} : last - first + 1;
  }
  return certain & (total == length);
}

}  // namespace vtcd
