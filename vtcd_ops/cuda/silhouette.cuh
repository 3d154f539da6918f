// SPDX-License-Identifier: MIT
// Kernels of silhouette. Points are sorted by label: a warp counts how many come before one point,
// and writes it to its place, centred and scaled, in double precision. Then a block has 64 points
// of one problem and goes through all others, 64 at a time: a thread computes 8 x 4 products, from
// slabs of 32 channels in shared memory, and their distances; then one thread a point adds these up
// in sorted order. N^2 C fused multiply-adds in double precision, half as many loads from shared
// memory: either can bound it. Sums have one order whatever the batch; products other than the
// CPU's, so coefficients agree with the CPU's to about 1e-12.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/formulas/distance.h"
#include "core/formulas/silhouette.h"
#include "cuda/centred_points.cuh"
#include "cuda/launch.h"
#include "cuda/silhouette.h"

namespace vtcd::cuda {

inline constexpr unsigned kSilhouetteThreads = 128;
inline constexpr int kSlab = 32;               // channels in shared memory at a time
inline constexpr int kSlabStride = kSlab + 1;  // no two rows in one bank
inline constexpr int kDistanceStride = 65;
// A thread's share of a tile: the rows thread / 16 + 8 i and the columns thread % 16 + 16 j.
inline constexpr int kShareRows = 8, kShareColumns = 4;
inline constexpr int kRowStep = kSilhouetteTile / kShareRows;
inline constexpr int kColumnStep = kSilhouetteTile / kShareColumns;

// How many rows of the problem come before a row, in the order of (label, row). By a warp.
template <typename Label>
__device__ int64_t sorted_position(const Label* labels, int64_t count, int64_t row) {
  const Label own = labels[row];
  int before = 0;  // of at most 2^31 rows: more would take centuries
  for (int64_t m = threadIdx.x % 32; m < count; m += 32)
    before += labels[m] < own || (labels[m] == own && m < row);
  for (int lanes = 16; lanes > 0; lanes /= 2) before += __shfl_xor_sync(~0u, before, lanes);
  return before;
}

// A warp has one row.
template <typename Scalar, typename Label>
__global__ void __launch_bounds__(kSilhouetteThreads)
    sort_points_kernel(SilhouetteBatch<Scalar, Label> batch, SilhouetteWorkspace to,
                       int64_t* found) {
  const int64_t row = (int64_t{blockIdx.x} * kSilhouetteThreads + threadIdx.x) / 32;
  if (row >= batch.num_rows) return;
  const int64_t problem = find_part(batch.offsets, batch.num_problems, row);
  const int64_t begin = batch.offsets[problem], count = batch.offsets[problem + 1] - begin;
  const int64_t position = begin + sorted_position(batch.labels + begin, count, row - begin);
  const Centring centring = to.centring[problem];
  const double* origin = to.origins + problem * batch.num_channels;
  double norm = 0;
  for (int64_t c = threadIdx.x % 32; c < batch.num_channels; c += 32) {
    const double value = centring.centred(batch.data[row * batch.num_channels + c], origin[c]);
    to.points[position * batch.num_channels + c] = value;
    norm += value * value;
  }
  for (int lanes = 16; lanes > 0; lanes /= 2) norm += __shfl_xor_sync(~0u, norm, lanes);
  if (threadIdx.x % 32 != 0) return;
  to.norms[position] = norm;
  to.labels[position] = batch.labels[row];
  to.order[position] = row;
  if (batch.labels[row] < 0)
    atomicMax(reinterpret_cast<unsigned long long*>(found),
              static_cast<unsigned long long>(batch.num_rows - row));
}

// Channels [channel, channel + 32) of rows [first, end) at most, 0 beyond.
__device__ inline void load_slab(const double* points, int64_t num_channels, int64_t first,
                                 int64_t end, int64_t channel, double* slab) {
  const int c = static_cast<int>(threadIdx.x % kSlab);
  const bool inside = channel + c < num_channels;
  for (int r = static_cast<int>(threadIdx.x) / kSlab; r < kSilhouetteTile;
       r += static_cast<int>(kSilhouetteThreads) / kSlab) {
    slab[r * kSlabStride + c] =
        inside && first + r < end ? points[(first + r) * num_channels + channel + c] : 0.0;
  }
}

// The products of a thread's rows of one tile with its columns of another.
__device__ __forceinline__ void tile_products(const double* points, int64_t num_channels,
                                              int64_t first_row, int64_t first_column, int64_t end,
                                              double* shared,
                                              double (&products)[kShareRows][kShareColumns]) {
  double *rows = shared, *columns = shared + kSilhouetteTile * kSlabStride;
  const int y = static_cast<int>(threadIdx.x) / kColumnStep;
  const int x = static_cast<int>(threadIdx.x) % kColumnStep;
  for (int i = 0; i < kShareRows; ++i)
    for (int j = 0; j < kShareColumns; ++j) products[i][j] = 0;
  for (int64_t channel = 0; channel < num_channels; channel += kSlab) {
    __syncthreads();  // what is there is no longer needed
    load_slab(points, num_channels, first_row, end, channel, rows);
    load_slab(points, num_channels, first_column, end, channel, columns);
    __syncthreads();
#pragma unroll 2
    for (int c = 0; c < kSlab; ++c) {
      double a[kShareRows], b[kShareColumns];
      for (int i = 0; i < kShareRows; ++i) a[i] = rows[(y + kRowStep * i) * kSlabStride + c];
      for (int j = 0; j < kShareColumns; ++j)
        b[j] = columns[(x + kColumnStep * j) * kSlabStride + c];
      for (int i = 0; i < kShareRows; ++i)
        for (int j = 0; j < kShareColumns; ++j) products[i][j] = fma(a[i], b[j], products[i][j]);
    }
  }
}

// The distance of two of the points, from their product.
__device__ inline double distance_from_product(const double* points, const double* norms,
                                               int64_t num_channels, int64_t i, int64_t j,
                                               double product) {
  if (i == j) return 0;
  const double lengths = norms[j] + norms[i], squared = lengths - 2 * product;
  if (!loses_digits(squared, lengths)) return std::sqrt(squared);
  return distance(points + i * num_channels, points + j * num_channels, num_channels);
}

// What a thread knows of its point while it goes through the others.
struct PointDistances {
  int64_t own;                // label of the point
  double within = 0;          // mean distance to the others of its cluster
  double between = HUGE_VAL;  // smallest mean distance to another cluster
  double sum = 0;             // of distances to the current cluster
  int64_t size = 0;           // points of it so far

  __device__ void add(double distance) {
    sum += distance;
    ++size;
  }
  __device__ void end_cluster(int64_t label) {
    if (label == own) {
      // alone in its cluster: no distance tells how well it lies there
      within = size > 1 ? sum / static_cast<double>(size - 1) : -1;
    } else {
      const double mean = sum / static_cast<double>(size);
      between = mean < between ? mean : between;
    }
    sum = 0;
    size = 0;
  }
  __device__ double coefficient() const {
    const bool defined = within >= 0 && between < HUGE_VAL;
    return defined ? silhouette_coefficient(within, between) : 0.0;
  }
};

// Where the points of the problems lie among the sorted ones.
struct SilhouetteParts {
  const int64_t *offsets, *tiles;
  int64_t num_problems, num_channels;
};

// Block: 64 points of one problem. One kernel for all types of labels, which the sorted points have
// as int64: it takes longest to compile.
template <typename Scalar>
__global__ void __launch_bounds__(kSilhouetteThreads, 3)
    silhouette_kernel(SilhouetteParts batch, SilhouetteWorkspace from, Scalar* coefficients) {
  VTCD_SHARED(int, ends, [kSilhouetteTile]);  // whether a point is the last of its cluster
  VTCD_SHARED(double, shared, [2 * kSilhouetteTile * kSlabStride]);
  const int64_t problem = find_part(batch.tiles, batch.num_problems, blockIdx.x);
  const int64_t begin = batch.offsets[problem], end = batch.offsets[problem + 1];
  const int64_t first = begin + (blockIdx.x - batch.tiles[problem]) * kSilhouetteTile;
  const int64_t row = first + threadIdx.x;
  const bool has_point = threadIdx.x < kSilhouetteTile && row < end;
  const int y = static_cast<int>(threadIdx.x) / kColumnStep;
  const int x = static_cast<int>(threadIdx.x) % kColumnStep;
  PointDistances mine{has_point ? from.labels[row] : 0};
  for (int64_t column = begin; column < end; column += kSilhouetteTile) {
    double products[kShareRows][kShareColumns];
    tile_products(from.points, batch.num_channels, first, column, end, shared, products);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kShareRows; ++i) {
#pragma unroll
      for (int j = 0; j < kShareColumns; ++j) {
        const int r = y + kRowStep * i, c = x + kColumnStep * j;
        if (first + r >= end || column + c >= end) continue;
        shared[r * kDistanceStride + c] = distance_from_product(
            from.points, from.norms, batch.num_channels, first + r, column + c, products[i][j]);
      }
    }
    const int64_t left = end - column;
    const int count = left < kSilhouetteTile ? static_cast<int>(left) : kSilhouetteTile;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kSilhouetteThreads) {
      const int64_t j = column + i;
      ends[i] = j + 1 == end || from.labels[j + 1] != from.labels[j];
    }
    __syncthreads();
#pragma unroll 4
    for (int i = 0; i < (has_point ? count : 0); ++i) {
      mine.add(shared[threadIdx.x * kDistanceStride + i]);
      if (ends[i] != 0) mine.end_cluster(from.labels[column + i]);
    }
  }
  if (has_point) coefficients[from.order[row]] = static_cast<Scalar>(mine.coefficient());
}

template <typename Scalar, typename Label>
void silhouette(const SilhouetteBatch<Scalar, Label>& batch, const SilhouetteWorkspace& workspace,
                Scalar* coefficients, int64_t* found, Stream stream) {
  if (batch.num_rows == 0) return;
  const RaggedRows<Scalar> rows{batch.data, batch.offsets, batch.num_problems, batch.num_channels};
  find_centring(rows, workspace.origins, workspace.centring, stream);
  const int64_t rows_a_block = kSilhouetteThreads / 32;
  const int64_t sorting_blocks = (batch.num_rows + rows_a_block - 1) / rows_a_block;
  simt::launch(&sort_points_kernel<Scalar, Label>, simt::grid(sorting_blocks),
               dim3(kSilhouetteThreads), 0, stream, batch, workspace, found);
  const SilhouetteParts parts{batch.offsets, batch.tiles, batch.num_problems, batch.num_channels};
  simt::launch(&silhouette_kernel<Scalar>, simt::grid(batch.num_tiles), dim3(kSilhouetteThreads), 0,
               stream, parts, workspace, coefficients);
}

}  // namespace vtcd::cuda
