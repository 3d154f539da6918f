// SPDX-License-Identifier: MIT
// The memory that the kernels of slic3d work in, and what they all use.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/formulas/slic3d_clusters.h"
#include "cuda/launch.h"
#include "cuda/slic3d.h"

#if !defined(__CUDACC__)
#include <atomic>
#endif

namespace vtcd::cuda {

// A value that other threads may be changing by atomic operations.
template <typename T>
__device__ inline T load_shared_value(const T* from) {
#if defined(__CUDACC__)
  return *static_cast<const volatile T*>(from);
#else
  return std::atomic_ref<T>(*const_cast<T*>(from)).load(std::memory_order_relaxed);
#endif
}

// Integers in the order of the numbers: atomic maxima of them are maxima of numbers. 0 is below
// all.
__device__ inline unsigned long long ordered(double number) {
  unsigned long long bits;
  memcpy(&bits, &number, sizeof bits);
  constexpr unsigned long long kSign = 1ull << 63;
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

__device__ inline double number_of(unsigned long long ordered) {
  constexpr unsigned long long kSign = 1ull << 63;
  const unsigned long long bits = (ordered & kSign) != 0 ? ordered ^ kSign : ~ordered;
  double number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

// What the voxels of a label add up to, and the box that they are in.
struct LabelExtent {
  unsigned long long count, coordinates[3];
  int32_t past_first[3], past_last[3];  // size - first and last + 1, so that 0 is below all

  __device__ Extent extent() const {
    Extent sums;
    sums.count = static_cast<int64_t>(count);
    for (int axis = 0; axis < 3; ++axis)
      sums.coordinates[axis] = static_cast<int64_t>(coordinates[axis]);
    return sums;
  }
};

// The two ways to the labels of a volume.
enum SlicPath : int32_t {
  kByCells,   // slic3d_cells.cuh, as long as that is certain
  kByVoxels,  // slic3d_voxels.cuh
};

// One volume between two launches. Begins as zeros. What a round writes and the next one reads has
// two places: [round % 2].
struct VolumeState {
  unsigned long long highest, lowest;  // ordered(f) of the highest, ordered(-f) of the lowest voxel
  unsigned long long largest;          // ordered(|f|) of the tokens
  int32_t not_finite;
  FeatureScale scale;
  int64_t num_channels;  // 0 where all features are the same
  int32_t path;          // a SlicPath
  // Bounds of the distances: |f|^2, and the largest in space.
  double squared_features, largest_spatial;
  int32_t done;                // further rounds change nothing
  int32_t changed[2];          // whether any label did
  unsigned long long most[2];  // voxels of any cluster
};

// How a workspace is divided, and how many bytes it has.
class Division {
 public:
  explicit Division(void* begin) : begin_(static_cast<char*>(begin)) {}

  template <typename T>
  T* take(int64_t count) {
    T* taken = begin_ == nullptr ? nullptr : reinterpret_cast<T*>(begin_ + size_);
    constexpr int64_t kAlignment = 256;
    size_ += (count * static_cast<int64_t>(sizeof(T)) + kAlignment - 1) / kAlignment * kAlignment;
    return taken;
  }
  int64_t size() const { return size_; }

 private:
  char* begin_;
  int64_t size_ = 0;
};

inline constexpr int64_t kChannelGroup = 32;  // channels that a block sums up

struct SlicWork {
  SlicWork(const SlicPlan& plan, void* memory) {
    const int64_t batch = plan.batch, num_clusters = plan.num_clusters();
    for (int i = 0; i < 3; ++i) {
      places[i] = axis(plan, i).count();
      parts[i] = axis(plan, i).parts_of_interval();
    }
    Division division(memory);
    state = division.take<VolumeState>(batch);
    found = division.take<int64_t>(2);
    zeros = division.size();
    extents = division.take<LabelExtent>(batch * 2 * num_clusters);
    centers = division.take<double>(batch * num_clusters * plan.num_channels);
    clusters = division.take<Cluster>(batch * num_clusters);
    cells = division.take<AxisCell>(num_places(plan));
    channel_low = division.take<double>(batch * plan.num_channels);
    channel_high = division.take<double>(batch * plan.num_channels);
    values = division.take<double>(batch * num_values(plan) * plan.num_channels);
    if (has_cells(plan)) {
      const int64_t tokens = plan.grid.count(), boxes = num_boxes(plan);
      scores = division.take<double>(batch * num_clusters * tokens);
      token_weights = division.take<double>(batch * num_clusters * tokens);
      moments = division.take<int32_t>(batch * num_clusters * boxes * 8);
      box_label = division.take<int32_t>(batch * boxes);
      seed_moments = division.take<int32_t>(num_places(plan) * most_seeds(plan) * 2);
    }
    if (plan.connected) {
      const int64_t voxels = batch * plan.size.count();
      piece = division.take<int32_t>(voxels);
      piece_size = division.take<int32_t>(voxels);
      number = division.take<int32_t>(voxels);
      neighbour_low = division.take<int32_t>(voxels);
      neighbour_high = division.take<int32_t>(voxels);
      claim = division.take<int32_t>(voxels);
      queue = division.take<int32_t>(voxels);
      chunk_count = division.take<int32_t>(batch * num_chunks(plan));
      hard = division.take<int64_t>(voxels);
      counters = division.take<int32_t>(2 + 2 * batch);
    }
    bytes = division.size();
  }

  // Where the volume has no more voxels than the grid has tokens it is made: it is the smaller one.
  VTCD_HOST_DEVICE static bool is_made(const SlicPlan& plan) {
    return plan.size.count() <= plan.grid.count();
  }
  VTCD_HOST_DEVICE static int64_t num_values(const SlicPlan& plan) {
    return is_made(plan) ? plan.size.count() : plan.grid.count();
  }
  VTCD_HOST_DEVICE static AxisCells axis(const SlicPlan& plan, int which) {
    const int64_t tokens[3] = {plan.grid.t, plan.grid.h, plan.grid.w};
    const int64_t voxels[3] = {plan.size.t, plan.size.h, plan.size.w};
    return AxisCells(tokens[which], voxels[which], plan.interpolation);
  }
  static int64_t num_places(const SlicPlan& plan) {
    return axis(plan, 0).count() + axis(plan, 1).count() + axis(plan, 2).count();
  }
  VTCD_HOST_DEVICE static int64_t num_boxes(const SlicPlan& plan) {
    return axis(plan, 0).count() * axis(plan, 1).count() * axis(plan, 2).count();
  }
  VTCD_HOST_DEVICE static int64_t most_seeds(const SlicPlan& plan) {
    const auto& [z, y, x] = plan.seeds;
    const int64_t most = z.count > y.count ? z.count : y.count;
    return most > x.count ? most : x.count;
  }
  // Whether rounds over cells are tried: they look at all clusters in each box.
  static bool has_cells(const SlicPlan& plan) {
    constexpr int64_t kMostClusters = 256, kMostMoments = int64_t{1} << 21;
    const int64_t num_clusters = plan.num_clusters();
    return !is_made(plan) && num_clusters <= kMostClusters &&
           num_boxes(plan) <= kMostMoments / num_clusters;
  }
  VTCD_HOST_DEVICE static int64_t num_chunks(const SlicPlan& plan) {
    return (plan.size.count() + 1023) / 1024;
  }

  int64_t places[3], parts[3];  // of cells along z, y and x: all; for an interval of tokens
  VolumeState* state;           // [B]
  int64_t* found;               // whether any volume is not finite; whether any goes by voxels
  int64_t zeros;                // bytes before here begin as zeros
  LabelExtent* extents;         // [B, 2, K], by round % 2
  double* centers;              // [B, K, C]
  Cluster* clusters;            // [B, K]
  AxisCell* cells;              // places along z, then y, then x
  double *channel_low, *channel_high;  // [B, C], of the tokens
  double* values;                      // [B, tokens or voxels, C], scaled
  double *scores, *token_weights;      // [B, K, tokens]
  int32_t* moments;                    // [B, K, boxes, 8]
  int32_t* box_label;                  // [B, boxes]: that of all its voxels, or -1
  int32_t* seed_moments;  // [places, seeds, 2]: number and summed offsets of their voxels
  // Of each voxel the first voxel of its piece, and of this one: the size of the piece, its number,
  // and its earliest and its latest neighbour among the pieces before it.
  int32_t *piece, *piece_size, *number, *neighbour_low, *neighbour_high;
  int32_t *claim, *queue;  // of breadth-first searches
  int32_t* chunk_count;    // [B, chunks]
  int64_t* hard;           // where pieces begin that take a search
  int32_t* counters;       // of those pieces to be cut, to be searched; places taken of queues
  int64_t bytes;
};

}  // namespace vtcd::cuda
