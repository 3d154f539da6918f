// SPDX-License-Identifier: MIT
// One run of k-means by one block, from its seeds to its last labels, with the CPU's bits: a warp
// has 32 points, a chunk of the ordered sums. Each round it computes all N K distances (3 N K C
// operations in double precision, which bound it), and adds up anew only those clusters of a chunk
// whose points have changed.
#pragma once

#include <cstdint>

#include "core/formulas/kmeans.h"
#include "core/formulas/philox.h"
#include "cuda/kmeans_distances.cuh"
#include "cuda/kmeans_memory.cuh"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr int kMaxTrials = 32;  // 2 + log(k) of any k that memory holds

// The largest of values, the first of equal ones, by one warp; all of its lanes get both.
struct Largest {
  double value;
  int64_t at;
};

__device__ inline Largest warp_largest(const double* values, int64_t count) {
  Largest largest{-1, 0};
  for (int64_t n = threadIdx.x % 32; n < count; n += 32)
    if (values[n] > largest.value) largest = {values[n], n};
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const double value = __shfl_xor_sync(~0u, largest.value, lanes);
    const int64_t at = __shfl_xor_sync(~0u, largest.at, lanes);
    if (value > largest.value || (value == largest.value && at < largest.at)) largest = {value, at};
  }
  return largest;
}

// All is inlined: what it holds then lies in registers.
template <unsigned kRunThreads>
class KMeansBlock {
 public:
  static constexpr int kRunWarps = kRunThreads / 32;

  __device__ __forceinline__ KMeansBlock(const Points& points, const RunMemory& memory,
                                         int64_t num_clusters)
      : points_(points),
        memory_(memory),
        num_clusters_(num_clusters),
        num_sum_chunks_(count_sum_chunks(points.size)),
        num_chunks_((points.size + kClusterChunk - 1) / kClusterChunk),
        warp_(static_cast<int>(threadIdx.x / 32)),
        lane_(static_cast<int>(threadIdx.x % 32)) {}

  __device__ __forceinline__ void load_weights(const double* weights) {
    for (int64_t n = threadIdx.x; n < points_.size; n += kRunThreads)
      memory_.weights[n] = weights[n];
    __syncthreads();
    for (int64_t chunk = warp_; chunk < num_sum_chunks_; chunk += kRunWarps) {
      const int64_t n = chunk * kSumChunk + lane_;
      const double sum = warp_sum_of_chunk(n < points_.size ? memory_.weights[n] : 0.0);
      if (lane_ == 0) memory_.weight_sums[chunk] = sum;
    }
    __syncthreads();
    total_weight_ = sum_of_chunks_in_order(memory_.weight_sums, num_sum_chunks_);
  }

  // Mean variance of a channel.
  __device__ __forceinline__ double mean_channel_variance() {
    set_labels(0);
    add_up_clusters(1);
    const int num_channels = points_.num_channels;
    for (int c = static_cast<int>(threadIdx.x); c < num_channels; c += kRunThreads)
      memory_.centers[c] = memory_.sums[c] / total_weight_;
    __syncthreads();
    const Vector mean{memory_.centers, 0};
    measure(mean, mean, nullptr, 0, 0);
    __syncthreads();
    const double sum = sum_of_chunks_in_order(memory_.chunk_sums, num_sum_chunks_);
    return sum / (total_weight_ * static_cast<double>(num_channels));
  }

  // Greedy k-means++.
  __device__ __forceinline__ void choose_centers(PhiloxStream random) {
    VTCD_SHARED(int64_t, drawn, [kMaxTrials]);
    VTCD_SHARED(double, sums, [kMaxTrials]);
    const int trial = static_cast<int>(threadIdx.x);
    const int num_trials = static_cast<int>(num_seed_trials(num_clusters_));
    if (trial == 0) drawn[0] = draw_by_weight(random.uniform());
    if (trial != 0) random.uniform();
    __syncthreads();
    const Vector first = vector_of(points_, drawn[0]);
    measure(first, first, nullptr, 0, 0);
    copy_center(0, drawn[0]);
    __syncthreads();
    int current = 0;  // slot of the distances to the nearest seed
    double total = sum_of_chunks_in_order(memory_.chunk_sums, num_sum_chunks_);
    for (int64_t k = 1; k < num_clusters_; ++k) {
      const double* closest = memory_.distances + current * points_.size;
      if (trial < num_trials) {
        double share = 0;
        for (int t = 0; t < num_trials; ++t) {
          const double next = random.uniform();
          if (t == trial) share = next;
        }
        drawn[trial] = draw_by_distance(share, total, current);
      }
      __syncthreads();
      const auto slot_of = [&](int t) { return t < current ? t : t + 1; };
      for (int t = 0; t < num_trials; t += 2) {
        const int other = t + 1 < num_trials ? t + 1 : t;
        measure(vector_of(points_, drawn[t]), vector_of(points_, drawn[other]), closest, slot_of(t),
                slot_of(other));
      }
      __syncthreads();
      if (trial < num_trials)
        sums[trial] = sum_of_chunks_in_order(memory_.chunk_sums + slot_of(trial) * num_sum_chunks_,
                                             num_sum_chunks_);
      __syncthreads();
      int best = 0;
      for (int t = 1; t < num_trials; ++t)
        if (sums[t] < sums[best]) best = t;
      copy_center(k, drawn[best]);
      total = sums[best];
      current = slot_of(best);
      __syncthreads();
    }
  }

  // Rounds until no label changes, the centres hardly move, or there have been enough. Returns how
  // many.
  __device__ __forceinline__ int64_t iterate(int64_t max_num_iter, double max_shift) {
    set_labels(-1);
    int64_t iteration = 0;
    bool settled = false;
    while (iteration < max_num_iter && !settled) {
      ++iteration;
      if (!assign()) break;
      settled = update_centers() <= max_shift;
    }
    if (settled || iteration == max_num_iter) assign();  // labels of the last centres
    return iteration;
  }

  // Of the labels of the last assignment.
  __device__ __forceinline__ double inertia() {
    for (int64_t chunk = warp_; chunk < num_sum_chunks_; chunk += kRunWarps) {
      const int64_t n = chunk * kSumChunk + lane_;
      const double share = n < points_.size ? memory_.distances[n] * memory_.weights[n] : 0.0;
      const double sum = warp_sum_of_chunk(share);
      if (lane_ == 0) memory_.chunk_sums[chunk] = sum;
    }
    __syncthreads();
    return sum_of_chunks_in_order(memory_.chunk_sums, num_sum_chunks_);
  }

 private:
  __device__ __forceinline__ void set_labels(int label) {
    for (int64_t n = threadIdx.x; n < points_.size; n += kRunThreads) memory_.labels[n] = label;
    for (int64_t i = threadIdx.x; i < num_chunks_ * num_clusters_; i += kRunThreads)
      memory_.stale[i] = 1;
    __syncthreads();
  }

  __device__ __forceinline__ int64_t draw_by_weight(double share) const {
    return point_at_threshold(share * total_weight_, memory_.weight_sums, points_.size,
                              [&](int64_t n) { return memory_.weights[n]; });
  }

  __device__ __forceinline__ int64_t draw_by_distance(double share, double total, int slot) const {
    // no distance is left that a double could square: any point
    if (total <= 0) return draw_by_weight(share);
    const double* closest = memory_.distances + slot * points_.size;
    return point_at_threshold(share * total, memory_.chunk_sums + slot * num_sum_chunks_,
                              points_.size,
                              [&](int64_t n) { return closest[n] * memory_.weights[n]; });
  }

  __device__ __forceinline__ void copy_center(int64_t k, int64_t point) {
    for (int c = static_cast<int>(threadIdx.x); c < points_.num_channels; c += kRunThreads)
      memory_.centers[k * points_.stride + c] = points_.value(point, c);
  }

  // The distances to a and to b, or the closest so far (null: none) where they are smaller, and
  // their weighted sums, into two slots (which may be one, for one vector).
  __device__ __forceinline__ void measure(const Vector& a, const Vector& b, const double* closest,
                                          int slot_a, int slot_b) {
    for (int64_t chunk = warp_; chunk < num_sum_chunks_; chunk += kRunWarps) {
      const TwoDistances found = squared_distances(points_, chunk * kSumChunk, a, b);
      const int64_t n = chunk * kSumChunk + lane_;
      const bool inside = n < points_.size;
      const double limit = inside && closest != nullptr ? closest[n] : HUGE_VAL;
      const double weight = inside ? memory_.weights[n] : 0.0;
      store(found.first < limit ? found.first : limit, weight, slot_a, chunk);
      if (slot_b != slot_a)
        store(found.second < limit ? found.second : limit, weight, slot_b, chunk);
    }
  }

  __device__ __forceinline__ void store(double distance, double weight, int slot, int64_t chunk) {
    const int64_t n = chunk * kSumChunk + lane_;
    const bool inside = n < points_.size;
    if (inside) memory_.distances[slot * points_.size + n] = distance;
    const double sum = warp_sum_of_chunk(inside ? distance * weight : 0.0);
    if (lane_ == 0) memory_.chunk_sums[slot * num_sum_chunks_ + chunk] = sum;
  }

  __device__ __forceinline__ Vector center(int64_t k) const {
    return {memory_.centers + k * points_.stride, 0};
  }

  // Every point to its nearest centre, ties to the lower index. Whether a label changed.
  __device__ __forceinline__ bool assign() {
    bool changed = false;
    for (int64_t chunk = warp_; chunk < num_sum_chunks_; chunk += kRunWarps) {
      double smallest = HUGE_VAL;
      int64_t nearest = 0;
      for (int64_t k = 0; k < num_clusters_; k += 2) {
        const int64_t other = k + 1 < num_clusters_ ? k + 1 : k;
        const TwoDistances found =
            squared_distances(points_, chunk * kSumChunk, center(k), center(other));
        if (found.first < smallest) {
          smallest = found.first;
          nearest = k;
        }
        if (found.second < smallest) {
          smallest = found.second;
          nearest = other;
        }
      }
      const int64_t n = chunk * kSumChunk + lane_;
      if (n < points_.size) {
        memory_.distances[n] = smallest;
        changed |= relabel(n, static_cast<int>(nearest));
      }
    }
    return __syncthreads_or(changed) != 0;
  }

  __device__ __forceinline__ bool relabel(int64_t n, int label) {
    const int before = memory_.labels[n];
    if (before == label) return false;
    int* stale = memory_.stale + n / kClusterChunk * num_clusters_;
    if (before >= 0) atomicOr(&stale[before], 1);
    atomicOr(&stale[label], 1);
    memory_.labels[n] = label;
    return true;
  }

  // The sums and sizes of the first clusters. Between two barriers.
  __device__ __forceinline__ void add_up_clusters(int64_t num_clusters) {
    const int num_channels = points_.num_channels;
    const int64_t blocks = (num_channels + 31) / 32, parts = num_chunks_ * num_clusters;
    for (int64_t task = warp_; task < parts * blocks; task += kRunWarps) {
      const int64_t part = task / blocks, chunk = part / num_clusters, k = part % num_clusters;
      const int channel = static_cast<int>(task % blocks) * 32 + lane_;
      if (memory_.stale[part] != 0) add_up_part(chunk, static_cast<int>(k), part, channel);
    }
    __syncthreads();
    for (int64_t part = threadIdx.x; part < parts; part += kRunThreads) memory_.stale[part] = 0;
    for (int64_t i = threadIdx.x; i < num_clusters * num_channels; i += kRunThreads)
      memory_.sums[i] = sum_of_parts(memory_.partial + i, num_clusters * num_channels);
    for (int64_t k = threadIdx.x; k < num_clusters; k += kRunThreads)
      memory_.sizes[k] = sum_of_parts(memory_.partial_sizes + k, num_clusters);
    __syncthreads();
  }

  __device__ __forceinline__ double sum_of_parts(const double* first, int64_t step) const {
    double sum = first[0];
    for (int64_t chunk = 1; chunk < num_chunks_; ++chunk) sum += first[chunk * step];
    return sum;
  }

  // One channel of the points of a chunk that are in a cluster, added in their order; 4 loads at a
  // time, of which those beyond the last point count 0 times.
  __device__ __forceinline__ void add_up_part(int64_t chunk, int k, int64_t part, int channel) {
    const bool inside = channel < points_.num_channels;
    double sum = 0, size = 0;
    for (int64_t from = chunk * kClusterChunk; from < (chunk + 1) * kClusterChunk; from += 32) {
      const int64_t own = from + lane_;
      unsigned members = __ballot_sync(~0u, own < points_.size && memory_.labels[own] == k);
      while (members != 0) {
        double values[4], weights[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const bool any = members != 0;
          const int64_t n = any ? from + __ffs(static_cast<int>(members)) - 1 : from;
          members &= members - 1;
          weights[i] = any ? memory_.weights[n] : 0.0;
          values[i] = inside ? points_.value(n, channel) : 0.0;
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sum += weights[i] * values[i];
          size += weights[i];
        }
      }
    }
    if (inside) memory_.partial[part * points_.num_channels + channel] = sum;
    if (channel == 0) memory_.partial_sizes[part] = size;
  }

  // An empty cluster takes over the point farthest from its centre, the next one the second
  // farthest, and so on. Ends with a barrier, like all that it is made of.
  __device__ __forceinline__ void move_empty_clusters() {
    VTCD_SHARED(Largest, farthest, [1]);
    for (int64_t k = 0; k < num_clusters_; ++k) {
      if (memory_.sizes[k] > 0) continue;
      if (warp_ == 0) {
        const Largest found = warp_largest(memory_.distances, points_.size);
        if (lane_ == 0) farthest[0] = found;
      }
      __syncthreads();
      if (farthest[0].value <= 0) return;
      const int64_t n = farthest[0].at;
      const int64_t donor = memory_.labels[n];
      const double weight = memory_.weights[n];
      double* sums = memory_.sums;
      for (int c = static_cast<int>(threadIdx.x); c < points_.num_channels; c += kRunThreads) {
        const double share = weight * points_.value(n, c);
        sums[donor * points_.num_channels + c] -= share;
        sums[k * points_.num_channels + c] = share;
      }
      __syncthreads();
      if (threadIdx.x == 0) {
        memory_.sizes[donor] -= weight;
        memory_.sizes[k] = weight;
        memory_.distances[n] = 0;
        relabel(n, static_cast<int>(k));
      }
      __syncthreads();
    }
  }

  // Centres become the means of their points: 8 lanes have one. Returns the sum of squared shifts.
  __device__ __forceinline__ double update_centers() {
    add_up_clusters(num_clusters_);
    move_empty_clusters();
    const int l = lane_ % kSumLanes;
    const int64_t groups = kRunThreads / kSumLanes;
    const int64_t rounds = (num_clusters_ + groups - 1) / groups;
    for (int64_t round = 0; round < rounds; ++round) {
      const int64_t k = round * groups + threadIdx.x / kSumLanes;
      // where no point is left to take over, the centre stays
      const double size = k < num_clusters_ ? memory_.sizes[k] : 0;
      double shift = 0;
      for (int c = l; size > 0 && c < points_.num_channels; c += kSumLanes) {
        double& center = memory_.centers[k * points_.stride + c];
        const double mean = memory_.sums[k * points_.num_channels + c] / size;
        shift += (mean - center) * (mean - center);
        center = mean;
      }
      for (int apart = kSumLanes / 2; apart > 0; apart /= 2)
        shift += __shfl_xor_sync(~0u, shift, apart);
      if (l == 0 && k < num_clusters_) memory_.shifts[k] = shift;
    }
    __syncthreads();
    double sum = 0;
    for (int64_t k = 0; k < num_clusters_; ++k) sum += memory_.shifts[k];
    return sum;
  }

  const Points points_;
  const RunMemory memory_;
  const int64_t num_clusters_, num_sum_chunks_, num_chunks_;
  const int warp_, lane_;
  double total_weight_ = 0;
};

}  // namespace vtcd::cuda
