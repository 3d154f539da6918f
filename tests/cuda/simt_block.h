// SPDX-License-Identifier: MIT
// A block of CUDA threads on the host: every thread is a fiber with a stack of its own, and a
// scheduler on the stack of whoever launched the kernel goes from one to the next. A thread runs
// until it waits (simt_waiting.h) or returns. Included by simt.h.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "simt_stack.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define SIMT_RELEASE(place) __tsan_release(place)
#define SIMT_ACQUIRE(place) __tsan_acquire(place)
#else
#define SIMT_RELEASE(place) ((void)0)
#define SIMT_ACQUIRE(place) ((void)0)
#endif

// The threads of a block share this bookkeeping without a lock, as one runs at a time: the thread
// sanitizer must not look at it. It would look into containers, so there are plain arrays here.
#define SIMT_BOOKKEEPING __attribute__((no_sanitize("thread"), noinline))

namespace simt {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr size_t kStackBytes = 256 << 10;
#else
inline constexpr size_t kStackBytes = 64 << 10;
#endif

enum class State : uint8_t { kReady, kAtBarrier, kInCollective, kReturned };

struct Thread {
  Context context;
  char* stack;
  uint3 index;      // threadIdx
  unsigned number;  // in the block
  State state;
  unsigned mask;  // of the warp collective that it waits in
  void* tsan_fiber;
};

// Lanes of a warp that meet in one call. A lane may be one call ahead of another: two buffers.
struct Collective {
  unsigned mask, arrived, round;
  int kind;  // which function they are in
  alignas(8) char values[2][32][8];
};

struct Warp {
  Collective collectives[4];
  int num_collectives;
};

struct SharedArray {
  const void* tag;  // one of every VTCD_SHARED
  char* memory;
};

struct Block {
  Thread* threads;
  Warp* warps;
  unsigned num_threads, num_returned, num_at_barrier, round;
  int votes[2];  // at the barriers of even and of odd rounds
  SharedArray shared[32];
  int num_shared;
  char* dynamic_memory;
  size_t dynamic_bytes;
  Context scheduler;
  Thread* current;
  const std::function<void()>* kernel;
  std::exception_ptr error;
  void* tsan_scheduler;
  void* asan_fake_stack;
  const void* asan_stack;
  size_t asan_stack_bytes;
};
inline Block block{};

[[noreturn]] inline void fail(const std::string& what) {
  throw std::runtime_error("simt: " + what + " [block " + std::to_string(blockIdx.x) + "," +
                           std::to_string(blockIdx.y) + " thread " + std::to_string(threadIdx.x) +
                           "," + std::to_string(threadIdx.y) + "]");
}

// From the scheduler to a thread, until that leaves.
SIMT_BOOKKEEPING inline void enter(Thread* thread) {
  block.current = thread;
  threadIdx = thread->index;
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(thread->tsan_fiber, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&block.asan_fake_stack, thread->stack, kStackBytes);
#endif
  switch_stack(&block.scheduler, &thread->context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(block.asan_fake_stack, nullptr, nullptr);
#endif
}

// From the current thread to the scheduler; `for_good` where it has returned.
SIMT_BOOKKEEPING inline void leave([[maybe_unused]] bool for_good) {
  Thread* thread = block.current;
  [[maybe_unused]] void* fake_stack = nullptr;
  SIMT_RELEASE(&block.dynamic_memory);  // the scheduler alone acquires it, at the end of the block
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(block.tsan_scheduler, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, block.asan_stack,
                                 block.asan_stack_bytes);
#endif
  switch_stack(&thread->context, &block.scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

// The kernel itself: what the sanitizers look at.
inline void run_kernel() {
  SIMT_ACQUIRE(&block.kernel);
  try {
    (*block.kernel)();
  } catch (...) {
    if (!block.error) block.error = std::current_exception();
  }
}

// What a thread begins with, on its own stack.
SIMT_BOOKKEEPING inline void begin_thread() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &block.asan_stack, &block.asan_stack_bytes);
#endif
  run_kernel();
  block.current->state = State::kReturned;
  ++block.num_returned;
  leave(true);
}

// The array of a VTCD_SHARED, made when the first thread comes to it: on the heap, so that the
// address sanitizer sees what is beyond it, and full of 0xFF, which is NaN and -1.
SIMT_BOOKKEEPING inline char* shared_memory(const void* tag, size_t bytes) {
  for (int i = 0; i < block.num_shared; ++i)
    if (block.shared[i].tag == tag) return block.shared[i].memory;
  if (block.num_shared == 32) fail("more than 32 shared arrays");
  char* memory = static_cast<char*>(std::malloc(bytes));
  std::memset(memory, 0xFF, bytes);
  block.shared[block.num_shared++] = {tag, memory};
  SIMT_RELEASE(&block.num_shared);
  return memory;
}

template <typename T>
T& shared_array(const void* tag) {
  char* memory = shared_memory(tag, sizeof(T));
  SIMT_ACQUIRE(&block.num_shared);
  return *reinterpret_cast<T*>(memory);
}

SIMT_BOOKKEEPING inline void prepare_thread(unsigned number) {
  Thread& thread = block.threads[number];
  thread.number = number;
  thread.index = {number % blockDim.x, number / blockDim.x % blockDim.y,
                  number / (blockDim.x * blockDim.y)};
  thread.state = State::kReady;
  begin_stack(thread.context, thread.stack, kStackBytes, begin_thread);
}

SIMT_BOOKKEEPING inline void prepare_block() {
  block.num_returned = block.num_at_barrier = block.round = 0;
  block.votes[0] = block.votes[1] = 0;
  block.num_shared = 0;
  block.error = nullptr;
  for (unsigned i = 0; i < (block.num_threads + 31) / 32; ++i) {
    block.warps[i].num_collectives = 0;
    for (Collective& collective : block.warps[i].collectives)
      collective.round = collective.arrived = 0;
  }
  block.dynamic_memory =
      block.dynamic_bytes ? static_cast<char*>(std::malloc(block.dynamic_bytes)) : nullptr;
  if (block.dynamic_memory) std::memset(block.dynamic_memory, 0xFF, block.dynamic_bytes);
  SIMT_RELEASE(&block.kernel);
  for (unsigned i = 0; i < block.num_threads; ++i) prepare_thread(i);
}

SIMT_BOOKKEEPING inline std::string deadlock() {
  unsigned at_barrier = 0, in_collective = 0;
  for (unsigned i = 0; i < block.num_threads; ++i) {
    at_barrier += block.threads[i].state == State::kAtBarrier;
    in_collective += block.threads[i].state == State::kInCollective;
  }
  return "deadlock: " + std::to_string(at_barrier) + " threads wait at __syncthreads, " +
         std::to_string(in_collective) + " in a warp collective, " +
         std::to_string(block.num_returned) + " of " + std::to_string(block.num_threads) +
         " have returned";
}

// Runs a block to its end, its threads by turns in a given order.
SIMT_BOOKKEEPING inline void run_block(const std::vector<unsigned>& order) {
  prepare_block();
  bool stuck = false;
  while (block.num_returned < block.num_threads && !block.error && !stuck) {
    stuck = true;
    for (const unsigned i : order) {
      if (block.threads[i].state != State::kReady || block.error) continue;
      enter(&block.threads[i]);
      stuck = false;
    }
  }
  SIMT_ACQUIRE(&block.dynamic_memory);
  for (int i = 0; i < block.num_shared; ++i) std::free(block.shared[i].memory);
  std::free(block.dynamic_memory);
  if (block.error) std::rethrow_exception(block.error);
  if (stuck) fail(deadlock());
}

}  // namespace simt
