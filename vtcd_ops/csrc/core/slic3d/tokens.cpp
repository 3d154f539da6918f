// SPDX-License-Identifier: MIT
#include "core/slic3d/tokens.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace vtcd {
namespace {

constexpr int kMaxBlock = 6;  // clusters scored together: as many sums as fit the registers
constexpr int64_t kChannelChunk = 16;  // products added up before they join a score
constexpr int64_t kMaxChunks = 16;     // of token rows with partial sums of their own
constexpr int64_t kMaxSums = 1 << 16;  // of all chunks

double middle_of(const FeatureRange& range, int64_t channel) {
  const double low = range.channel_low[channel];
  return low + (range.channel_high[channel] - low) / 2;
}

double length_of(const double* vector, int64_t size) {
  return std::sqrt(std::inner_product(vector, vector + size, vector, 0.0));
}

// scores[k, lane] = bias[k] + sum over c of tokens[c, lane] * factors[c, k], for kLanes tokens and
// `Block` clusters.
template <int Block>
void score_block(const float* tokens, int64_t num_channels, const float* bias, const float* factors,
                 float* const* scores) {
  for (int64_t lane = 0; lane < kFloatRowAlignment; lane += kFloatPackSize) {
    FloatPack sum[Block];
    for (int k = 0; k < Block; ++k) sum[k] = broadcast(bias[k]);
    for (int64_t begin = 0; begin < num_channels; begin += kChannelChunk) {
      const int64_t end = std::min(begin + kChannelChunk, num_channels);
      FloatPack part[Block] = {};
      for (int64_t c = begin; c < end; ++c) {
        const FloatPack token = load(tokens + c * kFloatRowAlignment + lane);
        for (int k = 0; k < Block; ++k)
          part[k] = multiply_add(token, broadcast(factors[c * Block + k]), part[k]);
      }
      for (int k = 0; k < Block; ++k) sum[k] += part[k];
    }
    for (int k = 0; k < Block; ++k) store(scores[k] + lane, sum[k]);
  }
}

using ScoreBlock = void (*)(const float*, int64_t, const float*, const float*, float* const*);
constexpr ScoreBlock kScoreBlock[kMaxBlock + 1] = {nullptr,        score_block<1>, score_block<2>,
                                                   score_block<3>, score_block<4>, score_block<5>,
                                                   score_block<6>};

// sums += weight[w] * tokens[w] over w = begin .. end - 1, for `Packs` packs of channels.
template <int Packs>
void add_products(const double* weight, int64_t begin, int64_t end, const double* tokens,
                  int64_t stride, double* sums) {
  Pack sum[Packs];
  for (int p = 0; p < Packs; ++p) sum[p] = load(sums + p * kPackSize);
  for (int64_t w = begin; w < end; ++w)
    for (int p = 0; p < Packs; ++p) sum[p] += weight[w] * load(tokens + w * stride + p * kPackSize);
  for (int p = 0; p < Packs; ++p) store(sums + p * kPackSize, sum[p]);
}

// The centres of the clusters that any row wants, relative to their mean.
struct RelativeCenters {
  RelativeCenters(const std::vector<double>& centers, int64_t num_channels, int64_t stride,
                  int64_t num_clusters, const RowMask& wanted);

  // Gathers for clusters[begin, end) the factors -2 (c_k - m) as [C, end - begin] and the bias
  // |c_k|^2 - |m|^2.
  void gather(int64_t begin, int64_t end, double unit, float* factors, float* bias) const;

  int64_t num_channels;
  std::vector<int64_t> clusters;
  std::vector<double> mean;    // [C]
  std::vector<double> values;  // [clusters, C]
  double mean_length;          // |m|
  double radius = 0;           // the largest |c_k - m|
};

RelativeCenters::RelativeCenters(const std::vector<double>& centers, int64_t num_channels,
                                 int64_t stride, int64_t num_clusters, const RowMask& wanted)
    : num_channels(num_channels), mean(num_channels) {
  for (int64_t k = 0; k < num_clusters; ++k) {
    for (size_t i = k; i < wanted.size(); i += num_clusters) {
      if (!wanted[i]) continue;
      clusters.push_back(k);
      break;
    }
  }
  for (const int64_t k : clusters)
    for (int64_t c = 0; c < num_channels; ++c)
      mean[c] += centers[k * stride + c] / static_cast<double>(clusters.size());
  mean_length = length_of(mean.data(), num_channels);
  for (const int64_t k : clusters) {
    for (int64_t c = 0; c < num_channels; ++c) values.push_back(centers[k * stride + c] - mean[c]);
    radius = std::max(radius, length_of(&values[values.size() - num_channels], num_channels));
  }
}

void RelativeCenters::gather(int64_t begin, int64_t end, double unit, float* factors,
                             float* bias) const {
  for (int64_t i = begin; i < end; ++i) {
    double sum = 0;
    for (int64_t c = 0; c < num_channels; ++c) {
      const double value = values[i * num_channels + c];
      factors[c * (end - begin) + i - begin] = static_cast<float>(-2 * unit * value);
      sum += value * (value + 2 * mean[c]);
    }
    bias[i - begin] = static_cast<float>(unit * unit * sum);
  }
}

}  // namespace

template <typename Scalar>
Tokens::Tokens(const Scalar* features, int64_t num_channels, Shape3 grid, const FeatureRange& range,
               double scale, double unit)
    : num_channels_(num_channels),
      channel_stride_(padded(num_channels)),
      grid_(grid),
      num_groups_((grid.count() + kLanes - 1) / kLanes),
      unit_(unit),
      values_(grid.count() * channel_stride_),
      lanes_(num_groups_ * num_channels * kLanes) {
  fill(features, range, scale);
}

// Fills both layouts, kRowAlignment channels of kLanes tokens at a time.
template <typename Scalar>
void Tokens::fill(const Scalar* features, const FeatureRange& range, double scale) {
  const int64_t num_tokens = grid_.count();
  std::vector<double> squared(num_groups_ * kLanes);
  for (int64_t first = 0; first < num_tokens; first += kLanes) {
    const int64_t count = std::min(kLanes, num_tokens - first);
    for (int64_t begin = 0; begin < channel_stride_; begin += kRowAlignment) {
      double block[kRowAlignment][kLanes] = {};
      const int64_t end = std::min(begin + kRowAlignment, num_channels_);
      for (int64_t c = begin; c < end; ++c) {
        double* row = block[c - begin];
        const double middle = middle_of(range, c);
        const Scalar* from = features + c * num_tokens + first;
        for (int64_t i = 0; i < count; ++i)
          row[i] = (static_cast<double>(from[i]) - middle) * scale;
        float* lanes = &lanes_[first * num_channels_ + c * kLanes];
        for (int64_t i = 0; i < kLanes; ++i) {
          squared[first + i] += row[i] * row[i];
          lanes[i] = static_cast<float>(row[i] * unit_);
        }
      }
      for (int64_t i = 0; i < count; ++i) {
        double* to = &values_[(first + i) * channel_stride_ + begin];
        for (int64_t c = 0; c < kRowAlignment; ++c) to[c] = block[c][i];
      }
    }
  }
  radius_ = std::sqrt(*std::max_element(squared.begin(), squared.end()));
}

template Tokens::Tokens(const float*, int64_t, Shape3, const FeatureRange&, double, double);
template Tokens::Tokens(const double*, int64_t, Shape3, const FeatureRange&, double, double);

double Tokens::squared_radius(const FeatureRange& range, double scale) {
  double sum = 0;
  for (size_t c = 0; c < range.channel_high.size(); ++c) {
    const double radius =
        (range.channel_high[c] - middle_of(range, static_cast<int64_t>(c))) * scale;
    sum += radius * radius;
  }
  return sum;
}

ScoreBound Tokens::score(const std::vector<double>& centers, int64_t num_clusters,
                         const RowMask& wanted, const ParallelFor& parallel_for,
                         float* scores) const {
  const RelativeCenters relative(centers, num_channels_, channel_stride_, num_clusters, wanted);
  const std::vector<int64_t>& clusters = relative.clusters;
  const int64_t count = static_cast<int64_t>(clusters.size());
  const int64_t num_blocks = (count + kMaxBlock - 1) / kMaxBlock;
  std::vector<float> factors(num_channels_ * count), bias(count);
  auto begin_of = [&](int64_t block) { return count * block / num_blocks; };
  for (int64_t block = 0; block < num_blocks; ++block) {
    const int64_t begin = begin_of(block);
    relative.gather(begin, begin_of(block + 1), unit_, &factors[begin * num_channels_],
                    &bias[begin]);
  }
  parallel_for(0, num_groups_, 16, [&](int64_t first_group, int64_t last_group) {
    for (int64_t group = first_group; group < last_group; ++group) {
      const int64_t first_row = group * kLanes / grid_.w;
      const int64_t last_row = std::min((group + 1) * kLanes - 1, grid_.count() - 1) / grid_.w;
      for (int64_t block = 0; block < num_blocks; ++block) {
        const int64_t begin = begin_of(block), size = begin_of(block + 1) - begin;
        float* targets[kMaxBlock];
        bool any_wanted = false;
        for (int64_t i = 0; i < size; ++i) {
          const int64_t k = clusters[begin + i];
          targets[i] = scores + k * num_scores() + group * kLanes;
          for (int64_t row = first_row; row <= last_row; ++row)
            any_wanted |= wanted[row * num_clusters + k] != 0;
        }
        if (any_wanted)
          kScoreBlock[size](&lanes_[group * kLanes * num_channels_], num_channels_, &bias[begin],
                            &factors[begin * num_channels_], targets);
      }
    }
  });
  // With r = |c_k - m| and R = |f| at most, the bias and the sum of the products' magnitudes are at
  // most (r^2 + 2 |m| r) + 2 R r. Each product is rounded three times at most (its factors and
  // itself), then added up to kChannelChunk + number of chunks times.
  const double magnitude =
      unit_ * unit_ * relative.radius * (relative.radius + 2 * relative.mean_length + 2 * radius_);
  const double roundings =
      static_cast<double>(kChannelChunk + (num_channels_ + kChannelChunk - 1) / kChannelChunk + 3);
  constexpr double kRounding = std::numeric_limits<float>::epsilon() / 2;
  return {magnitude, 1.01 * roundings * kRounding * magnitude};
}

// Adds the tokens of a row, times their weights, to the sums of the clusters: a few packs of
// channels at a time, which stay in registers meanwhile.
void Tokens::add_weighted(const double* weights, const uint8_t* touched, int64_t num_clusters,
                          int64_t row, double* sums) const {
  constexpr int kPacks = 8;
  const int64_t length = padded(grid_.w);
  for (int64_t k = 0; k < num_clusters; ++k) {
    if (touched[k] == 0) continue;
    const double* weight = weights + k * length;
    int64_t begin = 0, end = grid_.w;
    while (begin < end && weight[begin] == 0) ++begin;
    while (end > begin && weight[end - 1] == 0) --end;
    if (begin == end) continue;
    const double* from = token(row * grid_.w);
    double* to = sums + k * channel_stride_;
    int64_t c = 0;
    for (; c + kPacks * kPackSize <= channel_stride_; c += kPacks * kPackSize)
      add_products<kPacks>(weight, begin, end, from + c, channel_stride_, to + c);
    for (; c < channel_stride_; c += kPackSize)
      add_products<1>(weight, begin, end, from + c, channel_stride_, to + c);
  }
}

void Tokens::weighted_sums(const double* weights, const uint8_t* touched, int64_t num_clusters,
                           const ParallelFor& parallel_for, std::vector<double>& sums) const {
  // Partial sums of chunks of rows that depend on nothing but the sizes, so that the order of the
  // additions is always the same.
  const int64_t length = num_clusters * channel_stride_;
  const int64_t num_chunks =
      std::clamp<int64_t>(kMaxSums / length, 1, std::min(kMaxChunks, num_rows()));
  std::vector<double> partial(num_chunks * length);
  parallel_for(0, num_chunks, 1, [&](int64_t first_chunk, int64_t last_chunk) {
    for (int64_t chunk = first_chunk; chunk < last_chunk; ++chunk) {
      const int64_t end = num_rows() * (chunk + 1) / num_chunks;
      for (int64_t row = num_rows() * chunk / num_chunks; row < end; ++row)
        add_weighted(weights + row * num_clusters * padded(grid_.w), touched + row * num_clusters,
                     num_clusters, row, &partial[chunk * length]);
    }
  });
  std::fill(sums.begin(), sums.end(), 0.0);
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk)
    for (int64_t i = 0; i < length; ++i) sums[i] += partial[chunk * length + i];
}

}  // namespace vtcd
