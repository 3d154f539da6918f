// SPDX-License-Identifier: MIT
// Runs CUDA kernels on the host: one block at a time, every CUDA thread a fiber. Barriers and warp
// collectives are rendezvous points, so divergence shows up as an error; under -fsanitize=thread
// only they order the threads of a block, so a missing one is a data race. Slow (about 1 us a
// thread) and deterministic. Not seen: races between blocks, which run in turn.
#pragma once

#include <ucontext.h>
#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>
#include "cuda/stream.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define SIMT_RELEASE(p) __tsan_release(p)
#define SIMT_ACQUIRE(p) __tsan_acquire(p)
#else
#define SIMT_RELEASE(p) ((void)0)
#define SIMT_ACQUIRE(p) ((void)0)
#endif
#define SIMT_EMU                        \
  __attribute__((no_sanitize("thread"), \
                 noinline))  // the emulator's own bookkeeping is not under test
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ \
  static  // plain static: works, but without the poison and the redzones VTCD_SHARED gives
// Shared arrays live on the heap for one block's life: ASAN sees overflows, contents start as 0xFF
// (NaN / -1).
#define VTCD_SHARED(T, name, dims) \
  static char name##_tag_;         \
  auto& name = simt::shared_site<T dims>(&name##_tag_)
#define VTCD_DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(simt::dynamic_shared())
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct uint3 {
  unsigned x, y, z;
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace simt {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr size_t kStack = 256 << 10;
#else
inline constexpr size_t kStack = 64 << 10;
#endif
enum class State : uint8_t { Ready, WaitBlock, WaitWarp, Done };
struct Fiber {
  ucontext_t ctx;
  char* stack;
  uint3 tid;
  unsigned linear;
  State state;
  unsigned mask;
  void* tsan;
};
struct Collective {
  unsigned mask, arrived, gen;
  int kind;
  alignas(8) char buf[2][32][8];
};
struct Warp {
  Collective c[4];
  int n;
};
struct Site {
  const void* tag;
  char* mem;
};
struct Block {  // raw arrays on purpose: see SIMT_EMU
  Fiber* f;
  Warp* w;
  unsigned n, done, arrived, barrier_kind;
  int votes[2];
  unsigned gen;
  Site site[32];
  int sites;
  char* dyn;
  size_t dyn_bytes;
  ucontext_t main;
  Fiber* cur;
  const std::function<void()>* body;
  std::exception_ptr err;
  std::string msg;
  void* tsan_main;
  void* asan_fake;
  const void* asan_bottom;
  size_t asan_size;
};
inline Block B{};
[[noreturn]] inline void fail(const std::string& what) {
  throw std::runtime_error("simt: " + what + " [block " + std::to_string(blockIdx.x) + "," +
                           std::to_string(blockIdx.y) + " thread " + std::to_string(threadIdx.x) +
                           "," + std::to_string(threadIdx.y) + "]");
}
SIMT_EMU inline void enter(Fiber* f) {  // scheduler -> fiber
  B.cur = f;
  threadIdx = f->tid;
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(f->tsan, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&B.asan_fake, f->stack, kStack);
#endif
  swapcontext(&B.main, &f->ctx);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(B.asan_fake, nullptr, nullptr);
#endif
}
SIMT_EMU inline void leave(bool last) {  // fiber -> scheduler
  Fiber* f = B.cur;
  void* fake = nullptr;
  (void)fake;
  SIMT_RELEASE(&B.dyn);  // only the scheduler acquires it, at the end of the block
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(B.tsan_main, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? nullptr : &fake, B.asan_bottom, B.asan_size);
#endif
  if (last)
    setcontext(&B.main);
  else
    swapcontext(&f->ctx, &B.main);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}
inline void fiber_body() {
  SIMT_ACQUIRE(&B.body);
  try {
    (*B.body)();
  } catch (...) {
    if (!B.err) B.err = std::current_exception();
  }
}
SIMT_EMU inline void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &B.asan_bottom, &B.asan_size);
#endif
  fiber_body();
  B.cur->state = State::Done;
  ++B.done;
  leave(true);
}
SIMT_EMU inline void release_block() {
  for (unsigned i = 0; i < B.n; ++i)
    if (B.f[i].state == State::WaitBlock) B.f[i].state = State::Ready;
  B.arrived = 0;
  ++B.gen;
  B.votes[B.gen & 1] = 0;
}
SIMT_EMU inline int block_barrier(int vote) {
  unsigned g = B.gen;
  SIMT_RELEASE(&B.votes[g & 1]);  // by parity: a thread that is one barrier ahead must not look
                                  // like an ordered one
  B.votes[g & 1] += vote;
  if (++B.arrived == B.n)
    release_block();
  else {
    B.cur->state = State::WaitBlock;
    leave(false);
  }
  SIMT_ACQUIRE(&B.votes[g & 1]);
  return B.votes[g & 1];
}
// Every lane named in mask hands in v and gets a look at all the values. Two buffers: a lane is at
// most one call ahead.
template <class T>
struct Lanes {
  const char (*buf)[8];
  SIMT_EMU T operator[](unsigned l) const {
    T v;
    std::memcpy(&v, buf[l], sizeof v);
    return v;
  }
};
template <class T>
SIMT_EMU Lanes<T> gather(unsigned mask, T v, int kind) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  unsigned lane = B.cur->linear % 32;
  Warp& w = B.w[B.cur->linear / 32];
  Collective* c = nullptr;
  if (!(mask >> lane & 1)) fail("warp collective by a lane that its mask leaves out");
  for (int i = 0; i < w.n; ++i)
    if (w.c[i].mask == mask) c = &w.c[i];
  if (!c) {
    for (int i = 0; i < w.n && !c; ++i)
      if (!w.c[i].arrived) c = &w.c[i];
    if (w.n < 4) c = &w.c[w.n++];
    if (!c) fail("too many different warp masks at once");
    c->mask = mask;
    c->arrived = 0;
  }
  if (c->arrived && c->kind != kind) fail("lanes of one warp are in different warp collectives");
  c->kind = kind;
  unsigned g = c->gen;
  std::memcpy(c->buf[g & 1][lane], &v, sizeof v);
  c->arrived |= 1u << lane;
  SIMT_RELEASE(c->buf[g & 1]);
  if (c->arrived == mask) {
    c->arrived = 0;
    ++c->gen;
    for (unsigned i = B.cur->linear / 32 * 32; i < B.n && i < B.cur->linear / 32 * 32 + 32; ++i)
      if (B.f[i].state == State::WaitWarp && B.f[i].mask == mask) B.f[i].state = State::Ready;
  } else {
    B.cur->state = State::WaitWarp;
    B.cur->mask = mask;
    leave(false);
  }
  SIMT_ACQUIRE(c->buf[g & 1]);
  return Lanes<T>{c->buf[g & 1]};
}
SIMT_EMU inline char* site_memory(const void* tag, size_t bytes) {
  for (int i = 0; i < B.sites; ++i)
    if (B.site[i].tag == tag) return B.site[i].mem;
  if (B.sites == 32) fail("more than 32 shared arrays");
  char* p = static_cast<char*>(std::malloc(bytes));
  std::memset(p, 0xFF, bytes);
  B.site[B.sites].tag = tag;
  B.site[B.sites++].mem = p;
  SIMT_RELEASE(&B.sites);
  return p;
}
template <class T>
T& shared_site(const void* tag) {
  char* p = site_memory(tag, sizeof(T));
  SIMT_ACQUIRE(&B.sites);
  return *reinterpret_cast<T*>(p);
}
inline char* dynamic_shared() { return B.dyn; }
inline unsigned order_seed = 0;  // 0: threads run in order; else in an order drawn from the seed,
                                 // to shake out order dependence

SIMT_EMU inline void run_block(const std::vector<unsigned>& order) {
  B.done = B.arrived = B.gen = 0;
  B.votes[0] = B.votes[1] = 0;
  B.sites = 0;
  B.err = nullptr;
  for (unsigned i = 0; i < (B.n + 31) / 32; ++i) {
    B.w[i].n = 0;
    for (auto& c : B.w[i].c) c.gen = c.arrived = 0;
  }
  B.dyn = B.dyn_bytes ? static_cast<char*>(std::malloc(B.dyn_bytes)) : nullptr;
  if (B.dyn) std::memset(B.dyn, 0xFF, B.dyn_bytes);
  SIMT_RELEASE(&B.body);
  for (unsigned i = 0; i < B.n; ++i) {
    Fiber& f = B.f[i];
    f.linear = i;
    f.tid = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    f.state = State::Ready;
    getcontext(&f.ctx);
    f.ctx.uc_stack.ss_sp = f.stack;
    f.ctx.uc_stack.ss_size = kStack;
    f.ctx.uc_link = nullptr;
    makecontext(&f.ctx, fiber_main, 0);
#if defined(__SANITIZE_THREAD__)
    f.tsan = __tsan_create_fiber(0);  // new ones for every block: blocks are not ordered either
#endif
  }
  std::string stuck;
  while (B.done < B.n && !B.err && stuck.empty()) {
    bool moved = false;
    for (unsigned i : order)
      if (B.f[i].state == State::Ready && !B.err) {
        enter(&B.f[i]);
        moved = true;
      }
    if (!moved) {
      unsigned wb = 0, ww = 0;
      for (unsigned i = 0; i < B.n; ++i) {
        wb += B.f[i].state == State::WaitBlock;
        ww += B.f[i].state == State::WaitWarp;
      }
      stuck = "deadlock: " + std::to_string(wb) + " threads wait at __syncthreads, " +
              std::to_string(ww) + " in a warp collective, " + std::to_string(B.done) + " of " +
              std::to_string(B.n) + " have returned";
    }
  }
  SIMT_ACQUIRE(&B.dyn);
#if defined(__SANITIZE_THREAD__)
  for (unsigned i = 0; i < B.n; ++i) __tsan_destroy_fiber(B.f[i].tsan);
#endif
  for (int i = 0; i < B.sites; ++i) std::free(B.site[i].mem);
  std::free(B.dyn);
  if (B.err) std::rethrow_exception(B.err);
  if (!stuck.empty()) fail(stuck);
}
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t smem, vtcd::Stream, A... a) {
  std::function<void()> body = [&] { kernel(static_cast<P>(a)...); };
  B.n = block.x * block.y * block.z;
  if (B.n == 0 || B.n > 1024 || smem > (228u << 10)) fail("bad launch configuration");
  blockDim = block;
  gridDim = grid;
  B.body = &body;
  B.dyn_bytes = smem;
  std::vector<Fiber> fibers(B.n);
  std::vector<Warp> warps((B.n + 31) / 32);
  for (auto& f : fibers) f.stack = static_cast<char*>(std::malloc(kStack));
#if defined(__SANITIZE_THREAD__)
  B.tsan_main = __tsan_get_current_fiber();
#endif
  B.f = fibers.data();
  B.w = warps.data();
  std::vector<unsigned> order(B.n);
  for (unsigned i = 0; i < B.n; ++i) order[i] = i;
  for (unsigned i = B.n, s = order_seed; order_seed && i > 1; --i) {
    s = s * 1664525u + 1013904223u;
    std::swap(order[i - 1], order[(s >> 8) % i]);
  }
  std::exception_ptr err;
  for (unsigned z = 0; z < grid.z && !err; ++z)
    for (unsigned y = 0; y < grid.y && !err; ++y)
      for (unsigned x = 0; x < grid.x && !err; ++x) {
        blockIdx = {x, y, z};
        try {
          run_block(order);
        } catch (...) {
          err = std::current_exception();
        }
      }
  for (auto& f : fibers) std::free(f.stack);
  if (err) std::rethrow_exception(err);
}
}  // namespace simt

#include "simt_intrinsics.h"
