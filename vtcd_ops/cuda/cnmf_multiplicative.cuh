// SPDX-License-Identifier: MIT
// core/cnmf/multiplicative.cpp by a block: a thread owns a row of both factors, and reads the
// symmetric X^T X, of N x N numbers in the workspace, column by column.
#pragma once

#include "cuda/cnmf_encoding.cuh"

namespace vtcd::cuda {

template <typename Stored, int kThreads>
class BlockUpdates {
 public:
  // After a barrier. labels [N], each below the number of concepts: the start.
  __device__ BlockUpdates(const CnmfPoints<Stored>& points, const CnmfTables<Stored>& tables,
                          const int64_t* labels)
      : points_(points),
        t_(tables),
        num_rows_(tables.num_rows),
        num_concepts_(tables.num_concepts) {
    const int64_t size = int64_t{num_concepts_} * num_rows_;
    positive_weights_ = t_.gram_products;
    negative_weights_ = positive_weights_ + size;
    positive_encoding_ = negative_weights_ + size;
    negative_encoding_ = positive_encoding_ + size;
    sums_of_warps<kThreads>(num_concepts_, num_rows_, t_.sums,
                            [&](int k, int n) { return labels[n] == k ? 1.0 : 0.0; });
    __syncthreads();
    for_entries([&](int k, int n, int64_t i) {
      t_.encoding[i] = kStartOffset + (labels[n] == k ? 1.0 : 0.0);
      t_.weights[i] = t_.encoding[i] / fmax(t_.sums[k], 1.0);
    });
    for (int n = thread_of_block(); n < num_rows_; n += kThreads) {
      for (int m = 0; m < num_rows_; ++m) {
        double sum = 0;
        for (int c = 0; c < t_.num_channels; ++c)
          sum = fma(points_.at(n, c), points_.at(m, c), sum);
        t_.data_gram[int64_t{m} * num_rows_ + n] = sum;
      }
    }
    __syncthreads();
  }

  __device__ int64_t run(int64_t max_num_iter, double tol) {
    for (int64_t iteration = 0; iteration < max_num_iter; ++iteration) {
      multiply_gram(t_.weights, positive_weights_, negative_weights_);
      if (iteration % kCheckEvery == 0) {
        multiply_gram(t_.encoding, positive_encoding_, negative_encoding_);
        if (has_converged(tol)) return iteration;
      }
      update();
    }
    return max_num_iter;
  }

  // Only the product of a column of G and a row of U matters: columns of G get the sum 1 of a
  // convex combination. Returns the error; weights [N, max_k] in the output, already zero.
  template <typename T>
  __device__ double finish(T* weights, int64_t max_k) {
    sums_of_warps<kThreads>(num_concepts_, num_rows_, t_.sums,
                            [&](int k, int n) { return t_.weights[entry(k, n)]; });
    __syncthreads();
    for_entries([&](int k, int n, int64_t i) {
      const double sum = t_.sums[k];
      t_.weights[i] = sum > 0 ? t_.weights[i] / sum : (n == 0 ? 1.0 : 0.0);
      t_.encoding[i] *= sum > 0 ? sum : 0.0;
      weights[n * max_k + k] = static_cast<T>(t_.weights[i]);
    });
    products_with_points<kThreads>(points_, t_, t_.weights, t_.centers);
    double sum = 0;
    for (int n = thread_of_block(); n < num_rows_; n += kThreads) {
      for (int c = 0; c < t_.num_channels; ++c) {
        double left = points_.at(n, c);
        for (int k = 0; k < num_concepts_; ++k)
          left -= t_.centers[int64_t{k} * t_.num_channels + c] * t_.encoding[entry(k, n)];
        sum += left * left;
      }
    }
    return sqrt(combined_threads<kThreads>(sum, t_.scratch, Plus()));
  }

 private:
  __device__ int64_t entry(int k, int n) const { return int64_t{k} * num_rows_ + n; }

  // body(k, n, index) for all entries of a factor [K, N]; a thread has all those of a row.
  template <typename Body>
  __device__ void for_entries(const Body& body) {
    for (int n = thread_of_block(); n < num_rows_; n += kThreads) {
      for (int k = 0; k < num_concepts_; ++k) body(k, n, entry(k, n));
    }
    __syncthreads();
  }

  // Y+ and Y- times a factor.
  __device__ VTCD_NOINLINE void multiply_gram(const double* factor, double* positive,
                                              double* negative) {
    constexpr int kAtOnce = 4;  // loads in flight: they bound it
    for (int n = thread_of_block(); n < num_rows_; n += kThreads) {
      for (int first = 0; first < num_concepts_; first += kConcepts) {
        const int count = min(kConcepts, num_concepts_ - first);
        double above[kConcepts] = {}, below[kConcepts] = {};
        for (int m = 0; m < num_rows_; m += kAtOnce) {
          double products[kAtOnce];
#pragma unroll
          for (int i = 0; i < kAtOnce; ++i)
            products[i] = m + i < num_rows_ ? t_.data_gram[int64_t{m + i} * num_rows_ + n] : 0.0;
#pragma unroll
          for (int i = 0; i < kAtOnce; ++i) {
            if (m + i >= num_rows_) break;
            const double upper = fmax(products[i], 0.0), lower = fmax(-products[i], 0.0);
#pragma unroll
            for (int k = 0; k < kConcepts; ++k) {
              if (k >= count) continue;
              const double value = factor[entry(first + k, m + i)];
              above[k] = fma(upper, value, above[k]);
              below[k] = fma(lower, value, below[k]);
            }
          }
        }
#pragma unroll
        for (int k = 0; k < kConcepts; ++k) {
          if (k >= count) continue;
          positive[entry(first + k, n)] = above[k];
          negative[entry(first + k, n)] = below[k];
        }
      }
    }
    __syncthreads();
  }

  // out [K, K] = a b^T of factors [K, N].
  __device__ VTCD_NOINLINE void multiply_factors(const double* a, const double* b, double* out) {
    sums_of_warps<kThreads>(num_concepts_ * num_concepts_, num_rows_, out, [&](int index, int n) {
      return a[entry(index / num_concepts_, n)] * b[entry(index % num_concepts_, n)];
    });
  }

  // Column k of a matrix [K, K] against the entries of row n of a factor.
  __device__ double row_product(const double* factor, int n, const double* matrix, int k) const {
    double sum = 0;
    for (int j = 0; j < num_concepts_; ++j)
      sum += factor[entry(j, n)] * matrix[j * num_concepts_ + k];
    return sum;
  }

  __device__ void update() {
    multiply_factors(t_.weights, negative_weights_, t_.gram);
    multiply_factors(t_.weights, positive_weights_, t_.encoding_gram);
    __syncthreads();
    for_entries([&](int k, int n, int64_t i) {  // the whole row reads the old one
      positive_encoding_[i] =
          multiplied(t_.encoding[i], positive_weights_[i] + row_product(t_.encoding, n, t_.gram, k),
                     negative_weights_[i] + row_product(t_.encoding, n, t_.encoding_gram, k));
    });
    for_entries([&](int, int, int64_t i) { t_.encoding[i] = positive_encoding_[i]; });
    multiply_gram(t_.encoding, positive_encoding_, negative_encoding_);
    multiply_factors(t_.encoding, t_.encoding, t_.gram);
    __syncthreads();
    for_entries([&](int k, int n, int64_t i) {
      t_.weights[i] = multiplied(
          t_.weights[i], positive_encoding_[i] + row_product(negative_weights_, n, t_.gram, k),
          negative_encoding_[i] + row_product(positive_weights_, n, t_.gram, k));
    });
  }

  // Equations 23 and 24 of Ding, Li, Jordan 2010, for one entry.
  __device__ static double multiplied(double factor, double numerator, double denominator) {
    const double product = factor * sqrt((numerator + kNothing) / (denominator + kNothing));
    return product < kFlushBelow ? 0.0 : product;
  }

  // What the weights alone (Frank-Wolfe gap of a convex problem) and the single entries of the
  // encoding could still gain, against the squared error.
  __device__ bool has_converged(double tol) {
    multiply_factors(t_.encoding, t_.encoding, t_.encoding_gram);  // U U'
    sums_of_warps<kThreads>(num_concepts_ * num_concepts_, num_rows_, t_.gram,
                            [&](int index, int n) {  // W'W
                              return t_.weights[entry(index / num_concepts_, n)] *
                                     data_weights(entry(index % num_concepts_, n));
                            });
    __syncthreads();
    double possible_gain = 0;
    for (int k = 0; k < num_concepts_; ++k) possible_gain += weights_gain(k) + entries_gain(k);
    const double fitted =
        sum_of_entries([&](int, int, int64_t i) { return t_.encoding[i] * data_weights(i); });
    double squared_error = points_.length * points_.length - 2 * fitted;
    for (int i = 0; i < num_concepts_ * num_concepts_; ++i)
      squared_error += t_.encoding_gram[i] * t_.gram[i];
    __syncthreads();  // an update writes the two anew
    return is_worth_no_update(possible_gain, tol, squared_error, points_.length * points_.length);
  }

  __device__ double data_weights(int64_t i) const {  // Y G
    return positive_weights_[i] - negative_weights_[i];
  }

  __device__ double weights_gain(int k) {
    double along = 0, mass = 0, steepest = -HUGE_VAL;
    for (int n = thread_of_block(); n < num_rows_; n += kThreads) {
      const int64_t i = entry(k, n);
      double slope = 0;
      for (int j = 0; j < num_concepts_; ++j)
        slope += data_weights(entry(j, n)) * t_.encoding_gram[j * num_concepts_ + k];
      slope -= positive_encoding_[i] - negative_encoding_[i];
      along += slope * t_.weights[i];
      mass += t_.weights[i];
      steepest = fmax(steepest, -slope);
    }
    along = combined_threads<kThreads>(along, t_.scratch, Plus());
    mass = combined_threads<kThreads>(mass, t_.scratch, Plus());
    steepest = combined_threads<kThreads>(steepest, t_.scratch, Larger());
    return 2 * (along + steepest * mass);
  }

  __device__ double entries_gain(int k) {
    return sum_of_block<kThreads>(num_rows_, t_.scratch, [&](int n) {
      const double slope = row_product(t_.encoding, n, t_.gram, k) - data_weights(entry(k, n));
      return encoding_gain(t_.encoding[entry(k, n)], slope, t_.gram[k * (num_concepts_ + 1)]);
    });
  }

  template <typename Term>
  __device__ double sum_of_entries(const Term& term) {
    return sum_of_block<kThreads>(num_rows_, t_.scratch, [&](int n) {
      double sum = 0;
      for (int k = 0; k < num_concepts_; ++k) sum += term(k, n, entry(k, n));
      return sum;
    });
  }

  const CnmfPoints<Stored>& points_;
  const CnmfTables<Stored>& t_;
  const int num_rows_, num_concepts_;
  double *positive_weights_, *negative_weights_;    // Y+ G, Y- G [K, N]
  double *positive_encoding_, *negative_encoding_;  // Y+ V, Y- V [K, N]
};

}  // namespace vtcd::cuda
