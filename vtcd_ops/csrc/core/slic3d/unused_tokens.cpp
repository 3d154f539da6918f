// SPDX-License-Identifier: MIT
#include "core/slic3d/unused_tokens.h"

namespace vtcd {
namespace {

std::vector<int64_t> tokens_of(const std::vector<AxisCell>& cells, int64_t length) {
  std::vector<uint8_t> used(length);
  for (const AxisCell& cell : cells) used[cell.lower] = used[cell.upper] = 1;
  std::vector<int64_t> tokens;
  for (int64_t token = 0; token < length; ++token)
    if (used[token]) tokens.push_back(token);
  return tokens;
}

// For every token along an axis the nearest one in use that is not behind it; in front of the first
// one in use, that one.
std::vector<int64_t> sources(const std::vector<int64_t>& in_use, int64_t length) {
  std::vector<int64_t> source(length);
  for (int64_t token = 0, next = 0; token < length; ++token) {
    if (next + 1 < static_cast<int64_t>(in_use.size()) && in_use[next + 1] <= token) ++next;
    source[token] = in_use[next];
  }
  return source;
}

}  // namespace

TokensInUse::TokensInUse(const CellGrid& cells)
    : t(tokens_of(cells.z, cells.grid.t)),
      h(tokens_of(cells.y, cells.grid.h)),
      w(tokens_of(cells.x, cells.grid.w)),
      count(cells.grid.count()) {}

template <typename Scalar>
std::vector<Scalar> fill_unused_tokens(const Scalar* features, int64_t num_channels, Shape3 grid,
                                       const TokensInUse& in_use) {
  const auto from_t = sources(in_use.t, grid.t), from_h = sources(in_use.h, grid.h),
             from_w = sources(in_use.w, grid.w);
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

template std::vector<float> fill_unused_tokens(const float*, int64_t, Shape3, const TokensInUse&);
template std::vector<double> fill_unused_tokens(const double*, int64_t, Shape3, const TokensInUse&);

}  // namespace vtcd
