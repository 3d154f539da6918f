// SPDX-License-Identifier: MIT
#include "core/slic3d/unused_tokens.h"

namespace vtcd {
namespace {

// For every token along an axis the nearest one in use that is not behind it; in front of the first
// one in use, that one.
std::vector<int64_t> sources(const std::vector<AxisCell>& cells, int64_t length) {
  std::vector<int64_t> source(length, -1);
  for (const AxisCell& cell : cells) {
    source[cell.lower] = cell.lower;
    source[cell.upper] = cell.upper;
  }
  int64_t last = cells.front().lower;
  for (int64_t& token : source) last = token = token < 0 ? last : token;
  return source;
}

bool all_in_use(const std::vector<int64_t>& source) {
  for (size_t i = 0; i < source.size(); ++i)
    if (source[i] != static_cast<int64_t>(i)) return false;
  return true;
}

}  // namespace

template <typename Scalar>
std::vector<Scalar> fill_unused_tokens(const Scalar* features, int64_t num_channels,
                                       const CellGrid& cells) {
  const Shape3 grid = cells.grid;
  const auto from_t = sources(cells.z, grid.t), from_h = sources(cells.y, grid.h),
             from_w = sources(cells.x, grid.w);
  if (all_in_use(from_t) && all_in_use(from_h) && all_in_use(from_w)) return {};
  std::vector<Scalar> filled;
  filled.reserve(num_channels * grid.count());
  for (int64_t c = 0; c < num_channels; ++c)
    for (const int64_t t : from_t)
      for (const int64_t h : from_h) {
        const Scalar* row = features + ((c * grid.t + t) * grid.h + h) * grid.w;
        for (const int64_t w : from_w) filled.push_back(row[w]);
      }
  return filled;
}

template std::vector<float> fill_unused_tokens(const float*, int64_t, const CellGrid&);
template std::vector<double> fill_unused_tokens(const double*, int64_t, const CellGrid&);

}  // namespace vtcd
