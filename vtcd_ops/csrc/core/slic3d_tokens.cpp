// SPDX-License-Identifier: MIT
#include "core/slic3d_tokens.h"

#include <algorithm>

namespace vtcd {
namespace {

constexpr int kMaxBlock = 6;  // clusters scored together: as many sums as fit the registers

// scores[k, w] = bias[k] + sum over c of tokens[c, w] * factors[c, k], for one row of tokens and
// `Block` clusters.
template <int Block>
void score_block(const double* tokens, int64_t num_channels, int64_t row_length, const double* bias,
                 const double* factors, double* const* scores) {
  for (int64_t w = 0; w < row_length; w += kPackSize) {
    Pack sum[Block];
    for (int k = 0; k < Block; ++k) sum[k] = broadcast(bias[k]);
    for (int64_t c = 0; c < num_channels; ++c) {
      const Pack token = load(tokens + c * row_length + w);
      for (int k = 0; k < Block; ++k) sum[k] += token * factors[c * Block + k];
    }
    for (int k = 0; k < Block; ++k) store(scores[k] + w, sum[k]);
  }
}

using ScoreBlock = void (*)(const double*, int64_t, int64_t, const double*, const double*,
                            double* const*);
constexpr ScoreBlock kScoreBlock[kMaxBlock + 1] = {nullptr,        score_block<1>, score_block<2>,
                                                   score_block<3>, score_block<4>, score_block<5>,
                                                   score_block<6>};

// Gathers the factors -2 c_k of a block of clusters as [C, block], and |c_k|^2.
void gather_block(const std::vector<double>& centers, int64_t num_channels, const int64_t* clusters,
                  int64_t block, double* factors, double* bias) {
  for (int64_t k = 0; k < block; ++k) {
    const double* center = centers.data() + clusters[k] * num_channels;
    bias[k] = 0;
    for (int64_t c = 0; c < num_channels; ++c) {
      factors[c * block + k] = -2 * center[c];
      bias[k] += center[c] * center[c];
    }
  }
}

// sums[c] += weight * tokens[c], kRowAlignment lanes each, for channels [0, num_channels).
void add_weighted(const double* weight, const double* tokens, int64_t num_channels,
                  int64_t row_length, double* sums) {
  for (int offset = 0; offset < kRowAlignment; offset += kPackSize) {
    const Pack factor = load(weight + offset);
    const double* token = tokens + offset;
    double* sum = sums + offset;
    for (int64_t c = 0; c < num_channels; ++c, token += row_length, sum += kRowAlignment)
      store(sum, load(sum) + factor * load(token));
  }
}

bool any_nonzero(const double* weight) {
  return std::any_of(weight, weight + kRowAlignment, [](double value) { return value != 0; });
}

}  // namespace

template <typename Scalar>
Tokens::Tokens(const Scalar* features, int64_t num_channels, Shape3 grid, const FeatureRange& range,
               double scale)
    : num_channels_(num_channels),
      grid_(grid),
      row_length_(padded(grid.w)),
      values_(new double[grid.t * grid.h * num_channels * row_length_]) {
  for (int64_t c = 0; c < num_channels; ++c) {
    const double middle = range.channel_low[c] + (range.channel_high[c] - range.channel_low[c]) / 2;
    const double radius = (range.channel_high[c] - middle) * scale;
    squared_radius_ += radius * radius;
    for (int64_t row = 0; row < num_rows(); ++row) {
      const Scalar* from = features + (c * num_rows() + row) * grid.w;
      double* to = values_.get() + (row * num_channels + c) * row_length_;
      for (int64_t w = 0; w < grid.w; ++w) to[w] = (static_cast<double>(from[w]) - middle) * scale;
      std::fill(to + grid.w, to + row_length_, 0.0);
    }
  }
}

template Tokens::Tokens(const float*, int64_t, Shape3, const FeatureRange&, double);
template Tokens::Tokens(const double*, int64_t, Shape3, const FeatureRange&, double);

void Tokens::score(const std::vector<double>& centers, int64_t num_clusters, const RowMask& wanted,
                   const ParallelFor& parallel_for, double* scores) const {
  std::vector<int64_t> clusters;  // that any row wants
  for (int64_t k = 0; k < num_clusters; ++k) {
    for (int64_t row = 0; row < num_rows(); ++row) {
      if (!wanted[row * num_clusters + k]) continue;
      clusters.push_back(k);
      break;
    }
  }
  const int64_t count = static_cast<int64_t>(clusters.size());
  const int64_t num_blocks = (count + kMaxBlock - 1) / kMaxBlock;
  std::vector<double> factors(num_channels_ * count), bias(count);
  auto begin_of = [&](int64_t block) { return count * block / num_blocks; };
  for (int64_t block = 0; block < num_blocks; ++block) {
    const int64_t begin = begin_of(block);
    gather_block(centers, num_channels_, &clusters[begin], begin_of(block + 1) - begin,
                 &factors[begin * num_channels_], &bias[begin]);
  }
  parallel_for(0, num_rows(), 16, [&](int64_t first_row, int64_t last_row) {
    for (int64_t row_index = first_row; row_index < last_row; ++row_index) {
      for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t begin = begin_of(block), size = begin_of(block + 1) - begin;
        double* targets[kMaxBlock];
        bool any = false;
        for (int64_t k = 0; k < size; ++k) {
          const int64_t cluster = row_index * num_clusters + clusters[begin + k];
          targets[k] = scores + cluster * row_length_;
          any |= wanted[cluster] != 0;
        }
        if (any)
          kScoreBlock[size](row(row_index), num_channels_, row_length_, &bias[begin],
                            &factors[begin * num_channels_], targets);
      }
    }
  });
}

void Tokens::weighted_sums(const double* weights, int64_t num_clusters, const RowMask& nonzero,
                           const ParallelFor& parallel_for, std::vector<double>& sums) const {
  // kRowAlignment partial sums for each channel and cluster, whatever the instruction set, so that
  // the order of the additions is always the same.
  constexpr int64_t kChunk = 16;
  const int64_t num_chunks = (num_channels_ + kChunk - 1) / kChunk;
  parallel_for(0, num_chunks, 1, [&](int64_t first_chunk, int64_t last_chunk) {
    std::vector<double> partial(num_clusters * kChunk * kRowAlignment);
    for (int64_t chunk = first_chunk; chunk < last_chunk; ++chunk) {
      const int64_t begin = chunk * kChunk;
      const int64_t length = std::min(kChunk, num_channels_ - begin);
      std::fill(partial.begin(), partial.end(), 0.0);
      for (int64_t i = 0; i < num_rows() * num_clusters; ++i) {
        if (!nonzero[i]) continue;
        const int64_t k = i % num_clusters;
        const double* tokens = row(i / num_clusters) + begin * row_length_;
        const double* weight = weights + i * row_length_;
        for (int64_t w = 0; w < row_length_; w += kRowAlignment)
          if (any_nonzero(weight + w))
            add_weighted(weight + w, tokens + w, length, row_length_,
                         &partial[k * kChunk * kRowAlignment]);
      }
      for (int64_t k = 0; k < num_clusters; ++k) {
        for (int64_t c = 0; c < length; ++c) {
          const double* s = &partial[(k * kChunk + c) * kRowAlignment];
          sums[k * num_channels_ + begin + c] =
              ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        }
      }
    }
  });
}

}  // namespace vtcd
