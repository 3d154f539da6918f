// SPDX-License-Identifier: MIT
// Kernels of k-means: the distinct points of every problem, centred and scaled; then a block for
// each restart of each problem, which runs until it has converged (kmeans_run.cuh); then the best
// run of each problem is kept, and at the end its labels and centres are written. The host waits
// for nothing. For 360 points of 64 channels a run has its points in shared memory as doubles, 180
// KB, so one block fills a multiprocessor.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/kmeans.h"
#include "cuda/kmeans_memory.cuh"
#include "cuda/kmeans_run.cuh"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr unsigned kResultThreads = 256;

// Restarts of some of the problems.
struct Runs {
  const int64_t* list;    // the problems
  int64_t num_restarts;   // of those at once
  int64_t first_restart;  // of all
  int64_t max_num_iter;
  double tol;
  uint64_t seed;
  int64_t num_rows, num_problems, num_channels;
};

// Threads of a run: 360 points are 12 warps' of 32. With pointers to the device it takes more
// registers than 384 threads can have each.
constexpr unsigned run_threads(RunPlace place) { return place == RunPlace::kDevice ? 256 : 384; }

// Block b: restart b % num_restarts of problem list[b / num_restarts].
template <RunPlace kPlace>
__global__ void __launch_bounds__(run_threads(kPlace), 1)
    run_kernel(KMeansWorkspace work, Runs runs) {
  constexpr unsigned kRunThreads = run_threads(kPlace);
  VTCD_DYNAMIC_SHARED(double, shared);
  const int64_t problem = runs.list[blockIdx.x / runs.num_restarts];
  const int64_t restart = blockIdx.x % runs.num_restarts;
  const int64_t begin = work.offsets[problem], size = work.distinct.num_points[problem];
  const int64_t num_clusters = work.k[problem];
  if (size <= num_clusters) return;  // every point is a cluster
  Points points{work.distinct.points + begin * point_stride(runs.num_channels), size,
                static_cast<int>(runs.num_channels),
                static_cast<int>(point_stride(runs.num_channels))};
  RunMemory memory;
  if constexpr (kPlace == RunPlace::kDevice) {
    memory.lay_out(work.scratch + restart * work.scratch_size + work.scratch_starts[problem], size,
                   num_clusters, runs.num_channels);
  } else {
    const int64_t used = memory.lay_out(shared, size, num_clusters, runs.num_channels);
    if constexpr (kPlace == RunPlace::kShared) {
      double* copy = shared + used;
#pragma unroll 4
      for (int64_t i = threadIdx.x; i < size * points.stride; i += kRunThreads)
        copy[i] = points.rows[i];
      points.rows = copy;
    }
  }
  KMeansBlock<kRunThreads> block(points, memory, num_clusters);
  block.load_weights(work.distinct.weights + begin);
  const double max_shift = runs.tol * block.mean_channel_variance();
  block.choose_centers(PhiloxStream(PhiloxDomain::kKMeans, runs.seed,
                                    static_cast<uint64_t>(runs.first_restart + restart)));
  const int64_t num_iter = block.iterate(runs.max_num_iter, max_shift);
  const double inertia = block.inertia();
  int32_t* labels = work.runs.labels + restart * runs.num_rows + begin;
  for (int64_t n = threadIdx.x; n < size; n += kRunThreads) labels[n] = memory.labels[n];
  const int64_t first_center =
      restart * work.first_centers[runs.num_problems] + work.first_centers[problem];
  double* centers = work.runs.centers + first_center * runs.num_channels;
  for (int64_t i = threadIdx.x; i < num_clusters * runs.num_channels; i += kRunThreads)
    centers[i] = memory.centers[i / runs.num_channels * points.stride + i % runs.num_channels];
  if (threadIdx.x != 0) return;
  work.runs.inertia[restart * runs.num_problems + problem] = inertia;
  work.runs.num_iter[restart * runs.num_problems + problem] = num_iter;
}

// A block keeps the best run of a problem, the first of equally good ones.
__global__ inline void __launch_bounds__(kResultThreads)
    keep_best_kernel(KMeansWorkspace work, Runs runs) {
  const int64_t problem = blockIdx.x, begin = work.offsets[problem];
  const int64_t size = work.distinct.num_points[problem], num_clusters = work.k[problem];
  if (size <= num_clusters) return;
  int64_t best = 0;
  for (int64_t restart = 1; restart < runs.num_restarts; ++restart) {
    if (work.runs.inertia[restart * runs.num_problems + problem] <
        work.runs.inertia[best * runs.num_problems + problem])
      best = restart;
  }
  const double inertia = work.runs.inertia[best * runs.num_problems + problem];
  if (runs.first_restart > 0 && !(inertia < work.best.inertia[problem])) return;
  __syncthreads();  // all have compared
  for (int64_t n = threadIdx.x; n < size; n += kResultThreads)
    work.best.labels[begin + n] = work.runs.labels[best * runs.num_rows + begin + n];
  const int64_t first = work.first_centers[problem] * runs.num_channels;
  const int64_t all = work.first_centers[runs.num_problems] * runs.num_channels;
  for (int64_t i = threadIdx.x; i < num_clusters * runs.num_channels; i += kResultThreads)
    work.best.centers[first + i] = work.runs.centers[best * all + first + i];
  if (threadIdx.x != 0) return;
  work.best.inertia[problem] = inertia;
  work.best.num_iter[problem] = work.runs.num_iter[best * runs.num_problems + problem];
}

// A centre as the data have it.
template <typename Scalar>
__device__ Scalar final_center(const RaggedRows<Scalar>& rows, const KMeansWorkspace& work,
                               int64_t problem, int64_t k, int64_t channel) {
  const int64_t num_channels = rows.num_channels, begin = rows.begin(problem);
  const int64_t size = work.distinct.num_points[problem];
  if (size <= work.k[problem]) {  // those left over lie on the first point
    const int64_t row = begin + (k < size ? work.distinct.columns[begin + k] : 0);
    return rows.data[row * num_channels + channel];
  }
  const double centred =
      work.best.centers[(work.first_centers[problem] + k) * num_channels + channel];
  return static_cast<Scalar>(restored(centred,
                                      work.distinct.origins[problem * num_channels + channel],
                                      work.distinct.centring[problem].exponent));
}

// By one thread: the inertia and the number of iterations of a problem.
template <typename Scalar>
__device__ void write_inertia(const KMeansWorkspace& work, const KMeansOutputs<Scalar>& out,
                              int64_t problem, int64_t num_problems) {
  const bool one_each = work.distinct.num_points[problem] <= work.k[problem];
  const double inertia = one_each ? 0 : work.best.inertia[problem];
  const int exponent = one_each ? 0 : 2 * work.distinct.centring[problem].exponent;
  if (out.num_iter != nullptr) out.num_iter[problem] = one_each ? 1 : work.best.num_iter[problem];
  if (out.raw_inertia != nullptr) out.raw_inertia[problem] = inertia;
  if (out.exponent != nullptr) out.exponent[problem] = exponent;
  if (out.inertia == nullptr) return;
  const auto narrowed = static_cast<Scalar>(std::ldexp(inertia, exponent));
  out.inertia[problem] = narrowed;
  const bool holds = narrowed - narrowed == 0 && (narrowed != 0 || inertia == 0);
  if (!holds && out.failed != nullptr)
    atomicMax(reinterpret_cast<unsigned long long*>(out.failed),
              static_cast<unsigned long long>(num_problems - problem));
}

// A block writes the results of a problem.
template <typename Scalar>
__global__ void __launch_bounds__(kResultThreads)
    finish_kernel(RaggedRows<Scalar> rows, KMeansWorkspace work, KMeansOutputs<Scalar> out,
                  int64_t max_k) {
  const int64_t problem = blockIdx.x, begin = rows.begin(problem), num_channels = rows.num_channels;
  const int64_t num_clusters = work.k[problem];
  const bool one_each = work.distinct.num_points[problem] <= num_clusters;
  for (int64_t n = threadIdx.x; n < rows.size(problem); n += kResultThreads) {
    const int32_t group = work.distinct.group[begin + n];
    out.labels[begin + n] = one_each ? group : work.best.labels[begin + group];
  }
  if (threadIdx.x == 0) write_inertia(work, out, problem, rows.num_problems);
  if (out.centers == nullptr) return;
  for (int64_t i = threadIdx.x; i < num_clusters * num_channels; i += kResultThreads) {
    out.centers[problem * max_k * num_channels + i] =
        final_center(rows, work, problem, i / num_channels, i % num_channels);
  }
}

template <RunPlace kPlace>
void launch_runs(const KMeansPlan& plan, const KMeansWorkspace& work, Runs runs, Stream stream) {
  const auto place = static_cast<int>(kPlace);
  runs.list = work.list;
  for (int before = 0; before < place; ++before) runs.list += plan.counts[before];
  if (plan.counts[place] == 0) return;
  simt::launch(&run_kernel<kPlace>, simt::grid(plan.counts[place] * runs.num_restarts),
               dim3(run_threads(kPlace)),
               static_cast<size_t>(plan.shared_doubles[place]) * sizeof(double), stream, work,
               runs);
}

// Shared memory of a block that is left for run_kernel: it has some of its own.
inline int64_t run_shared_bytes() { return max_shared_bytes() - (2 << 10); }

// What kmeans_workspace_bytes() of kmeans.h returns.
inline int64_t count_kmeans_bytes(const KMeansProblems& problems, const KMeansOptions& options) {
  Carver carver(nullptr);
  KMeansPlan(problems, options, run_shared_bytes()).workspace(carver);
  return carver.used();
}

// Copies arrays that a Carver put one after the other, all at once.
inline void upload_integers(int64_t* first, const std::vector<const std::vector<int64_t>*>& arrays,
                            Stream stream) {
  std::vector<int64_t> all;
  for (const std::vector<int64_t>* array : arrays) {
    all.insert(all.end(), array->begin(), array->end());
    if (all.size() % 2 != 0) all.push_back(0);  // each begins at a multiple of 16 bytes
  }
  copy_to_device(first, all.data(), all.size() * sizeof(int64_t), stream);
}

template <typename Scalar>
void kmeans(const KMeansPlan& plan, const KMeansProblems& problems, const KMeansOptions& options,
            const Scalar* data, void* workspace, const KMeansOutputs<Scalar>& outputs,
            Stream stream) {
  if (plan.num_problems == 0) return;
  Carver carver(workspace);
  const KMeansWorkspace work = plan.workspace(carver);
  upload_integers(
      work.offsets,
      {&problems.offsets, &problems.k, &plan.first_centers, &plan.list, &plan.scratch_starts},
      stream);
  const RaggedRows<Scalar> rows{data, work.offsets, plan.num_problems, plan.num_channels};
  find_distinct_points(rows, plan.num_rows, work.distinct, stream);
  Runs runs{nullptr,
            0,
            0,
            options.max_num_iter,
            options.tol,
            static_cast<uint64_t>(options.seed),
            plan.num_rows,
            plan.num_problems,
            plan.num_channels};
  const dim3 blocks = simt::grid(plan.num_problems);
  for (; runs.first_restart < options.num_restarts; runs.first_restart += runs.num_restarts) {
    const int64_t left = options.num_restarts - runs.first_restart;
    runs.num_restarts = left < plan.runs_at_once ? left : plan.runs_at_once;
    launch_runs<RunPlace::kShared>(plan, work, runs, stream);
    launch_runs<RunPlace::kPointsOnDevice>(plan, work, runs, stream);
    launch_runs<RunPlace::kDevice>(plan, work, runs, stream);
    simt::launch(&keep_best_kernel, blocks, dim3(kResultThreads), 0, stream, work, runs);
  }
  int64_t max_k = 0;
  for (const int64_t k : problems.k) max_k = k > max_k ? k : max_k;
  simt::launch(&finish_kernel<Scalar>, blocks, dim3(kResultThreads), 0, stream, rows, work, outputs,
               max_k);
}

template <typename Scalar>
void kmeans(const KMeansProblems& problems, const KMeansOptions& options, const Scalar* data,
            void* workspace, const KMeansOutputs<Scalar>& outputs, Stream stream) {
  kmeans(KMeansPlan(problems, options, run_shared_bytes()), problems, options, data, workspace,
         outputs, stream);
}

}  // namespace vtcd::cuda
