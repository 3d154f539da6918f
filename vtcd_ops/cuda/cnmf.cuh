// SPDX-License-Identifier: MIT
// Kernels of cnmf: a block factorises a problem, from reading its points to writing its factors,
// and decides itself when to stop, so that a batch is one launch without a word from the host.
//
// cd, for [N, C] = [360, 64] float32 and K = 6: the points (94 KB, as float32, widened when read),
// the encoding, all short vectors and the basis and triangular factor of the support in work (68
// KB) lie in shared memory, 222 KB: one block a multiprocessor, of 12 warps. Those of the other
// supports wait in the workspace. Up to 8 concepts a thread solves for the encoding of a row in
// registers. A sweep reads the points 2 + 2 K times and makes about 5 N C K multiply-adds in double
// precision, 0.7 million, 11,000 cycles of a multiprocessor; what bounds it are the barriers and
// the chains of dependent sums of the projections: some 600 points enter a support and 500 leave
// one in 30 sweeps. Data come in and factors go out once: 92 KB and 23 KB a problem.
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

// The descent, and another one with a penalty where the first came out degenerate: the better of
// the two. Returns the sweeps of both.
template <int kThreads, typename T, typename Stored>
__device__ VTCD_NOINLINE int64_t descend(const CnmfBatch<T>& batch, const CnmfProblem& problem,
                                         const CnmfSettings& settings,
                                         const CnmfPoints<Stored>& points,
                                         const CnmfTables<Stored>& t) {
  double best = HUGE_VAL;
  int64_t num_iter = 0;
#pragma unroll 1
  for (int attempt = 0; attempt < 2; ++attempt) {
    BlockDescent<Stored, kThreads> descent(points, t, batch.labels + problem.first_row);
    num_iter += descent.run(settings.max_num_iter - num_iter, settings.tol,
                            attempt == 0 ? 0.0 : kFirstPenalty);
    const double error = descent.error();
    if (attempt == 0 || error < best) {
      best = error;
      clear_weights<kThreads>(batch, problem);
      descent.finish(batch.weights + problem.first_row * batch.max_k, batch.max_k);
      write_factors<kThreads>(batch, problem, t, points.exponent, error);
      __syncthreads();
    }
    if (!descent.is_degenerate() || num_iter == settings.max_num_iter) break;
  }
  return num_iter;
}

// The multiplicative updates. Returns how many.
template <int kThreads, typename T, typename Stored>
__device__ VTCD_NOINLINE int64_t multiply(const CnmfBatch<T>& batch, const CnmfProblem& problem,
                                          const CnmfSettings& settings,
                                          const CnmfPoints<Stored>& points,
                                          const CnmfTables<Stored>& t) {
  clear_weights<kThreads>(batch, problem);
  BlockUpdates<Stored, kThreads> updates(points, t, batch.labels + problem.first_row);
  const int64_t num_iter = updates.run(settings.max_num_iter, settings.tol);
  const double error = updates.finish(batch.weights + problem.first_row * batch.max_k, batch.max_k);
  write_factors<kThreads>(batch, problem, t, points.exponent, error);
  return num_iter;
}

// Whether the results of a problem are numbers of its dtype.
template <typename T>
__device__ void check_results(const CnmfBatch<T>& batch, const CnmfProblem& problem) {
  const double* summary = batch.summary + 3 * problem.index;
  const T encoding = static_cast<T>(summary[0]), error = batch.error[problem.index];
  if (encoding - encoding == 0 && error - error == 0) return;
  report_to(batch, 2, batch.num_problems - problem.index);
}

template <typename T, int kThreads>
__global__ void __launch_bounds__(kCnmfThreads, 1)
    cnmf_kernel(CnmfBatch<T> batch, CnmfSettings settings, int64_t shared_bytes) {
  VTCD_DYNAMIC_SHARED(unsigned char, shared);
  const CnmfProblem problem = batch.problem[blockIdx.x];
  VTCD_SHARED(CnmfTables<T>, tables, [1]);  // once a block, not once a thread
  VTCD_SHARED(CnmfPoints<T>, all_points, [1]);
  const CnmfTables<T>& t = tables[0];
  const CnmfPoints<T>& points = all_points[0];
  if (thread_of_block() == 0) {
    tables[0] = tables_of<T, kThreads>(problem, batch.num_channels, settings.multiplicative, shared,
                                       shared_bytes, batch.workspace + problem.workspace);
  }
  __syncthreads();
  CnmfPoints<T> own_points = t.points();
  const bool is_finite =
      PointReader<T, kThreads>(&own_points, t.per_row, t.scratch)
          .read(batch.data + problem.first_row * batch.num_channels, !settings.multiplicative);
  if (thread_of_block() == 0) all_points[0] = own_points;
  if (!is_finite && thread_of_block() == 0) report_to(batch, 0, 1);
  __syncthreads();
  if (!is_finite || !check_start<kThreads>(batch, problem, t.scratch)) return;
  const int64_t num_iter = settings.multiplicative
                               ? multiply<kThreads>(batch, problem, settings, points, t)
                               : descend<kThreads>(batch, problem, settings, points, t);
  if (thread_of_block() != 0) return;
  batch.num_iter[problem.index] = num_iter;
  check_results(batch, problem);
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
  const dim3 blocks(static_cast<unsigned>(num_problems)), threads(kThreads);
  simt::launch(&cnmf_kernel<T, kThreads>, blocks, threads, static_cast<size_t>(shared_bytes),
               stream, batch, settings, shared_bytes);
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
