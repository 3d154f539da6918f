// SPDX-License-Identifier: MIT
// Runs CUDA kernels on the host, one block after the other, every CUDA thread a fiber: slow (about
// 1 us a thread) and deterministic. Barriers and warp collectives are meeting points, so that
// threads which diverge before one show up as an error; under -fsanitize=thread they alone order
// the threads of a block, so that a missing one is a data race. Not seen: races between blocks.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "cuda/stream.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // works, but VTCD_SHARED shows what is read unwritten or beyond the end
#define VTCD_SHARED(Type, name, dimensions) \
  static char name##_tag_;                  \
  auto& name = simt::shared_array<Type dimensions>(&name##_tag_)
#define VTCD_DYNAMIC_SHARED(Type, name) \
  Type* name = reinterpret_cast<Type*>(simt::block.dynamic_memory)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned x, y, z;
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

#include "simt_block.h"
#include "simt_waiting.h"

namespace simt {

inline constexpr size_t kMostSharedBytes = 227 << 10;  // of sm_90, that a launch may ask for

// 0: threads run in order. Else in an order drawn from it, to show what depends on the order.
inline unsigned order_seed = 0;

inline std::vector<unsigned> thread_order(unsigned num_threads) {
  std::vector<unsigned> order(num_threads);
  for (unsigned i = 0; i < num_threads; ++i) order[i] = i;
  unsigned random = order_seed;
  for (unsigned i = num_threads; order_seed != 0 && i > 1; --i) {
    random = random * 1664525u + 1013904223u;
    std::swap(order[i - 1], order[(random >> 8) % i]);
  }
  return order;
}

inline void run_grid(const std::vector<unsigned>& order) {
  for (unsigned z = 0; z < gridDim.z; ++z) {
    for (unsigned y = 0; y < gridDim.y; ++y) {
      for (unsigned x = 0; x < gridDim.x; ++x) {
        blockIdx = {x, y, z};
        run_block(order);
      }
    }
  }
}

// Stacks, and what the thread sanitizer takes for the threads of a block, kept for the blocks of
// all launches, which run one after the other: making them costs more than all else.
class Fibers {
 public:
  ~Fibers() { clear(); }

  // Gives every thread of a block its own.
  void lend(std::vector<Thread>& threads) {
    while (stacks_.size() < threads.size()) {
      stacks_.emplace_back(new char[kStackBytes]);  // not filled: most of it is never used
#if defined(__SANITIZE_THREAD__)
      of_tsan_.push_back(__tsan_create_fiber(0));
#endif
    }
    for (size_t i = 0; i < threads.size(); ++i) {
      threads[i].stack = stacks_[i].get();
#if defined(__SANITIZE_THREAD__)
      threads[i].tsan_fiber = of_tsan_[i];
#endif
    }
  }

  // After a kernel that failed: its threads have not come to the end of their calls.
  void clear() {
#if defined(__SANITIZE_THREAD__)
    for (void* fiber : of_tsan_) __tsan_destroy_fiber(fiber);
    of_tsan_.clear();
#endif
    stacks_.clear();
  }

 private:
  std::vector<std::unique_ptr<char[]>> stacks_;
#if defined(__SANITIZE_THREAD__)
  std::vector<void*> of_tsan_;
#endif
};
inline Fibers fibers;

// As of cuda/launch.h; throws std::runtime_error where the kernel is wrong.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, size_t shared_bytes,
            vtcd::Stream, Arguments... arguments) {
  const std::function<void()> call = [&] { kernel(static_cast<Parameters>(arguments)...); };
  const unsigned num_threads = threads.x * threads.y * threads.z;
  const bool is_grid = blocks.x > 0 && blocks.y > 0 && blocks.z > 0 && blocks.x <= 0x7FFFFFFFu &&
                       blocks.y <= 65535 && blocks.z <= 65535;
  if (!is_grid || num_threads == 0 || num_threads > 1024 || shared_bytes > kMostSharedBytes)
    fail("bad launch configuration");
  blockDim = threads;
  gridDim = blocks;
  std::vector<Thread> of_block(num_threads);
  std::vector<Warp> warps((num_threads + 31) / 32);
  fibers.lend(of_block);
  block.kernel = &call;
  block.num_threads = num_threads;
  block.threads = of_block.data();
  block.warps = warps.data();
  block.dynamic_bytes = shared_bytes;
#if defined(__SANITIZE_THREAD__)
  block.tsan_scheduler = __tsan_get_current_fiber();
#endif
  try {
    run_grid(thread_order(num_threads));
  } catch (...) {
    fibers.clear();
    throw;
  }
}

}  // namespace simt

#include "simt_intrinsics.h"
