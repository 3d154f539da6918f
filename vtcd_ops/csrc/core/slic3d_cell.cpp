// SPDX-License-Identifier: MIT
#include "core/slic3d_cell.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace vtcd {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double lerp(double a, double b, double weight) { return a + weight * (b - a); }

// 1 / (count - 1): offsets as a fraction of a cell, 0 for a cell of one voxel.
double inverse_length(const AxisCell& cell) {
  return cell.count > 1 ? 1.0 / static_cast<double>(cell.count - 1) : 0.0;
}

// From the moments of an axis, sum 1 and sum d, to the weights of its two tokens.
void to_tokens(const AxisCell& cell, double& zeroth, double& first) {
  const double upper = cell.weight * zeroth + cell.slope * first;
  zeroth -= upper;
  first = upper;
}

// Up to kPackSize voxels of a box along x.
struct Span {
  Span(const Box& box, int64_t begin, int64_t width)
      : first(box.x.first + begin),
        count(static_cast<int32_t>(std::min<int64_t>(box.x.count - begin, kPackSize))),
        inside(first + kPackSize <= width) {
    for (int lane = 0; lane < kPackSize; ++lane) beyond[lane] = lane < count ? 0 : -1;
  }

  // Writes the labels that are not -1 and returns what is not 0 where they are new.
  LabelPack write(const LabelPack& labels, int32_t* to) const {
    LabelPack before = labels;
    if (inside) {
      std::memcpy(&before, to, sizeof before);
    } else {
      for (int lane = 0; lane < count; ++lane) before[lane] = to[lane];
    }
    const LabelPack keep = beyond | (labels < 0);
    const LabelPack after = keep ? before : labels;
    if (inside) {
      std::memcpy(to, &after, sizeof after);
    } else {
      for (int lane = 0; lane < count; ++lane) to[lane] = after[lane];
    }
    return before ^ after;
  }

  int64_t first;
  int32_t count;
  bool inside;  // kPackSize voxels from `first` are in the row
  LabelPack beyond;
};

}  // namespace

Extent extent_of(const Moments& m, const Box& box) {
  const int64_t count = m[0][0][0];
  return {count,
          {box.z.first * count + m[1][0][0], box.y.first * count + m[0][1][0],
           box.x.first * count + m[0][0][1]}};
}

TokenWeights token_weights(const Moments& moments, const Box& box) {
  TokenWeights w;
  for (int z = 0; z < 2; ++z) {
    for (int y = 0; y < 2; ++y) {
      for (int x = 0; x < 2; ++x) w[z][y][x] = static_cast<double>(moments[z][y][x]);
      to_tokens(box.x, w[z][y][0], w[z][y][1]);
    }
    for (int x = 0; x < 2; ++x) to_tokens(box.y, w[z][0][x], w[z][1][x]);
  }
  for (int y = 0; y < 2; ++y)
    for (int x = 0; x < 2; ++x) to_tokens(box.z, w[0][y][x], w[1][y][x]);
  return w;
}

bool CellLabeller::label(const Box& box, const std::vector<Candidate>& candidates,
                         const std::vector<Cluster>& clusters, bool any_outside, double margin) {
  using LabelPlane =
      bool (CellLabeller::*)(const Box&, const std::vector<Candidate>&, int64_t, int64_t, double);
  constexpr LabelPlane kLabelPlane[] = {
      &CellLabeller::label_plane<0>, &CellLabeller::label_plane<1>, &CellLabeller::label_plane<2>,
      &CellLabeller::label_plane<3>, &CellLabeller::label_plane<4>, &CellLabeller::label_plane<5>,
      &CellLabeller::label_plane<6>};
  const size_t count = candidates.size();
  if (lines_.size() < count) lines_.resize(count);
  moments_.assign(count, Moments{});
  bool clipped = any_outside;
  for (const Candidate& candidate : candidates) clipped |= candidate.clipped;
  bool changed = false;
  for (int64_t z = 0; z < box.z.count; ++z) {
    for (int64_t begin = 0; begin < box.x.count; begin += kPackSize) {
      prepare_plane(box, candidates, clusters, z, begin);
      const auto label_by =
          clipped || count >= std::size(kLabelPlane) ? kLabelPlane[0] : kLabelPlane[count];
      changed |= (this->*label_by)(box, candidates, z, begin, margin);
      if (!any_outside) add_moments(box, count, z, begin);
    }
  }
  return changed;
}

// Interpolates the candidates' corners to the plane `z` of the box, voxels [begin, begin +
// kPackSize) along x.
void CellLabeller::prepare_plane(const Box& box, const std::vector<Candidate>& candidates,
                                 const std::vector<Cluster>& clusters, int64_t z, int64_t begin) {
  const double fraction = static_cast<double>(z) * inverse_length(box.z);
  const double inverse_y = inverse_length(box.y), inverse_x = inverse_length(box.x);
  const Pack offset = iota() + static_cast<double>(begin);
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto& c = candidates[i].corner;
    const double v00 = lerp(c[0][0][0], c[1][0][0], fraction);
    const double v01 = lerp(c[0][0][1], c[1][0][1], fraction);
    const double v10 = lerp(c[0][1][0], c[1][1][0], fraction);
    const double v11 = lerp(c[0][1][1], c[1][1][1], fraction);
    Line& line = lines_[i];
    const double first = (v01 - v00) * inverse_x, last = (v11 - v10) * inverse_x;
    line.value = v00 + first * offset;
    line.slope = (v10 - v00) * inverse_y + ((last - first) * inverse_y) * offset;
    line.cluster = IndexPack{} + candidates[i].cluster;
    line.count = line.sum_y = IndexPack{};
    line.begin_y = 0;
    line.end_y = box.y.count;
    if (!candidates[i].clipped) continue;
    const Cluster& cluster = clusters[candidates[i].cluster];
    const bool in_plane = box.z.first + z >= cluster.begin[0] && box.z.first + z < cluster.end[0];
    line.begin_y = cluster.begin[1] - box.y.first;
    line.end_y = in_plane ? cluster.end[1] - box.y.first : 0;
    for (int lane = 0; lane < kPackSize; ++lane) {
      const int64_t x = box.x.first + begin + lane;
      if (x < cluster.begin[2] || x >= cluster.end[2]) line.value[lane] = kInfinity;
    }
  }
}

// `Count` is the number of candidates where it is small and no window ends inside the box; else 0.
template <int Count>
bool CellLabeller::label_plane(const Box& box, const std::vector<Candidate>& candidates, int64_t z,
                               int64_t begin, double margin) {
  const int count = Count > 0 ? Count : static_cast<int>(candidates.size());
  Line fixed[Count > 0 ? Count : 1];  // in registers
  Line* lines = Count > 0 ? fixed : lines_.data();
  if (Count > 0) std::copy_n(lines_.begin(), count, fixed);
  const Span span(box, begin, size_.w);
  int32_t* row = labels_ + ((box.z.first + z) * size_.h + box.y.first) * size_.w + span.first;
  LabelPack difference = {};
  for (int64_t y = 0; y < box.y.count; ++y, row += size_.w) {
    const double dy = static_cast<double>(y);
    Pack nearest = broadcast(kInfinity);
    IndexPack label = IndexPack{} - 1;
    for (int i = 0; i < count; ++i) {
      if (Count == 0 && (y < lines[i].begin_y || y >= lines[i].end_y)) continue;
      const Pack distance = lines[i].value + dy * lines[i].slope;
      const IndexPack nearer = distance + margin < nearest;
      nearest = nearer ? distance : nearest;
      label = nearer ? lines[i].cluster : label;
    }
    for (int i = 0; i < count; ++i) {
      const IndexPack won = label == lines[i].cluster;
      lines[i].count -= won;
      lines[i].sum_y += won & (IndexPack{} + y);
    }
    difference |= span.write(__builtin_convertvector(label, LabelPack), row);
  }
  if (Count > 0) std::copy_n(fixed, count, lines_.begin());
  const LabelPack none = {};
  return std::memcmp(&difference, &none, sizeof none) != 0;
}

// Adds what the candidates won in a plane to their moments.
void CellLabeller::add_moments(const Box& box, size_t num_candidates, int64_t z, int64_t begin) {
  const int64_t valid = std::min<int64_t>(box.x.count - begin, kPackSize);
  for (size_t i = 0; i < num_candidates; ++i) {
    int64_t count = 0, sum_x = 0, sum_y = 0, sum_xy = 0;
    for (int64_t lane = 0; lane < valid; ++lane) {
      count += lines_[i].count[lane];
      sum_x += lines_[i].count[lane] * (begin + lane);
      sum_y += lines_[i].sum_y[lane];
      sum_xy += lines_[i].sum_y[lane] * (begin + lane);
    }
    Moments& m = moments_[i];
    m[0][0][0] += count;
    m[0][0][1] += sum_x;
    m[0][1][0] += sum_y;
    m[0][1][1] += sum_xy;
    m[1][0][0] += z * count;
    m[1][0][1] += z * sum_x;
    m[1][1][0] += z * sum_y;
    m[1][1][1] += z * sum_xy;
  }
}

}  // namespace vtcd
