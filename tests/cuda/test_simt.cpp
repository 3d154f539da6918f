// SPDX-License-Identifier: MIT
// The emulation itself: it runs right kernels rightly and refuses wrong ones.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "cuda/launch.h"

namespace vtcd {
namespace {

constexpr Stream kStream{nullptr};

__global__ void sum_of_blocks(const double* values, int64_t count, double* sums) {
  VTCD_SHARED(double, of_warp, [8]);
  double sum = 0;
  for (int64_t i = blockIdx.x * 256 + threadIdx.x; i < count; i += int64_t{256} * gridDim.x)
    sum += values[i];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(~0u, sum, offset);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) sums[blockIdx.x] = std::accumulate(&of_warp[0], &of_warp[0] + 8, 0.0);
}

__global__ void reverse(int* values, int count) {
  VTCD_DYNAMIC_SHARED(int, copy);
  copy[threadIdx.x] = values[threadIdx.x];
  __syncthreads();
  values[threadIdx.x] = copy[count - 1 - static_cast<int>(threadIdx.x)];
}

__global__ void divergent_barrier(int count) {
  if (static_cast<int>(threadIdx.x) >= count) return;
  __syncthreads();
}

__global__ void shuffle_with_lanes_gone(float* values) {
  if (threadIdx.x % 2 == 1) return;
  values[threadIdx.x] = __shfl_down_sync(~0u, 1.0f, 1);
}

__global__ void unwritten_shared(float* values) {
  VTCD_SHARED(float, shared, [64]);
  if (threadIdx.x < 32) shared[threadIdx.x] = 1;
  __syncthreads();
  values[threadIdx.x] = shared[threadIdx.x];
}

TEST(Simt, AddsWithShufflesAndSharedMemory) {
  std::vector<double> values(10007);
  std::iota(values.begin(), values.end(), 0.0);
  for (const unsigned order : {0u, 1u, 7u}) {
    simt::order_seed = order;
    std::vector<double> sums(3);
    simt::launch(&sum_of_blocks, 3, 256, 0, kStream, values.data(), int64_t{10007}, sums.data());
    EXPECT_EQ(sums[0] + sums[1] + sums[2], 10007.0 * 10006 / 2);
  }
  simt::order_seed = 0;
}

TEST(Simt, HasSharedMemoryOfTheLaunch) {
  std::vector<int> values(100);
  std::iota(values.begin(), values.end(), 0);
  simt::launch(&reverse, 1, 100, 100 * sizeof(int), kStream, values.data(), 100);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(values[i], 99 - i);
}

TEST(Simt, RefusesABarrierThatSomeThreadsMiss) {
  EXPECT_THROW(simt::launch(&divergent_barrier, 1, 64, 0, kStream, 40), std::runtime_error);
}

TEST(Simt, RefusesAGridThatNoGpuTakes) {
  std::vector<int> values(100);
  for (const dim3& blocks :
       {dim3(0), dim3(1, 0), dim3(0x80000000u), dim3(1, 65536), dim3(1, 1, 65536)}) {
    EXPECT_THROW(
        simt::launch(&reverse, blocks, 100, 100 * sizeof(int), kStream, values.data(), 100),
        std::runtime_error);
  }
}

TEST(Simt, CountsBlocksBeyond32Bits) {
  EXPECT_EQ(simt::grid(0x7FFFFFFF, 65535).x, 0x7FFFFFFFu);
  EXPECT_THROW(simt::grid((int64_t{1} << 32) + 1), CudaError);
  EXPECT_THROW(simt::grid(1, 65536), CudaError);
  EXPECT_THROW(simt::grid(1, 1, 65536), CudaError);
}

TEST(Simt, RefusesAShuffleWithLanesThatHaveLeft) {
  std::vector<float> values(64);
  EXPECT_THROW(simt::launch(&shuffle_with_lanes_gone, 1, 64, 0, kStream, values.data()),
               std::runtime_error);
}

TEST(Simt, FillsSharedMemoryWithNaN) {
  std::vector<float> values(64);
  simt::launch(&unwritten_shared, 1, 64, 0, kStream, values.data());
  EXPECT_EQ(values[31], 1.0f);
  EXPECT_TRUE(std::isnan(values[32]));
}

}  // namespace
}  // namespace vtcd
