// SPDX-License-Identifier: MIT
// Where k-means keeps what it works on.
#pragma once

#include <cstdint>
#include <vector>

#include "core/formulas/kmeans.h"
#include "cuda/distinct_points.cuh"
#include "cuda/kmeans.h"

namespace vtcd::cuda {

// Hands out parts of one piece of memory; with null it counts only.
class Carver {
 public:
  explicit Carver(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <typename Item>
  Item* take(int64_t count) {
    constexpr int64_t kAlignment = 16;
    const int64_t from = used_;
    used_ +=
        (count * static_cast<int64_t>(sizeof(Item)) + kAlignment - 1) / kAlignment * kAlignment;
    return memory_ == nullptr ? nullptr : reinterpret_cast<Item*>(memory_ + from);
  }
  int64_t used() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

// What a run works in: shared memory, or the device's for larger problems.
struct RunMemory {
  double* weights;        // [N]
  double* distances;      // [slots, N] to the nearest seed; slot 0: to the centre of the label
  double* chunk_sums;     // [slots, chunks of 32] of distances x weights
  double* weight_sums;    // [chunks of 32] of the weights
  double* centers;        // [K, stride]
  double* partial;        // [chunks of 128, K, C] sums of the points of a cluster
  double* partial_sizes;  // [chunks of 128, K]
  double* sums;           // [K, C]
  double* sizes;          // [K]
  double* shifts;         // [K]
  int* labels;            // [N]
  int* stale;             // [chunks of 128, K] whether `partial` is not that of the labels

  // Doubles that it takes; `at` may be null.
  __host__ __device__ int64_t lay_out(double* at, int64_t num_points, int64_t num_clusters,
                                      int64_t num_channels) {
    const int64_t slots = num_seed_trials(num_clusters) + 1;
    const int64_t sum_chunks = count_sum_chunks(num_points);
    const int64_t parts = (num_points + kClusterChunk - 1) / kClusterChunk * num_clusters;
    int64_t used = 0;
    const auto take = [&](int64_t count) {
      used += count;
      return at == nullptr ? nullptr : at + (used - count);
    };
    weights = take(num_points);
    distances = take(slots * num_points);
    chunk_sums = take(slots * sum_chunks);
    weight_sums = take(sum_chunks);
    centers = take(num_clusters * point_stride(num_channels));
    partial = take(parts * num_channels);
    partial_sizes = take(parts);
    sums = take(num_clusters * num_channels);
    sizes = take(num_clusters);
    shifts = take(num_clusters);
    labels = reinterpret_cast<int*>(take((num_points + 1) / 2));
    stale = reinterpret_cast<int*>(take((parts + 1) / 2));
    return used;
  }
};

// Results of runs of all problems: `centers` of a problem begin at first_centers[p] * C.
struct RunResults {
  int32_t* labels;    // [runs, ΣN] of the distinct points
  double* centers;    // [runs, ΣK, C]
  double* inertia;    // [runs, P]
  int64_t* num_iter;  // [runs, P]
};

// Where the points of a problem and what a run works in lie.
enum class RunPlace : int { kShared = 0, kPointsOnDevice = 1, kDevice = 2 };
inline constexpr int kRunPlaces = 3;

// What the kernels work on, besides the data. On the device.
struct KMeansWorkspace {
  int64_t* offsets;         // [P + 1]
  int64_t* k;               // [P]
  int64_t* first_centers;   // [P + 1] clusters of the problems before each
  int64_t* list;            // [P] the problems, those of one RunPlace after those of another
  int64_t* scratch_starts;  // [P] in `scratch` of a run, for RunPlace::kDevice
  DistinctWorkspace distinct;
  RunResults runs;
  RunResults best;  // of one run
  double* scratch;  // [runs, scratch_size]
  int64_t scratch_size;
};

// What the host knows of the problems and how the runs are placed and shared out.
struct KMeansPlan {
  KMeansPlan(const KMeansProblems& problems, const KMeansOptions& options, int64_t shared_bytes);

  KMeansWorkspace workspace(Carver& carver) const;

  int64_t num_problems, num_rows, num_channels;
  int64_t runs_at_once;  // restarts whose results are in memory at a time
  std::vector<int64_t> first_centers, list, scratch_starts;
  int64_t scratch_size = 0;
  int64_t counts[kRunPlaces] = {};          // problems of each place
  int64_t shared_doubles[kRunPlaces] = {};  // of the largest of them
};

inline KMeansPlan::KMeansPlan(const KMeansProblems& problems, const KMeansOptions& options,
                              int64_t shared_bytes)
    : num_problems(static_cast<int64_t>(problems.k.size())),
      num_rows(problems.offsets.back()),
      num_channels(problems.num_channels),
      first_centers{0},
      scratch_starts(problems.k.size()) {
  const int64_t available = shared_bytes / static_cast<int64_t>(sizeof(double));
  std::vector<int64_t> lists[kRunPlaces];
  for (int64_t p = 0; p < num_problems; ++p) {
    first_centers.push_back(first_centers.back() + problems.k[p]);
    const int64_t size = problems.offsets[p + 1] - problems.offsets[p];
    RunMemory memory;
    const int64_t scratch = memory.lay_out(nullptr, size, problems.k[p], num_channels);
    const int64_t both = scratch + size * point_stride(num_channels);
    const RunPlace place = both <= available      ? RunPlace::kShared
                           : scratch <= available ? RunPlace::kPointsOnDevice
                                                  : RunPlace::kDevice;
    const auto at = static_cast<size_t>(place);
    lists[at].push_back(p);
    const int64_t shared = place == RunPlace::kShared           ? both
                           : place == RunPlace::kPointsOnDevice ? scratch
                                                                : 0;
    if (shared > shared_doubles[at]) shared_doubles[at] = shared;
    scratch_starts[p] = scratch_size;
    if (place == RunPlace::kDevice) scratch_size += scratch;
  }
  for (int place = 0; place < kRunPlaces; ++place) {
    counts[place] = static_cast<int64_t>(lists[place].size());
    list.insert(list.end(), lists[place].begin(), lists[place].end());
  }
  constexpr int64_t kMostBytes = int64_t{1} << 29;
  const int64_t bytes_a_run =
      4 * num_rows + 8 * first_centers.back() * num_channels + 16 * num_problems + 8 * scratch_size;
  runs_at_once = kMostBytes / (bytes_a_run + 1) + 1;
  if (runs_at_once > options.num_restarts) runs_at_once = options.num_restarts;
}

inline KMeansWorkspace KMeansPlan::workspace(Carver& carver) const {
  KMeansWorkspace work;
  work.offsets = carver.take<int64_t>(num_problems + 1);
  work.k = carver.take<int64_t>(num_problems);
  work.first_centers = carver.take<int64_t>(num_problems + 1);
  work.list = carver.take<int64_t>(num_problems);
  work.scratch_starts = carver.take<int64_t>(num_problems);
  work.distinct = {carver.take<double>(num_problems * num_channels),
                   carver.take<Centring>(num_problems),
                   carver.take<uint64_t>(num_rows),
                   carver.take<int32_t>(num_rows),
                   carver.take<int32_t>(num_rows),
                   carver.take<int32_t>(num_rows),
                   carver.take<int32_t>(num_rows),
                   carver.take<double>(num_rows * point_stride(num_channels)),
                   carver.take<double>(num_rows),
                   carver.take<int64_t>(num_problems)};
  const auto results = [&](int64_t runs) {
    return RunResults{carver.take<int32_t>(runs * num_rows),
                      carver.take<double>(runs * first_centers.back() * num_channels),
                      carver.take<double>(runs * num_problems),
                      carver.take<int64_t>(runs * num_problems)};
  };
  work.runs = results(runs_at_once);
  work.best = results(1);
  work.scratch = carver.take<double>(runs_at_once * scratch_size);
  work.scratch_size = scratch_size;
  return work;
}

}  // namespace vtcd::cuda
