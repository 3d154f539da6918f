// SPDX-License-Identifier: MIT
// The tables of a problem, its encoding, and the products that both factors need.
#pragma once

#include "cuda/cnmf_few.cuh"
#include "cuda/cnmf_points.cuh"
#include "cuda/cnmf_projection.cuh"

namespace vtcd::cuda {

// Concepts that a thread works on at once, in registers.
inline constexpr int kConcepts = 8;
// Up to this many concepts a thread solves for an encoding in memory of its own.
inline constexpr int kOwnConcepts = 16;

template <typename Stored>
struct CnmfTables {
  int num_rows, num_channels, num_concepts, groups;
  // in shared memory where it suffices
  Stored* rows;                                           // [N, stride]
  double *inverse, *per_row, *offset_products, *missing;  // [N]
  double *encoding, *weights;                             // [K, N]; weights: mu only
  double *centers, *settled, *products;                   // [K, C]
  double *gram, *encoding_gram;                           // [K, K]
  double *with_offset, *missing_encoding, *sums;          // [K]
  double* offset;                                         // [C]
  double* partial;                                        // [groups, K, C]
  double* scratch;                                        // [32]
  int *list, *best, *count;                               // [N], [kCnmfCandidates], [1]
  ProjectionArrays projection;
  // in the workspace
  double* nnls;  // [threads, a thread's memory] where there are many concepts
  int32_t* nnls_indices;
  double* data_gram;      // [N, N], mu only
  double* gram_products;  // [4, K, N], mu only

  // Threads of a group read the channels of a row side by side, the groups their shares of the
  // rows.
  VTCD_HOST_DEVICE static int64_t group_width(int64_t num_channels, int64_t num_threads) {
    const int64_t width = (num_channels + 31) / 32 * 32;
    return width < num_threads ? width : num_threads;
  }
  VTCD_HOST_DEVICE static int64_t doubles_a_thread(int64_t k) {
    return SmallNnls::num_doubles(k) + 2 * k;
  }

  template <typename Tables, typename Workspace>
  VTCD_HOST_DEVICE void take(int64_t n, int64_t c, int64_t k, int64_t num_threads,
                             bool multiplicative, bool with_near, Tables* tables,
                             Workspace* workspace) {
    num_rows = static_cast<int>(n);
    num_channels = static_cast<int>(c);
    num_concepts = static_cast<int>(k);
    groups = static_cast<int>(num_threads / group_width(c, num_threads));
    rows = tables->template take<Stored>(n * stride_of_rows(c));
    for (double** table : {&inverse, &per_row, &offset_products, &missing})
      *table = tables->template take<double>(n);
    encoding = tables->template take<double>(k * n);
    for (double** table : {&centers, &settled, &products})
      *table = tables->template take<double>(k * c);
    for (double** table : {&gram, &encoding_gram}) *table = tables->template take<double>(k * k);
    for (double** table : {&with_offset, &missing_encoding, &sums})
      *table = tables->template take<double>(k);
    offset = tables->template take<double>(c);
    scratch = tables->template take<double>(32);
    if (multiplicative) {
      partial = tables->template take<double>(groups * k * c);
      weights = tables->template take<double>(k * n);
      data_gram = workspace->template take<double>(n * n);
      gram_products = workspace->template take<double>(4 * k * n);
      return;
    }
    list = tables->template take<int>(n);
    best = tables->template take<int>(kCnmfCandidates);
    count = tables->template take<int>(1);
    projection.take(n, c, k, with_near, tables, workspace);
    // sums are added up while no support is in work
    const bool fits = with_near && groups * k * c <= projection.capacity * (c + 1);
    partial = fits ? projection.near_basis : tables->template take<double>(groups * k * c);
    const int64_t threads = k > kOwnConcepts ? num_threads : 0;
    nnls = workspace->template take<double>(threads * doubles_a_thread(k));
    nnls_indices = workspace->template take<int32_t>(threads * SmallNnls::num_indices(k));
  }

  __device__ CnmfPoints<Stored> points() const {
    CnmfPoints<Stored> points{};
    points.rows = rows;
    points.num_rows = num_rows;
    points.num_channels = num_channels;
    points.stride = static_cast<int>(stride_of_rows(num_channels));
    points.inverse = inverse;
    points.offset = offset;
    points.offset_products = offset_products;
    return points;
  }
};

// out [K, C] = factor [K, N] times the points: a thread adds up its group's rows of a channel, then
// the groups are added in their order. Before and after it a barrier.
template <int kThreads, typename Stored>
__device__ VTCD_NOINLINE void products_with_points(const CnmfPoints<Stored>& points,
                                                   const CnmfTables<Stored>& t,
                                                   const double* factor, double* out) {
  const int width = static_cast<int>(t.group_width(t.num_channels, kThreads));
  const int group = thread_of_block() / width, num_rows = t.num_rows;
  const int begin = static_cast<int>(int64_t{num_rows} * group / t.groups);
  const int end = static_cast<int>(int64_t{num_rows} * (group + 1) / t.groups);
  for (int c = thread_of_block() % width; c < t.num_channels && group < t.groups; c += width) {
    for (int first = 0; first < t.num_concepts; first += kConcepts) {
      const int count = min(kConcepts, t.num_concepts - first);
      double sum[kConcepts] = {};
      for (int n = begin; n < end; ++n) {
        const double value = points.at(n, c);
#pragma unroll
        for (int k = 0; k < kConcepts; ++k) {
          if (k < count) sum[k] = fma(value, factor[int64_t{first + k} * num_rows + n], sum[k]);
        }
      }
#pragma unroll
      for (int k = 0; k < kConcepts; ++k) {
        if (k < count)
          t.partial[(int64_t{group} * t.num_concepts + first + k) * t.num_channels + c] = sum[k];
      }
    }
  }
  __syncthreads();
  const int size = t.num_concepts * t.num_channels;
  for (int i = thread_of_block(); i < size; i += kThreads) {
    double sum = t.partial[i];
    for (int g = 1; g < t.groups; ++g) sum += t.partial[int64_t{g} * size + i];
    out[i] = sum;
  }
  __syncthreads();
}

// Entry (i, j), j <= i, of a symmetric matrix [K, K], row by row.
struct Pair {
  int row, column;
};
__device__ inline Pair pair_of(int index) {
  int row = 0;
  while ((row + 1) * (row + 2) / 2 <= index) ++row;
  return {row, index - row * (row + 1) / 2};
}

// gram [K, K] of the rows of a factor [K, length]. After it a barrier is needed.
template <int kThreads>
__device__ VTCD_NOINLINE void gram_of(const double* factor, int num_concepts, int length,
                                      double* gram) {
  for (int index = warp_of_block(); index < num_concepts * (num_concepts + 1) / 2;
       index += kThreads / kWarp) {
    const Pair pair = pair_of(index);
    const double* a = factor + int64_t{pair.row} * length;
    const double* b = factor + int64_t{pair.column} * length;
    const double sum = sum_of_warp(length, [&](int i) { return a[i] * b[i]; });
    if (lane_of_warp() != 0) continue;
    gram[pair.row * num_concepts + pair.column] = sum;
    gram[pair.column * num_concepts + pair.row] = sum;
  }
}

// Encodes the rows one thread each, by exact non-negative least squares on the centres.
template <int kThreads, typename Stored>
class RowEncoder {
 public:
  __device__ RowEncoder(const CnmfPoints<Stored>& points, const CnmfTables<Stored>& tables,
                        double penalty)
      : points_(points),
        t_(tables),
        columns_{tables.num_concepts, tables.gram, points.has_offset ? tables.with_offset : nullptr,
                 points.squared_offset, penalty} {}

  // Into encoding, missing and per_row: what the row leaves, squared.
  __device__ void encode() {
    if (!points_.has_offset && t_.num_concepts <= 4) {
      encode_in_registers<4>();
    } else if (!points_.has_offset && t_.num_concepts <= 6) {
      encode_in_registers<6>();
    } else if (!points_.has_offset && t_.num_concepts <= kConcepts) {
      encode_in_registers<kConcepts>();
    } else if (t_.num_concepts <= kOwnConcepts) {
      encode_in_own<kOwnConcepts>();
    } else {
      const int64_t k = t_.num_concepts;
      double* doubles = t_.nnls + thread_of_block() * CnmfTables<Stored>::doubles_a_thread(k);
      encode_in(doubles, t_.nnls_indices + thread_of_block() * SmallNnls::num_indices(k));
    }
  }

 private:
  template <int kMost>
  __device__ void encode_in_registers() const {
    for (int n = thread_of_block(); n < t_.num_rows; n += kThreads) encode_few<kMost>(n);
  }

  // A call for each row, so that nothing lives in registers from one to the next.
  template <int kMost>
  __device__ VTCD_NOINLINE void encode_few(int n) const {
    const int num_channels = t_.num_channels, num_rows = t_.num_rows;
    int count = t_.num_concepts;
    double products[kMost] = {}, u[kMost];
    for (int c = 0; c < num_channels; ++c) {
      const double value = points_.at(n, c);
#pragma unroll
      for (int k = 0; k < kMost; ++k)
        products[k] = fma(value, t_.centers[min(k, count - 1) * num_channels + c], products[k]);
    }
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      if (k >= count) products[k] = 0;
      u[k] = k < count ? t_.encoding[k * num_rows + n] : 0.0;
    }
    FewNnls<kMost>(t_.gram, count, columns_.penalty).solve(products, u);
    VTCD_FORGET_INT(count);  // the addresses of the centers need not live through the solution
    double sum = 0;
    for (int c = 0; c < num_channels; ++c) {
      double left = points_.at(n, c);
#pragma unroll
      for (int k = 0; k < kMost; ++k)
        left = fma(-u[k], t_.centers[min(k, count - 1) * num_channels + c], left);
      sum = fma(left, left, sum);
    }
#pragma unroll
    for (int k = 0; k < kMost; ++k) {
      if (k < count) t_.encoding[k * num_rows + n] = u[k];
    }
    t_.per_row[n] = sum;
  }

  template <int kMost>
  __device__ void encode_in_own() {
    double doubles[kMost * (kMost + 1) + 2 * kMost];
    int32_t indices[3 * kMost];
    encode_in(doubles, indices);
  }

  struct Memory {
    SmallNnls nnls;
    double *products, *u;
  };

  __device__ VTCD_NOINLINE void encode_in(double* doubles, int32_t* indices) {
    const int64_t k = t_.num_concepts;
    double* products = doubles + SmallNnls::num_doubles(k);
    Memory memory{SmallNnls(columns_, doubles, indices), products, products + k};
    for (int n = thread_of_block(); n < t_.num_rows; n += kThreads) encode_row(n, &memory);
  }

  // Calls nothing: what lives across a call would need registers that are not there.
  __device__ VTCD_NOINLINE void encode_row(int n, Memory* memory) const {
    double* u = memory->u;
    multiply_centers(n, memory->products);
    for (int k = 0; k < t_.num_concepts; ++k) u[k] = t_.encoding[int64_t{k} * t_.num_rows + n];
    memory->nnls.solve(memory->products, points_.has_offset ? points_.offset_products[n] : 0.0, u);
    double missing = 1;
    for (int k = 0; k < t_.num_concepts; ++k) {
      t_.encoding[int64_t{k} * t_.num_rows + n] = u[k];
      missing -= u[k];
    }
    t_.missing[n] = missing;
    t_.per_row[n] = squared_misfit(n, u, missing);
  }

  __device__ void multiply_centers(int n, double* products) const {
    for (int first = 0; first < t_.num_concepts; first += kConcepts) {
      const int count = min(kConcepts, t_.num_concepts - first);
      const double* centers = t_.centers + int64_t{first} * t_.num_channels;
      double sum[kConcepts] = {};
      for (int c = 0; c < t_.num_channels; ++c) {
        const double value = points_.at(n, c);
#pragma unroll
        for (int k = 0; k < kConcepts; ++k) {
          if (k < count) sum[k] = fma(value, centers[k * t_.num_channels + c], sum[k]);
        }
      }
#pragma unroll
      for (int k = 0; k < kConcepts; ++k) {
        if (k < count) products[first + k] = sum[k];
      }
    }
  }

  __device__ double squared_misfit(int n, const double* u, double missing) const {
    double own[kConcepts];
#pragma unroll
    for (int k = 0; k < kConcepts; ++k) own[k] = k < t_.num_concepts ? u[k] : 0.0;
    double sum = 0;
    for (int c = 0; c < t_.num_channels; ++c) {
      double left = points_.at(n, c);
#pragma unroll
      for (int k = 0; k < kConcepts; ++k) {
        if (k < t_.num_concepts) left -= t_.centers[k * t_.num_channels + c] * own[k];
      }
      for (int k = kConcepts; k < t_.num_concepts; ++k)
        left -= t_.centers[k * t_.num_channels + c] * u[k];
      if (points_.has_offset) left += points_.offset[c] * missing;
      sum += left * left;
    }
    return sum;
  }

  const CnmfPoints<Stored>& points_;
  const CnmfTables<Stored>& t_;
  const NnlsColumns columns_;
};

}  // namespace vtcd::cuda
