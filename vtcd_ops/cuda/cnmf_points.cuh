// SPDX-License-Identifier: MIT
// A block reads the points of its problem and takes them apart as core/point_set.cpp and
// core/cnmf/data.cpp do.
#pragma once

#include "cuda/cnmf_block.cuh"

namespace vtcd::cuda {

template <typename Stored, int kThreads>
class PointReader {
 public:
  // per_row [N] and scratch: free memory.
  __device__ PointReader(CnmfPoints<Stored>* points, double* per_row, double* scratch)
      : points_(*points), per_row_(per_row), scratch_(scratch) {}

  // False where a number is not finite. with_offset: a common offset is taken apart.
  template <typename T>
  __device__ bool read(const T* data, bool with_offset) {
    if (!copy(data)) return false;
    measure();
    points_.has_offset = false;
    if (with_offset) find_offset();
    if (!points_.has_offset) invert_lengths();
    __syncthreads();
    return true;
  }

 private:
  template <typename T>
  __device__ VTCD_NOINLINE bool copy(const T* data) {
    const int64_t size = static_cast<int64_t>(points_.num_rows) * points_.num_channels;
    double largest = 0, bad = 0;
    for (int64_t i = thread_of_block(); i < size; i += kThreads) {
      const auto value = static_cast<double>(data[i]);
      if (!(fabs(value) <= 1.7976931348623157e308)) bad = 1;
      largest = fmax(largest, fabs(value));
      points_.rows[i / points_.num_channels * points_.stride + i % points_.num_channels] =
          static_cast<Stored>(data[i]);
    }
    if (combined_threads<kThreads>(bad, scratch_, Larger()) > 0) return false;
    points_.exponent = 0;
    frexp(combined_threads<kThreads>(largest, scratch_, Larger()), &points_.exponent);
    points_.scale = sizeof(Stored) == 4 ? ldexp(1.0, -points_.exponent) : 1.0;
    if (sizeof(Stored) == 8) {
      change_rows([&](double value, int) { return times_power(value, -points_.exponent); });
    }
    return true;
  }

  template <typename Change>
  __device__ void change_rows(const Change& change) {
    const int64_t size = static_cast<int64_t>(points_.num_rows) * points_.num_channels;
    for (int64_t i = thread_of_block(); i < size; i += kThreads) {
      const int64_t n = i / points_.num_channels;
      const int c = static_cast<int>(i % points_.num_channels);
      Stored& value = points_.rows[n * points_.stride + c];
      value = static_cast<Stored>(change(static_cast<double>(value), c));
    }
    __syncthreads();
  }

  __device__ void measure() {
    for (int n = thread_of_block(); n < points_.num_rows; n += kThreads) {
      double sum = 0;
      for (int c = 0; c < points_.num_channels; ++c) sum += points_.at(n, c) * points_.at(n, c);
      per_row_[n] = sum;
    }
    __syncthreads();
    points_.length = sqrt(
        sum_of_block<kThreads>(points_.num_rows, scratch_, [&](int n) { return per_row_[n]; }));
  }

  // The median of some points, channel by channel: a thread finds the rank of one of them.
  __device__ void find_middle() {
    constexpr int kSample = 31;
    const int count = min(kSample, points_.num_rows);
    const auto value = [&](int i, int c) {
      return points_.at(static_cast<int>(int64_t{i} * points_.num_rows / count), c);
    };
    for (int pair = thread_of_block(); pair < count * points_.num_channels; pair += kThreads) {
      const int c = pair / count, i = pair % count;
      const double own = value(i, c);
      int rank = 0;
      for (int j = 0; j < count; ++j) {
        const double other = value(j, c);
        rank += other < own || (other == own && j < i);
      }
      if (rank == count / 2) points_.offset[c] = own;
    }
    __syncthreads();
  }

  __device__ void find_offset() {
    find_middle();
    const int num_channels = points_.num_channels;
    const double* middle = points_.offset;
    const double squared = sum_of_warp(num_channels, [&](int c) { return middle[c] * middle[c]; });
    for (int n = thread_of_block(); n < points_.num_rows; n += kThreads) {
      double sum = 0;
      for (int c = 0; c < num_channels; ++c) {
        const double difference = points_.at(n, c) - middle[c];
        sum += difference * difference;
      }
      per_row_[n] = sqrt(sum);
    }
    __syncthreads();
    // Whether the offset is large goes by the median length: so it is for this many of the lengths.
    const double zeros = sum_of_block<kThreads>(
        points_.num_rows, scratch_, [&](int n) { return per_row_[n] == 0 ? 1.0 : 0.0; });
    const double small = sum_of_block<kThreads>(points_.num_rows, scratch_, [&](int n) {
      return per_row_[n] == 0 || is_offset_large(squared, per_row_[n]) ? 1.0 : 0.0;
    });
    const double half = points_.num_rows / 2;
    if (zeros > half || small <= half) return;
    take_offset(squared);
  }

  __device__ VTCD_NOINLINE void take_offset(double squared) {
    double largest = 0;
    for (int n = thread_of_block(); n < points_.num_rows; n += kThreads)
      largest = fmax(largest, per_row_[n]);
    largest = combined_threads<kThreads>(largest, scratch_, Larger());
    points_.height = cone_height(median_length(), largest);
    points_.squared_offset = squared;
    const double* offset = points_.offset;
    if (sizeof(Stored) == 8) change_rows([&](double value, int c) { return value - offset[c]; });
    points_.has_offset = true;
    for (int n = thread_of_block(); n < points_.num_rows; n += kThreads) {
      double product = 0, sum = 0;
      for (int c = 0; c < points_.num_channels; ++c) {
        const double value = points_.at(n, c);
        product += value * offset[c];
        sum += value * value;
      }
      points_.offset_products[n] = product;
      points_.inverse[n] = 1.0 / sqrt(sum + points_.height * points_.height);
    }
    __syncthreads();
  }

  // The middle one of the lengths, bit by bit: those of positive numbers are ordered as they are.
  __device__ double median_length() {
    const double half = points_.num_rows / 2;
    int64_t bits = 0;
    for (int bit = 62; bit >= 0; --bit) {
      const int64_t candidate = bits | (int64_t{1} << bit);
      const double below = sum_of_block<kThreads>(points_.num_rows, scratch_, [&](int n) {
        return per_row_[n] < number(candidate) ? 1.0 : 0.0;
      });
      if (below <= half) bits = candidate;
    }
    return number(bits);
  }

  // The double of these bits; no exponent is that of Inf or NaN, which no length has.
  __device__ static double number(int64_t bits) {
    const int exponent = static_cast<int>(bits >> 52);
    if (exponent == 2047) return 1.7976931348623157e308;
    const auto digits = static_cast<double>(bits & ((int64_t{1} << 52) - 1));
    return exponent == 0 ? ldexp(digits, -1074)
                         : ldexp(digits + 4503599627370496.0, exponent - 1075);
  }

  // Also of points far shorter than the longest, whose squares would vanish.
  __device__ void invert_lengths() {
    for (int n = thread_of_block(); n < points_.num_rows; n += kThreads) {
      double largest = 0, sum = 0;
      for (int c = 0; c < points_.num_channels; ++c)
        largest = fmax(largest, fabs(points_.at(n, c)));
      for (int c = 0; c < points_.num_channels && largest > 0; ++c) {
        const double share = points_.at(n, c) / largest;
        sum += share * share;
      }
      const double norm = largest * sqrt(sum);
      points_.inverse[n] = inverse_length(norm);
    }
  }

  CnmfPoints<Stored>& points_;
  double* per_row_;
  double* scratch_;
};

}  // namespace vtcd::cuda
