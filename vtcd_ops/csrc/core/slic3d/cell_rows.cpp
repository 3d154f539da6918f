// SPDX-License-Identifier: MIT
// A box that a few clusters share, by the interval that each of them has of every row.
#include <algorithm>
#include <cmath>

#include "core/slic3d/cell.h"

namespace vtcd {
namespace {

// 1 / (count - 1): a voxel as a fraction of a cell, 0 for a cell of one voxel.
float inverse_length(const AxisCell& cell) {
  return cell.count > 1 ? 1.0f / static_cast<float>(cell.count - 1) : 0.0f;
}

// The candidates' distances, less the first one's, at the corners of a box: [candidates, 2 z + y,
// x].
template <int Count>
struct CornerDifferences {
  explicit CornerDifferences(const std::vector<Candidate>& candidates) {
    for (int i = 0; i < Count; ++i)
      for (int corner = 0; corner < 8; ++corner)
        value[i][corner / 2][corner % 2] =
            (&candidates[i].corner[0][0][0])[corner] - (&candidates[0].corner[0][0][0])[corner];
  }

  // The largest magnitude.
  float largest() const {
    float found = 0;
    const float* from = &value[0][0][0];
#pragma omp simd reduction(max : found)
    for (int i = 8; i < 8 * Count; ++i) found = std::max(found, std::abs(from[i]));
    return found;
  }

  float value[Count][4][2];
};

// Sums over rows of the moments of their intervals, in the order of Moments.
struct RowMoments {
  RowMoments() {
    for (FloatPack& sum : low) sum = FloatPack{};
    for (FloatPack& sum : high) sum = FloatPack{};
  }

  void add(const RowIntervals& interval, const IntPack& counted, const RowLanes& rows,
           int64_t pack) {
    const FloatPack length = interval.end - interval.begin;
    const FloatPack voxels = counted & (length > 0) ? length : FloatPack{};
    const FloatPack offsets = voxels * (interval.begin + interval.end - 1) * 0.5f;
    const FloatPack y = rows.y(pack), z = rows.z(pack), yz = rows.yz(pack);
    low[0] += voxels;
    low[1] += offsets;
    low[2] = multiply_add(voxels, y, low[2]);
    low[3] = multiply_add(offsets, y, low[3]);
    high[0] = multiply_add(voxels, z, high[0]);
    high[1] = multiply_add(offsets, z, high[1]);
    high[2] = multiply_add(voxels, yz, high[2]);
    high[3] = multiply_add(offsets, yz, high[3]);
  }

  void add_to(Moments& moments) const {
    const FloatQuad of_low = sums_of_lanes(low), of_high = sums_of_lanes(high);
    for (int i = 0; i < 4; ++i) {
      moments[i] += static_cast<double>(of_low[i]);
      moments[i + 4] += static_cast<double>(of_high[i]);
    }
  }

  FloatPack low[4], high[4];  // of the moments without and with dz
};

}  // namespace

// For `Count` candidates whose windows have the whole box.
template <int Count>
void CellLabeller::label_rows(const Box& box, const std::vector<Candidate>& candidates,
                              bool write) {
  const RowLanes& rows = lanes_.of(box);
  const CornerDifferences<Count> differences(candidates);
  const float margin = margins_.on_rows(differences.largest());
  const float length = static_cast<float>(box.x.count), inverse = inverse_length(box.x);
  RowMoments won[Count - 1];
  for (int64_t pack = 0; pack < rows.num_packs(); ++pack) {
    RowValues distance[Count];
    distance[0] = {FloatPack{}, FloatPack{}};
    for (int i = 1; i < Count; ++i)
      distance[i] = row_values(differences.value[i], rows, pack, inverse);
    RowIntervals interval[Count];
    find_intervals(distance, length, interval);
    const IntPack inside = rows.inside(pack) > 0;
    const IntPack certain = inside & certain_rows(distance, interval, length, margin);
    for (int i = 1; i < Count; ++i) won[i - 1].add(interval[i], certain, rows, pack);
    if (write) write_rows(box, pack, candidates, interval);
    const IntPack close = inside & ~certain;
    if (any(close)) label_close_rows(box, pack, candidates, distance, margin, close, write);
  }
  for (int i = 1; i < Count; ++i) won[i - 1].add_to(moments_[i]);
}

// Rows on which some voxels are too close to call.
template <int Count>
void CellLabeller::label_close_rows(const Box& box, int64_t pack,
                                    const std::vector<Candidate>& candidates,
                                    const RowValues (&distance)[Count], float margin,
                                    const IntPack& close, bool write) {
  for (int lane = 0; lane < kFloatPackSize; ++lane) {
    if (!close[lane]) continue;
    float value[Count], step[Count];
    for (int i = 0; i < Count; ++i) {
      value[i] = distance[i].first[lane];
      step[i] = distance[i].step[lane];
    }
    const int64_t row = pack * kFloatPackSize + lane;
    const int64_t z = row / box.y.count, y = row % box.y.count;
    for (int64_t x = 0; x < box.x.count; ++x) {
      const int winner = nearest_of(box, {z, y, x}, candidates, value, step, margin);
      if (write) row_of_labels(box, z, y)[x] = candidates[winner].cluster;
      if (winner == 0) continue;
      const double of_x[2] = {1, static_cast<double>(x)};
      const double of_row[4] = {1, static_cast<double>(y), static_cast<double>(z),
                                static_cast<double>(y * z)};
      for (int j = 0; j < 8; ++j) moments_[winner][j] += of_row[j / 2] * of_x[j % 2];
    }
  }
}

// The place among the candidates of the nearest one to a voxel.
template <int Count>
int CellLabeller::nearest_of(const Box& box, const std::array<int64_t, 3>& offset,
                             const std::vector<Candidate>& candidates, const float (&first)[Count],
                             const float (&step)[Count], float margin) {
  const float x = static_cast<float>(offset[2]);
  int nearest = 0, num_near = 0;
  float value[Count];
  for (int i = 0; i < Count; ++i) {
    value[i] = first[i] + x * step[i];
    if (value[i] < value[nearest]) nearest = i;
  }
  const float limit = value[nearest] + margin;
  for (int i = 0; i < Count; ++i) num_near += value[i] <= limit;
  if (num_near == 1) return nearest;
  near_.clear();
  for (int i = 0; i < Count; ++i)
    if (value[i] <= limit) near_.push_back(candidates[i]);
  const int32_t cluster = decide_voxel(box, offset);
  for (int i = 0; i < Count; ++i)
    if (candidates[i].cluster == cluster) return i;
  return nearest;
}

template <int Count>
void CellLabeller::write_rows(const Box& box, int64_t pack,
                              const std::vector<Candidate>& candidates,
                              const RowIntervals (&interval)[Count]) {
  IntPack begin[Count], end[Count];
  for (int i = 0; i < Count; ++i) {
    begin[i] = __builtin_convertvector(interval[i].begin, IntPack);
    end[i] = __builtin_convertvector(interval[i].end, IntPack);
  }
  const int64_t first_row = pack * kFloatPackSize;
  const int64_t last_row = std::min(first_row + kFloatPackSize, box.z.count * box.y.count);
  for (int64_t row = first_row; row < last_row; ++row) {
    int32_t* to = row_of_labels(box, row / box.y.count, row % box.y.count);
    for (int64_t x = 0; x < box.x.count; x += kFloatPackSize) {
      const IntPack column = iota() + static_cast<int32_t>(x);
      IntPack label = broadcast(candidates[0].cluster);
      for (int i = 1; i < Count; ++i) {
        const IntPack won =
            (column >= begin[i][row - first_row]) & (column < end[i][row - first_row]);
        label = won ? broadcast(candidates[i].cluster) : label;
      }
      store_some(to + x, label, box.x.count - x);
    }
  }
}

template void CellLabeller::label_rows<2>(const Box&, const std::vector<Candidate>&, bool);
template void CellLabeller::label_rows<3>(const Box&, const std::vector<Candidate>&, bool);
template void CellLabeller::label_rows<4>(const Box&, const std::vector<Candidate>&, bool);
template void CellLabeller::label_rows<5>(const Box&, const std::vector<Candidate>&, bool);
template void CellLabeller::label_rows<6>(const Box&, const std::vector<Candidate>&, bool);
template void CellLabeller::label_rows<7>(const Box&, const std::vector<Candidate>&, bool);
template void CellLabeller::label_rows<8>(const Box&, const std::vector<Candidate>&, bool);

}  // namespace vtcd
