// SPDX-License-Identifier: MIT
// Kernels of cnmf, one for each solver: a block factorises a problem, from reading its points to
// writing its factors, and decides itself when to stop, so that a batch is one launch without a
// word from the host.
//
// cd, for [N, C] = [360, 64] float32 and K = 6: the points (94 KB, as float32, widened when read),
// the encoding, all short vectors and the basis and triangular factor of the support in work (68
// KB) lie in shared memory, 222 KB: one block a multiprocessor, of 12 warps. Those of the other
// supports wait in the workspace. Up to 8 concepts a thread solves for the encoding of a row in
// registers, of which 384 threads have 168 each: so no more than that lives at once, and what a
// sweep hands to the next one is in memory. A sweep reads the points 2 + 2 K times and makes about
// 5 N C K multiply-adds in double precision, 0.7 million, 11,000 cycles of a multiprocessor; what
// bounds it are the barriers and the chains of dependent sums of the projections: some 600 points
// enter a support and 500 leave one in 30 sweeps. Data come in and factors go out once: 92 KB and
// 23 KB a problem.
//
// mu: X^T X [N, N] is read twice an update from the cache, or from memory where a batch is large.
#pragma once

#include "cuda/cnmf.h"
#include "cuda/cnmf_descent.cuh"
#include "cuda/cnmf_multiplicative.cuh"

namespace vtcd::cuda {

inline constexpr int kCnmfThreads = 384;

// The bytes of the tables of a problem, and of the rest.
template <typename T, int kThreads>
VTCD_HOST_DEVICE CnmfBytes count_bytes(int64_t num_rows, int64_t num_channels, int64_t num_concepts,
                                       bool multiplicative, bool with_near) {
  ArenaCount tables, rest;
  CnmfTables<T>{}.take(num_rows, num_channels, num_concepts, kThreads, multiplicative, with_near,
                       &tables, &rest);
  return {tables.bytes() + rest.bytes(), tables.bytes()};
}

// The tables of a problem in shared memory, or, where there is none, before the rest of them in its
// part of the workspace.
template <typename T, int kThreads>
__device__ CnmfTables<T> tables_of(const CnmfProblem& problem, int64_t num_channels,
                                   bool multiplicative, unsigned char* shared, int64_t shared_bytes,
                                   unsigned char* workspace) {
  const int64_t n = problem.num_rows, k = problem.num_concepts;
  const int64_t near_bytes =
      count_bytes<T, kThreads>(n, num_channels, k, multiplicative, true).shared;
  const int64_t far_bytes =
      count_bytes<T, kThreads>(n, num_channels, k, multiplicative, false).shared;
  Arena near(shared_bytes > 0 ? shared : workspace);
  Arena far(shared_bytes > 0 ? workspace : workspace + far_bytes);
  CnmfTables<T> tables{};
  tables.take(n, num_channels, k, kThreads, multiplicative, near_bytes <= shared_bytes, &near,
              &far);
  return tables;
}

template <typename T>
__device__ void report_to(const CnmfBatch<T>& batch, int word, int64_t value) {
  atomicMax(reinterpret_cast<unsigned long long*>(&batch.report[word]),
            static_cast<unsigned long long>(value));
}

// Whether all labels of a problem are below its number of concepts; the first that is not is
// reported.
template <int kThreads, typename T>
__device__ bool check_start(const CnmfBatch<T>& batch, const CnmfProblem& problem,
                            double* scratch) {
  double bad = 0;
  for (int64_t n = problem.first_row + thread_of_block(); n < problem.first_row + problem.num_rows;
       n += kThreads) {
    if (batch.labels[n] >= 0 && batch.labels[n] < problem.num_concepts) continue;
    bad = 1;
    report_to(batch, 1, batch.num_rows - n);
  }
  return combined_threads<kThreads>(bad, scratch, Larger()) == 0;
}

// Writes what the tables hold of the factors of a problem; the outputs are 0 where it has fewer
// concepts than others, and its weights are written already.
template <int kThreads, typename T, typename Stored>
__device__ VTCD_NOINLINE void write_factors(const CnmfBatch<T>& batch, const CnmfProblem& problem,
                                            const CnmfTables<Stored>& t, int exponent,
                                            double error) {
  const int64_t max_k = batch.max_k, num_channels = batch.num_channels;
  T* encoding = batch.encoding + problem.first_row * max_k;
  double largest = 0;
  for (int64_t i = thread_of_block(); i < problem.num_rows * max_k; i += kThreads) {
    const int64_t n = i / max_k, k = i % max_k;
    const double value = k < problem.num_concepts ? t.encoding[k * problem.num_rows + n] : 0.0;
    encoding[i] = static_cast<T>(value);
    largest = fmax(largest, value);
  }
  largest = combined_threads<kThreads>(largest, t.scratch, Larger());
  T* centers = batch.centers + problem.index * max_k * num_channels;
  for (int64_t i = thread_of_block(); i < max_k * num_channels; i += kThreads) {
    centers[i] = i < problem.num_concepts * num_channels
                     ? static_cast<T>(times_power(t.centers[i], exponent))
                     : T{0};
  }
  if (thread_of_block() != 0) return;
  batch.error[problem.index] = static_cast<T>(ldexp(error, exponent));
  double* summary = batch.summary + 3 * problem.index;
  summary[0] = largest;
  summary[1] = error;
  summary[2] = exponent;
}

template <int kThreads, typename T>
__device__ void clear_weights(const CnmfBatch<T>& batch, const CnmfProblem& problem) {
  T* weights = batch.weights + problem.first_row * batch.max_k;
  for (int64_t i = thread_of_block(); i < problem.num_rows * batch.max_k; i += kThreads)
    weights[i] = T{0};
  __syncthreads();
}

// What both kernels end with; results that are no numbers of their dtype are reported. It reads the
// index of the problem again, which need not wait in registers till then.
template <typename T>
__device__ VTCD_NOINLINE void finish(const CnmfBatch<T>& batch, int64_t num_iter) {
  if (thread_of_block() != 0) return;
  const int64_t index = batch.problem[blockIdx.x].index;
  batch.num_iter[index] = num_iter;
  const double* summary = batch.summary + 3 * index;
  const T encoding = static_cast<T>(summary[0]), error = batch.error[index];
  if (encoding - encoding == 0 && error - error == 0) return;
  report_to(batch, 2, batch.num_problems - index);
}

// What both kernels begin with: the tables and the points of a problem, which one thread writes
// once for its block. False where its values cannot be factorised, which is reported.
template <int kThreads, typename T>
__device__ VTCD_NOINLINE bool prepare(const CnmfBatch<T>& batch, const CnmfProblem& problem,
                                      bool multiplicative, unsigned char* shared,
                                      int64_t shared_bytes, CnmfTables<T>* tables,
                                      CnmfPoints<T>* points) {
  if (thread_of_block() == 0) {
    *tables = tables_of<T, kThreads>(problem, batch.num_channels, multiplicative, shared,
                                     shared_bytes, batch.workspace + problem.workspace);
  }
  __syncthreads();
  CnmfPoints<T> own_points = tables->points();
  const bool is_finite =
      PointReader<T, kThreads>(&own_points, tables->per_row, tables->scratch)
          .read(batch.data + problem.first_row * batch.num_channels, !multiplicative);
  if (thread_of_block() == 0) *points = own_points;
  if (!is_finite && thread_of_block() == 0) report_to(batch, 0, 1);
  __syncthreads();
  return is_finite && check_start<kThreads>(batch, problem, tables->scratch);
}

// Takes from the descent what a caller would have to keep in registers through it.
template <int kThreads, typename T>
__device__ VTCD_NOINLINE void write_descent(const CnmfBatch<T>& batch, const CnmfProblem& problem,
                                            BlockDescent<T, kThreads>* descent) {
  clear_weights<kThreads>(batch, problem);
  descent->finish(batch.weights + problem.first_row * batch.max_k, batch.max_k);
  write_factors<kThreads>(batch, problem, descent->tables(), descent->exponent(), descent->error());
  __syncthreads();
}

// The descent, and another one with a penalty where the first came out degenerate: the better of
// the two.
template <typename T, int kThreads>
__global__ void __launch_bounds__(kCnmfThreads, 1)
    cnmf_descent_kernel(CnmfBatch<T> batch, CnmfSettings settings, int64_t shared_bytes) {
  VTCD_DYNAMIC_SHARED(unsigned char, shared);
  VTCD_SHARED(CnmfTables<T>, tables, [1]);
  VTCD_SHARED(CnmfPoints<T>, points, [1]);
  const CnmfProblem problem = batch.problem[blockIdx.x];
  if (!prepare<kThreads>(batch, problem, false, shared, shared_bytes, tables, points)) return;
  BlockDescent<T, kThreads> descent(points[0], tables[0], batch.labels + problem.first_row);
  descent.run(settings.max_num_iter, settings.tol, 0.0);
  write_descent<kThreads>(batch, problem, &descent);
  if (!descent.is_degenerate() || descent.num_sweeps() == settings.max_num_iter) {
    finish(batch, descent.num_sweeps());
    return;
  }
  descent.run(settings.max_num_iter, settings.tol, kFirstPenalty);
  if (descent.error() < descent.earlier_error()) write_descent<kThreads>(batch, problem, &descent);
  finish(batch, descent.num_sweeps());
}

// The multiplicative updates.
template <typename T, int kThreads>
__global__ void __launch_bounds__(kCnmfThreads, 1)
    cnmf_updates_kernel(CnmfBatch<T> batch, CnmfSettings settings, int64_t shared_bytes) {
  VTCD_DYNAMIC_SHARED(unsigned char, shared);
  VTCD_SHARED(CnmfTables<T>, tables, [1]);
  VTCD_SHARED(CnmfPoints<T>, points, [1]);
  const CnmfProblem problem = batch.problem[blockIdx.x];
  if (!prepare<kThreads>(batch, problem, true, shared, shared_bytes, tables, points)) return;
  clear_weights<kThreads>(batch, problem);
  BlockUpdates<T, kThreads> updates(points[0], tables[0], batch.labels + problem.first_row);
  const int64_t num_iter = updates.run(settings.max_num_iter, settings.tol);
  const double error = updates.finish(batch.weights + problem.first_row * batch.max_k, batch.max_k);
  write_factors<kThreads>(batch, problem, tables[0], points[0].exponent, error);
  finish(batch, num_iter);
}

template <typename T, int kThreads>
CnmfBytes count_cnmf_bytes(int64_t num_rows, int64_t num_channels, int64_t num_concepts,
                           bool multiplicative) {
  CnmfBytes bytes =
      count_bytes<T, kThreads>(num_rows, num_channels, num_concepts, multiplicative, false);
  bytes.wanted =
      count_bytes<T, kThreads>(num_rows, num_channels, num_concepts, multiplicative, true).shared;
  return bytes;
}

template <typename T, int kThreads>
void launch_cnmf(const CnmfBatch<T>& batch, int64_t num_problems, int64_t shared_bytes,
                 const CnmfSettings& settings, Stream stream) {
  if (num_problems == 0) return;
  const dim3 blocks = simt::grid(num_problems), threads(kThreads);
  auto* kernel = settings.multiplicative ? &cnmf_updates_kernel<T, kThreads>
                                         : &cnmf_descent_kernel<T, kThreads>;
  simt::launch(kernel, blocks, threads, static_cast<size_t>(shared_bytes), stream, batch, settings,
               shared_bytes);
}

template <typename T>
CnmfBytes cnmf_bytes(int64_t num_rows, int64_t num_channels, int64_t num_concepts,
                     bool multiplicative) {
  return count_cnmf_bytes<T, kCnmfThreads>(num_rows, num_channels, num_concepts, multiplicative);
}

template <typename T>
void cnmf(const CnmfBatch<T>& batch, int64_t num_problems, int64_t shared_bytes,
          const CnmfSettings& settings, Stream stream) {
  launch_cnmf<T, kCnmfThreads>(batch, num_problems, shared_bytes, settings, stream);
}

}  // namespace vtcd::cuda
