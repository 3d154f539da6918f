// SPDX-License-Identifier: MIT
// Kernels of tubelet_pool: what the voxels of a label weigh on the tokens. Sums are taken in the
// order of core/formulas/tubelet_pool.h, so that all numbers are the bits of the CPU.
//
//   1. pool_cells    a thread for each cell of an axis
//   2. find_runs     a thread for each cell of a row of voxels: reads every label once, and marks
//                    where it changes
//   3. weigh_planes  a block for each plane of voxels, 64 tokens of it and 16 labels, a thread for
//                    each token: goes through the rows and cells that the token is between, whose
//                    runs it knows from 2., and adds to its own column of shared memory
//   4. weigh_tokens  a thread for each token of each label: plane after plane
//   5. tubelet_pool_means.cuh: products
//
// For 12 volumes of 16x112x112 voxels: 10 MB of labels, 2 MB of runs, 4 MB of planes, each written
// and read once (6 us of an H100's memory, most of it in its cache), 3 M additions in float64 in 3.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/formulas/tubelet_pool.h"
#include "cuda/launch.h"
#include "cuda/tubelet_pool.h"

namespace vtcd::cuda {

inline constexpr unsigned kPoolThreads = 256;
inline constexpr int kPlaneLabels = 16;
inline constexpr unsigned kPlaneThreads = 64;
// What is known of the voxels of a cell: the first one's label << kRunBits, and a bit for each that
// has another label than the one before.
inline constexpr int64_t kRunBits = 16;
static_assert(kMaxCellLength <= kRunBits);

// The cells of an axis, and which of them a token lies in or between.
struct PlacedCells {
  const AxisCell* cells;
  int64_t count, parts;  // places, and how many of them an interval of voxels has

  VTCD_HOST_DEVICE int64_t begin(int64_t token) const {
    return token > 0 ? (token - 1) * parts : 0;
  }
  VTCD_HOST_DEVICE int64_t end(int64_t token) const {
    return (token + 1) * parts < count ? (token + 1) * parts : count;
  }
};

struct PoolAxes {
  PlacedCells z, y, x;
};

inline PlacedCells placed(const AxisCell* cells, const AxisCells& axis, int64_t num_tokens,
                          int64_t num_voxels, Interpolation interpolation) {
  const bool linear = interpolation == Interpolation::kTrilinear;
  const bool is_point = linear && (num_tokens == 1 || num_voxels == 1);
  const int64_t intervals = is_point ? 1 : linear ? num_tokens - 1 : num_tokens;
  return {cells, axis.count(), axis.count() / intervals};
}

inline PoolAxes axes_of(const PoolPlan& plan, const PoolWork& work) {
  const AxisCells z = plan.along_z(), y = plan.along_y(), x = plan.along_x();
  const AxisCell* of_y = work.cells + z.count();
  return {placed(work.cells, z, plan.grid.t, plan.size.t, plan.interpolation),
          placed(of_y, y, plan.grid.h, plan.size.h, plan.interpolation),
          placed(of_y + y.count(), x, plan.grid.w, plan.size.w, plan.interpolation)};
}

__global__ inline void pool_cells(AxisCells z, AxisCells y, AxisCells x, AxisCell* cells) {
  const int64_t place = int64_t{blockIdx.x} * kPoolThreads + threadIdx.x;
  const int64_t in_y = place - z.count(), in_x = in_y - y.count();
  if (in_y < 0) {
    cells[place] = z.cell(place);
  } else if (in_x < 0) {
    cells[place] = y.cell(in_y);
  } else if (in_x < x.count()) {
    cells[place] = x.cell(in_x);
  }
}

// The label of a voxel; one that is outside is told.
template <typename Label>
__device__ inline int64_t told_label(Label label, int64_t num_tubelets, int64_t* outside) {
  const auto value = static_cast<int64_t>(label);
  auto* words = reinterpret_cast<unsigned long long*>(outside);
  if (value < -1) atomicMax(&words[0], static_cast<unsigned long long>(-1 - value));
  if (value >= num_tubelets) {
    atomicMax(&words[1], static_cast<unsigned long long>(value));
    atomicMax(&words[2], 1ull);
  }
  return value < -1 || value >= num_tubelets ? -1 : value;
}

// runs [rows, places]: of the first voxels of a cell.
template <typename Label>
__global__ void __launch_bounds__(kPoolThreads)
    find_runs_kernel(PlacedCells along_x, const Label* labels, int64_t num_rows, int64_t width,
                     int64_t num_tubelets, int64_t* runs, int64_t* outside) {
  const int64_t step = int64_t{gridDim.x} * kPoolThreads;
  for (int64_t i = int64_t{blockIdx.x} * kPoolThreads + threadIdx.x; i < num_rows * along_x.count;
       i += step) {
    const int64_t row = i / along_x.count;
    const AxisCell& cell = along_x.cells[i - row * along_x.count];
    const Label* label = labels + row * width + cell.first;
    const auto count = static_cast<int>(cell.count);
    int64_t changes = 0, first = -1, before = -1;
    for (int d = 0; d < count; ++d) {
      const int64_t value = told_label(label[d], num_tubelets, outside);
      if (d == 0) first = value;
      if (d > 0 && value != before) changes |= int64_t{1} << d;
      before = value;
    }
    runs[i] = first * (int64_t{1} << kRunBits) + changes;
  }
}

// What the voxels of one plane weigh on one of its tokens.
template <typename Label>
struct TokenColumn {
  int64_t y, x;                // the token
  int64_t first_label, width;  // labels first_label to first_label + num_labels - 1; W
  int num_labels;
  double (&sums)[kPlaneLabels][kPlaneThreads];
  unsigned long long* counts;  // [labels]
  // Of the label of the run before, which the next one mostly has too.
  int index = -1;
  double sum = 0;
  unsigned long long count = 0;

  __device__ void leave_label() {
    if (index < 0) return;
    sums[index][threadIdx.x] = sum;
    if (count > 0) atomicAdd(&counts[index], count);
  }

  __device__ void enter_label(int64_t label) {
    const int64_t next = label - first_label;
    if (next == index) return;
    leave_label();
    index = next >= 0 && next < num_labels ? static_cast<int>(next) : -1;
    sum = index < 0 ? 0.0 : sums[index][threadIdx.x];
    count = 0;
  }

  // Adds voxels of one label from `offset` of their cell. Each cell counts for one token.
  __device__ void add_run(const AxisCell& in_y, double weight, const AxisCell& in_x, int offset,
                          int length, int64_t label) {
    enter_label(label);
    if (index < 0) return;
    const TokenPair run = weigh_run(in_x, offset, length);
    if (in_y.lower == y) {
      if (in_x.lower == x) sum += (1 - weight) * run.on_lower;
      if (in_x.upper == x) sum += (1 - weight) * run.on_upper;
    }
    if (in_y.upper == y) {
      if (in_x.lower == x) sum += weight * run.on_lower;
      if (in_x.upper == x) sum += weight * run.on_upper;
    }
    if (in_y.lower == y && in_x.lower == x) count += static_cast<unsigned long long>(length);
  }

  // Adds the runs of one cell of a row, labels [in_x.count]; what is known of them is in `known`,
  // so that one label is read for each run but the first.
  __device__ void add_cell(const AxisCell& in_y, double weight, const AxisCell& in_x, int64_t known,
                           const Label* labels) {
    auto changes = static_cast<unsigned>(known & ((int64_t{1} << kRunBits) - 1));
    int64_t label = known >> kRunBits;
    for (int offset = 0;;) {
      const int end =
          changes != 0 ? __ffs(static_cast<int>(changes)) - 1 : static_cast<int>(in_x.count);
      add_run(in_y, weight, in_x, offset, end - offset, label);
      if (changes == 0) return;
      changes &= changes - 1;
      offset = end;
      label = static_cast<int64_t>(labels[offset]);
    }
  }

  // labels [H, W], runs [H, places].
  __device__ void add_plane(const PlacedCells& along_y, const PlacedCells& along_x,
                            const Label* labels, const int64_t* runs) {
    for (int64_t place_y = along_y.begin(y); place_y < along_y.end(y); ++place_y) {
      const AxisCell in_y = along_y.cells[place_y];
      if (in_y.lower != y && in_y.upper != y) continue;
      for (int64_t dy = 0; dy < in_y.count; ++dy) {
        const int64_t row = in_y.first + dy;
        for (int64_t place_x = along_x.begin(x); place_x < along_x.end(x); ++place_x) {
          const AxisCell& in_x = along_x.cells[place_x];
          if (in_x.count > 0 && (in_x.lower == x || in_x.upper == x))
            add_cell(in_y, in_y.weight_at(dy), in_x, runs[row * along_x.count + place_x],
                     labels + row * width + in_x.first);
        }
      }
    }
    leave_label();
  }
};

// Block (i, j): tokens [i % tiles * kPlaneThreads, ...) of plane i / tiles of all volumes, labels
// [first_label + j * kPlaneLabels, ...).
template <typename Label>
__global__ void __launch_bounds__(kPlaneThreads, 8)
    weigh_planes_kernel(PoolAxes axes, Shape3 grid, Shape3 size, int64_t first_label,
                        int64_t num_labels, const Label* labels, const int64_t* runs,
                        double* planes, int64_t* plane_counts) {
  VTCD_SHARED(double, sums, [kPlaneLabels][kPlaneThreads]);  // a column for each thread
  const int64_t tiles = (grid.h * grid.w + kPlaneThreads - 1) / kPlaneThreads;
  const int64_t first = int64_t{blockIdx.y} * kPlaneLabels, plane = blockIdx.x / tiles;
  const int here =
      num_labels - first < kPlaneLabels ? static_cast<int>(num_labels - first) : kPlaneLabels;
  const int64_t token = (blockIdx.x - plane * tiles) * kPlaneThreads + threadIdx.x;
  if (token >= grid.h * grid.w) return;
  for (int index = 0; index < here; ++index) sums[index][threadIdx.x] = 0;
  auto* counts = reinterpret_cast<unsigned long long*>(plane_counts);
  const int64_t y = token / grid.w;
  TokenColumn<Label> column{y,
                            token - y * grid.w,
                            first_label + first,
                            size.w,
                            here,
                            sums,
                            counts + plane * num_labels + first};
  column.add_plane(axes.y, axes.x, labels + plane * size.h * size.w,
                   runs + plane * size.h * axes.x.count);
  double* to = planes + (plane * num_labels + first) * grid.h * grid.w + token;
  for (int index = 0; index < here; ++index) to[index * grid.h * grid.w] = sums[index][threadIdx.x];
}

// weights [volumes, labels, tokens], from planes [volumes, T, labels, h, w]: a thread for each.
// Block (i, j): tokens [i * kPoolThreads, ...) of label j % num_labels of volume j / num_labels.
__global__ inline void __launch_bounds__(kPoolThreads)
    weigh_tokens_kernel(PlacedCells along_z, Shape3 grid, int64_t num_planes, int64_t num_labels,
                        const double* planes, double* weights) {
  const auto area = static_cast<int64_t>(grid.h * grid.w), num_tokens = grid.t * area;
  const int64_t volume = blockIdx.x / num_labels, label = blockIdx.x - volume * num_labels;
  for (auto token = int64_t{blockIdx.y} * kPoolThreads + threadIdx.x; token < num_tokens;
       token += int64_t{gridDim.y} * kPoolThreads) {
    const int64_t z = token / area;
    const double* of_label =
        planes + (volume * num_planes * num_labels + label) * area + token - z * area;
    double sum = 0;
    for (int64_t place = along_z.begin(z); place < along_z.end(z); ++place) {
      const AxisCell cell = along_z.cells[place];
      if (cell.lower != z && cell.upper != z) continue;
      for (int64_t d = 0; d < cell.count; ++d) {
        const TokenPair pair =
            weigh_plane(of_label[(cell.first + d) * num_labels * area], cell.weight_at(d));
        if (cell.lower == z) sum += pair.on_lower;
        if (cell.upper == z) sum += pair.on_upper;
      }
    }
    weights[blockIdx.x * num_tokens + token] = sum;
  }
}

template <typename Label>
void find_runs(const PoolPlan& plan, const PoolPart& part, const PoolWork& work,
               const Label* labels, int64_t* outside, Stream stream) {
  const int64_t places = num_places(plan);
  simt::launch(&pool_cells, simt::grid((places + kPoolThreads - 1) / kPoolThreads),
               dim3(kPoolThreads), 0, stream, plan.along_z(), plan.along_y(), plan.along_x(),
               work.cells);
  const PlacedCells along_x = axes_of(plan, work).x;
  const int64_t rows = part.num_volumes * plan.size.t * plan.size.h;
  const int64_t blocks = (rows * along_x.count + kPoolThreads - 1) / kPoolThreads;
  simt::launch(&find_runs_kernel<Label>, simt::grid(std::min<int64_t>(blocks, 1 << 20)),
               dim3(kPoolThreads), 0, stream, along_x,
               labels + part.first_volume * plan.size.count(), rows, plan.size.w, plan.num_tubelets,
               work.runs, outside);
}

template <typename Label>
void weigh_planes(const PoolPlan& plan, const PoolPart& part, const PoolWork& work,
                  const Label* labels, Stream stream) {
  const int64_t planes = part.num_volumes * plan.size.t;
  const int64_t tiles = (part.num_labels + kPlaneLabels - 1) / kPlaneLabels;
  const int64_t tokens = (plan.grid.h * plan.grid.w + kPlaneThreads - 1) / kPlaneThreads;
  fill_bytes(work.plane_counts, 0, planes * part.num_labels * sizeof(int64_t), stream);
  simt::launch(&weigh_planes_kernel<Label>, simt::grid(planes * tokens, tiles), dim3(kPlaneThreads),
               0, stream, axes_of(plan, work), plan.grid, plan.size, part.first_label,
               part.num_labels, labels + part.first_volume * plan.size.count(), work.runs,
               work.planes, work.plane_counts);
  simt::launch(
      &weigh_tokens_kernel,
      simt::grid(part.num_volumes * part.num_labels,
                 std::min<int64_t>(65535, (plan.grid.count() + kPoolThreads - 1) / kPoolThreads)),
      dim3(kPoolThreads), 0, stream, axes_of(plan, work).z, plan.grid, plan.size.t, part.num_labels,
      work.planes, work.weights);
}

}  // namespace vtcd::cuda
