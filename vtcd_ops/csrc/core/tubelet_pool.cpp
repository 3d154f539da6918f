// SPDX-License-Identifier: MIT
#include "core/tubelet_pool.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/formulas/tubelet_pool.h"
#include "core/pack.h"

namespace vtcd {
namespace {

constexpr int64_t kBits = 64;  // of a word

// Bit i is whether labels[i] differs from the label before it, for i below count, at most kBits.
uint64_t changes(const int32_t* labels, int64_t count) {
  return differing(labels, labels - 1, count);
}
uint64_t changes(const int64_t* labels, int64_t count) {
  uint64_t bits = 0;
  for (int64_t i = 0; i < count; ++i)
    bits |= static_cast<uint64_t>(labels[i] != labels[i - 1]) << i;
  return bits;
}

// What the voxels of each of a block of labels weigh on each token.
class LabelWeights {
 public:
  LabelWeights(const CellGrid& cells, int64_t num_labels)
      : cells_(cells),
        row_length_(padded(cells.grid.count())),
        cell_of_x_(cells.size.w),
        cell_starts_((cells.size.w + kBits - 1) / kBits),
        begin_(cells.size.w + 1) {
    weights_.resize(num_labels * row_length_);
    plane_.resize(num_labels * cells.grid.h * cells.grid.w);
    for (const AxisCell& x : cells.x)
      cell_starts_[x.first / kBits] |= uint64_t{1} << (x.first % kBits);
    for (size_t cell = 0; cell < cells.x.size(); ++cell)
      for (int64_t d = 0; d < cells.x[cell].count; ++d)
        cell_of_x_[cells.x[cell].first + d] = static_cast<int32_t>(cell);
  }

  int64_t row_length() const { return row_length_; }
  // [row_length], of the label first_label + index; padded with zeros.
  const double* row(int64_t index) const { return &weights_[index * row_length_]; }

  // labels [T, H, W]; those outside [first_label, first_label + num_labels) are ignored. Adds the
  // voxels of those to their counts, [num_labels], unless it is nullptr.
  template <typename Label>
  void sum(const Label* labels, int64_t first_label, int64_t num_labels, int64_t* counts) {
    std::fill(weights_.begin(), weights_.end(), 0.0);
    for (const AxisCell& z : cells_.z) {
      for (int64_t dz = 0; dz < z.count; ++dz) {
        std::fill(plane_.begin(), plane_.end(), 0.0);
        const Label* plane = labels + (z.first + dz) * cells_.size.h * cells_.size.w;
        for (const AxisCell& y : cells_.y)
          for (int64_t dy = 0; dy < y.count; ++dy)
            add_row(plane + (y.first + dy) * cells_.size.w, y, y.weight_at(dy), first_label,
                    num_labels, counts);
        add_plane(z, z.weight_at(dz), num_labels);
      }
    }
  }

 private:
  // Adds the runs of equal labels of one row to the plane, cut where a cell ends.
  template <typename Label>
  void add_row(const Label* labels, const AxisCell& y, double weight, int64_t first_label,
               int64_t num_labels, int64_t* counts) {
    const int64_t num_runs = find_runs(labels);
    for (int64_t run = 0; run < num_runs; ++run) {
      const int64_t begin = begin_[run], count = begin_[run + 1] - begin;
      const int64_t index = static_cast<int64_t>(labels[begin]) - first_label;
      if (index < 0 || index >= num_labels) continue;
      if (counts != nullptr) counts[index] += count;
      const AxisCell& x = cells_.x[cell_of_x_[begin]];
      const auto [on_lower, on_upper] = weigh_run(x, begin - x.first, count);
      double* rows = &plane_[index * cells_.grid.h * cells_.grid.w];
      double* lower = rows + y.lower * cells_.grid.w;
      double* upper = rows + y.upper * cells_.grid.w;
      lower[x.lower] += (1 - weight) * on_lower;
      lower[x.upper] += (1 - weight) * on_upper;
      upper[x.lower] += weight * on_lower;
      upper[x.upper] += weight * on_upper;
    }
  }

  // Where runs of equal labels of a row begin, and cells; after the last one, where the row ends.
  template <typename Label>
  int64_t find_runs(const Label* labels) {
    const int64_t width = cells_.size.w;
    int64_t num_runs = 0;
    for (int64_t first = 0; first < width; first += kBits) {
      const int64_t count = std::min(kBits, width - first), skipped = first == 0 ? 1 : 0;
      uint64_t bits = changes(labels + first + skipped, count - skipped) << skipped;
      bits |= cell_starts_[first / kBits];
      for (; bits != 0; bits &= bits - 1)
        begin_[num_runs++] = static_cast<int32_t>(first) + std::countr_zero(bits);
    }
    begin_[num_runs] = static_cast<int32_t>(width);
    return num_runs;
  }

  void add_plane(const AxisCell& z, double weight, int64_t num_labels) {
    const int64_t size = cells_.grid.h * cells_.grid.w;
    for (int64_t index = 0; index < num_labels; ++index) {
      const double* from = &plane_[index * size];
      double* lower = &weights_[index * row_length_ + z.lower * size];
      double* upper = &weights_[index * row_length_ + z.upper * size];
      for (int64_t i = 0; i < size; ++i) {
        const auto [on_lower, on_upper] = weigh_plane(from[i], weight);
        lower[i] += on_lower;
        upper[i] += on_upper;
      }
    }
  }

  const CellGrid& cells_;
  int64_t row_length_;
  std::vector<int32_t> cell_of_x_;
  std::vector<uint64_t> cell_starts_;  // bits: whether a cell begins at a voxel of a row
  std::vector<int32_t> begin_;         // of the runs of a row
  std::vector<double> weights_;        // [labels, row_length]
  std::vector<double> plane_;          // [labels, h, w]: of one z
};

template <typename Label>
void count_voxels(const Label* labels, int64_t num_voxels, int64_t num_tubelets, int64_t* counts) {
  std::fill_n(counts, num_tubelets, 0);
  for (int64_t begin = 0; begin < num_voxels;) {
    int64_t end = begin + 1;
    while (end < num_voxels && labels[end] == labels[begin]) ++end;
    if (labels[begin] >= 0) counts[labels[begin]] += end - begin;
    begin = end;
  }
}

// The products of a row with `Rows` others. kRowAlignment partial sums each, whatever the
// instruction set, so that the order of the additions is always the same.
template <int Rows>
void dot(const double* row, const double* const* others, int64_t length, double* products) {
  Pack sum[Rows][kRowPacks] = {};
  for (int64_t i = 0; i < length; i += kRowAlignment)
    for (int p = 0; p < kRowPacks; ++p) {
      const Pack value = load(row + i + p * kPackSize);
      for (int r = 0; r < Rows; ++r) sum[r][p] += value * load(others[r] + i + p * kPackSize);
    }
  for (int r = 0; r < Rows; ++r) products[r] = sum_in_order(sum[r]);
}

// The mean where the product of all tokens with the weights is not finite: tokens that no voxel of
// the label uses do not count, whatever they are, and no sum is larger than the mean's own terms.
double careful_mean(const double* tokens, const double* weights, int64_t length, int64_t count) {
  double mean = 0;
  for (int64_t i = 0; i < length; ++i)
    if (weights[i] != 0) mean += weights[i] / static_cast<double>(count) * tokens[i];
  return mean;
}

// Whether every voxel is a token: then nothing is interpolated, and every weight is 0 or 1.
bool voxels_are_tokens(const CellGrid& cells) {
  return cells.grid.t == cells.size.t && cells.grid.h == cells.size.h &&
         cells.grid.w == cells.size.w;
}

// Labels whose sums are held at once, of one channel.
constexpr int64_t kTokenLabelBlock = 4096;

struct LaneSums {
  double lanes[kSumLanes];
};

// The means of one channel, each token added to those of its own label alone: in the lanes that
// dot() adds in, so that the means are the same bit for bit.
//
//   labels      [N], of the tokens
//   means       [S], num_channels apart, out
template <typename Scalar, typename Label>
void mean_of_tokens(const Scalar* tokens, const Label* labels, int64_t num_tokens,
                    const int64_t* counts, int64_t num_tubelets, int64_t num_channels,
                    std::vector<LaneSums>& sums, Scalar* means) {
  Scalar not_finite = 0;  // x - x is 0 for a finite x, else NaN
#pragma omp simd reduction(+ : not_finite)
  for (int64_t i = 0; i < num_tokens; ++i) not_finite += tokens[i] - tokens[i];
  for (int64_t first = 0; first < num_tubelets; first += kTokenLabelBlock) {
    const int64_t block = std::min(num_tubelets - first, kTokenLabelBlock);
    auto index_of = [&](int64_t token) { return static_cast<int64_t>(labels[token]) - first; };
    std::fill_n(sums.begin(), block, LaneSums{});
    for (int64_t i = 0; i < num_tokens; ++i)
      if (index_of(i) >= 0 && index_of(i) < block)
        sums[index_of(i)].lanes[i % kSumLanes] += static_cast<double>(tokens[i]);
    std::vector<double> means_of_block(block);
    bool careful = not_finite != 0;  // as careful_mean(), of all labels at once
    for (int64_t s = 0; s < block; ++s) {
      const double count = static_cast<double>(std::max<int64_t>(counts[first + s], 1));
      means_of_block[s] = sum_of_lanes(sums[s].lanes) / count;
      careful |= !std::isfinite(means_of_block[s]);
    }
    if (careful) {
      std::vector<double> slow(block);
      for (int64_t i = 0; i < num_tokens; ++i)
        if (index_of(i) >= 0 && index_of(i) < block)
          slow[index_of(i)] += 1.0 / static_cast<double>(counts[labels[i]]) * tokens[i];
      for (int64_t s = 0; s < block; ++s)
        if (not_finite != 0 || !std::isfinite(means_of_block[s])) means_of_block[s] = slow[s];
    }
    for (int64_t s = 0; s < block; ++s)
      means[(first + s) * num_channels] = static_cast<Scalar>(means_of_block[s]);
  }
}

}  // namespace

template <typename Scalar, typename Label>
void tubelet_pool(const Scalar* features, int64_t num_channels, const Label* labels,
                  int64_t num_tubelets, const CellGrid& cells, const ParallelFor& parallel_for,
                  Scalar* means, int64_t* counts) {
  const int64_t num_tokens = cells.grid.count();
  if (voxels_are_tokens(cells)) {
    count_voxels(labels, cells.size.count(), num_tubelets, counts);
    parallel_for(0, num_channels, 8, [&](int64_t begin, int64_t end) {
      std::vector<LaneSums> sums(std::min(num_tubelets, kTokenLabelBlock));
      for (int64_t c = begin; c < end; ++c)
        mean_of_tokens(features + c * num_tokens, labels, num_tokens, counts, num_tubelets,
                       num_channels, sums, means + c);
    });
    return;
  }
  std::fill_n(counts, num_tubelets, 0);
  LabelWeights weights(cells, std::min(num_tubelets, kLabelBlock));
  for (int64_t first = 0; first < num_tubelets; first += kLabelBlock) {
    const int64_t block = std::min(num_tubelets - first, kLabelBlock);
    weights.sum(labels, first, block, counts + first);
    parallel_for(0, num_channels, 8, [&](int64_t begin, int64_t end) {
      std::vector<double> tokens(weights.row_length());
      for (int64_t c = begin; c < end; ++c) {
        std::copy_n(features + c * num_tokens, num_tokens, tokens.begin());
        double sums[kLabelBlock];
        const double* rows[kLabelBlock];
        for (int64_t s = 0; s < block; ++s) rows[s] = weights.row(s);
        int64_t s = 0;
        for (; s + 4 <= block; s += 4)
          dot<4>(tokens.data(), rows + s, weights.row_length(), sums + s);
        for (; s < block; ++s) dot<1>(tokens.data(), rows + s, weights.row_length(), sums + s);
        for (s = 0; s < block; ++s) {
          const int64_t count = counts[first + s];
          double mean = count > 0 ? sums[s] / static_cast<double>(count) : 0.0;
          if (!std::isfinite(mean))
            mean = count > 0 ? careful_mean(tokens.data(), rows[s], num_tokens, count) : 0.0;
          means[(first + s) * num_channels + c] = static_cast<Scalar>(mean);
        }
      }
    });
  }
}

template <typename Scalar, typename Label>
void tubelet_pool_backward(const Scalar* grad_means, int64_t num_channels, const Label* labels,
                           const int64_t* counts, int64_t num_tubelets, const CellGrid& cells,
                           const ParallelFor& parallel_for, Scalar* grad_features) {
  const int64_t num_tokens = cells.grid.count();
  if (voxels_are_tokens(cells)) {
    parallel_for(0, num_channels, 8, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c)
        for (int64_t i = 0; i < num_tokens; ++i) {
          const int64_t s = labels[i];
          double grad = 0;
          if (s >= 0 && counts[s] != 0)
            grad += static_cast<double>(grad_means[s * num_channels + c]) /
                    static_cast<double>(counts[s]);
          grad_features[c * num_tokens + i] = static_cast<Scalar>(grad);
        }
    });
    return;
  }
  std::fill_n(grad_features, num_channels * num_tokens, Scalar(0));
  LabelWeights weights(cells, std::min(num_tubelets, kLabelBlock));
  for (int64_t first = 0; first < num_tubelets; first += kLabelBlock) {
    const int64_t block = std::min(num_tubelets - first, kLabelBlock);
    weights.sum(labels, first, block, nullptr);
    parallel_for(0, num_channels, 8, [&](int64_t begin, int64_t end) {
      std::vector<double> grad(num_tokens);
      for (int64_t c = begin; c < end; ++c) {
        Scalar* to = grad_features + c * num_tokens;
        std::copy_n(to, num_tokens, grad.begin());
        for (int64_t s = 0; s < block; ++s) {
          if (counts[first + s] == 0) continue;
          const double factor = static_cast<double>(grad_means[(first + s) * num_channels + c]) /
                                static_cast<double>(counts[first + s]);
          const double* weight = weights.row(s);
          if (std::isfinite(factor)) {
            for (int64_t i = 0; i < num_tokens; ++i) grad[i] += factor * weight[i];
          } else {  // reaches only the tokens that the label's voxels use
            for (int64_t i = 0; i < num_tokens; ++i)
              if (weight[i] != 0) grad[i] += factor * weight[i];
          }
        }
        for (int64_t i = 0; i < num_tokens; ++i) to[i] = static_cast<Scalar>(grad[i]);
      }
    });
  }
}

#define VTCD_INSTANTIATE(Scalar, Label)                                                      \
  template void tubelet_pool(const Scalar*, int64_t, const Label*, int64_t, const CellGrid&, \
                             const ParallelFor&, Scalar*, int64_t*);                         \
  template void tubelet_pool_backward(const Scalar*, int64_t, const Label*, const int64_t*,  \
                                      int64_t, const CellGrid&, const ParallelFor&, Scalar*);
VTCD_INSTANTIATE(float, int32_t)
VTCD_INSTANTIATE(float, int64_t)
VTCD_INSTANTIATE(double, int32_t)
VTCD_INSTANTIATE(double, int64_t)
#undef VTCD_INSTANTIATE

}  // namespace vtcd
