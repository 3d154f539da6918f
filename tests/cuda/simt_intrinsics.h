// SPDX-License-Identifier: MIT
// The functions that CUDA gives a kernel, as simt.h runs it on the host. Included at its end.
#pragma once

inline void __syncthreads() { simt::block_barrier(0); }
inline int __syncthreads_count(int p) { return simt::block_barrier(p != 0); }
inline int __syncthreads_or(int p) { return simt::block_barrier(p != 0) != 0; }
inline int __syncthreads_and(int p) { return simt::block_barrier(p == 0) == 0; }
inline void __syncwarp(unsigned m = ~0u) { simt::gather(m, 0, 0); }
template <class T>
T __shfl_sync(unsigned m, T v, int src, int w = 32) {
  int l = simt::lane();
  return simt::gather(m, v, 1)[(l & ~(w - 1)) + (src & (w - 1))];
}
template <class T>
T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32) {
  int l = simt::lane(), s = l + int(d);
  auto g = simt::gather(m, v, 2);
  return (s / w == l / w) ? g[s] : v;
}
template <class T>
T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32) {
  int l = simt::lane(), s = l - int(d);
  auto g = simt::gather(m, v, 3);
  return (s >= 0 && s / w == l / w) ? g[s] : v;
}
template <class T>
T __shfl_xor_sync(unsigned m, T v, int x, int w = 32) {
  int l = simt::lane(), s = l ^ x;
  auto g = simt::gather(m, v, 4);
  return (s / w <= l / w) ? g[s] : v;
}
inline unsigned __ballot_sync(unsigned m, int p) {
  auto g = simt::gather(m, p, 5);
  unsigned r = 0;
  for (unsigned i = 0; i < 32; ++i)
    if (m >> i & 1) r |= unsigned(g[i] != 0) << i;
  return r;
}
inline int __any_sync(unsigned m, int p) { return __ballot_sync(m, p) != 0; }
inline int __all_sync(unsigned m, int p) { return __ballot_sync(m, p) == m; }
inline unsigned __reduce_add_sync(unsigned m, unsigned v) {
  auto g = simt::gather(m, v, 6);
  unsigned sum = 0;
  for (unsigned i = 0; i < 32; ++i)
    if (m >> i & 1) sum += g[i];
  return sum;
}
template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  return std::atomic_ref<T>(*p).fetch_add(v, std::memory_order_relaxed);
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> v) {
  return std::atomic_ref<T>(*p).exchange(v, std::memory_order_relaxed);
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> c, std::type_identity_t<T> v) {
  std::atomic_ref<T>(*p).compare_exchange_strong(c, v, std::memory_order_relaxed);
  return c;
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> v) {
  T o = std::atomic_ref<T>(*p).load(std::memory_order_relaxed);
  while (v < o && !std::atomic_ref<T>(*p).compare_exchange_weak(o, v, std::memory_order_relaxed)) {
  }
  return o;
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  T o = std::atomic_ref<T>(*p).load(std::memory_order_relaxed);
  while (o < v && !std::atomic_ref<T>(*p).compare_exchange_weak(o, v, std::memory_order_relaxed)) {
  }
  return o;
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> v) {
  return std::atomic_ref<T>(*p).fetch_or(v, std::memory_order_relaxed);
}
inline void __threadfence() {}
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return x ? std::countr_zero(unsigned(x)) + 1 : 0; }
inline int __clz(int x) { return std::countl_zero(unsigned(x)); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
using std::max;
using std::min;
