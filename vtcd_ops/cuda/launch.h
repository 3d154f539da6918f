// SPDX-License-Identifier: MIT
// One spelling of a kernel for two compilers: nvcc, which compiles it for the GPU, and the host's
// compiler, for which tests/cuda/simt.h runs it on the CPU, thread by thread, so that it can be
// tested and checked by the sanitizers where there is no GPU.
//
//   VTCD_SHARED(double, sums, [4][32]);      an array of the block
//   VTCD_DYNAMIC_SHARED(float, tile);        the array whose size the launch gives, in bytes
//   VTCD_UNROLL(4) for (...)                 so many rounds of a loop at once
//   simt::launch(&kernel<float>, blocks, threads, shared_bytes, stream, arguments...);
#pragma once

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#include "cuda/stream.h"

#define VTCD_SHARED(Type, name, dimensions) __shared__ Type name dimensions
#define VTCD_DYNAMIC_SHARED(Type, name)                              \
  extern __shared__ __align__(16) unsigned char vtcd_shared_bytes[]; \
  Type* name = reinterpret_cast<Type*>(vtcd_shared_bytes)

// The compiler must take a value as a new one here: it keeps nothing in registers that it has
// computed from the old one, or read through it.
#define VTCD_FORGET_POINTER(pointer) asm volatile("" : "+l"(pointer))
#define VTCD_FORGET_INT(number) asm volatile("" : "+r"(number))

#define VTCD_PRAGMA(text) _Pragma(#text)
#define VTCD_UNROLL(count) VTCD_PRAGMA(unroll count)

namespace simt {

// Throws vtcd::CudaError where the kernel cannot be started, as for a GPU that no kernel was
// compiled for.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, size_t shared_bytes,
            vtcd::Stream stream, Arguments... arguments) {
  constexpr size_t kWithoutAsking = 48 << 10;
  if (shared_bytes > kWithoutAsking)
    vtcd::check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                          cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(shared_bytes)));
  kernel<<<blocks, threads, shared_bytes, static_cast<cudaStream_t>(stream.handle)>>>(
      static_cast<Parameters>(arguments)...);
  vtcd::check_cuda(cudaGetLastError());
}

}  // namespace simt

#else

#include "simt.h"

#define VTCD_UNROLL(count) static_assert((count) > 0);
#define VTCD_FORGET_POINTER(pointer) static_cast<void>(pointer)
#define VTCD_FORGET_INT(number) static_cast<void>(number)

#endif

#include <cstdint>
#include <string>

namespace simt {

// The blocks of a launch, of numbers that 32 bits need not hold. Throws vtcd::CudaError where they
// are more than a GPU takes.
inline dim3 grid(int64_t x, int64_t y = 1, int64_t z = 1) {
  constexpr int64_t kMostX = 0x7FFFFFFF, kMostOthers = 65535;
  if (x > kMostX || y > kMostOthers || z > kMostOthers)
    throw vtcd::CudaError("CUDA: " + std::to_string(x) + " x " + std::to_string(y) + " x " +
                          std::to_string(z) + " blocks are more than one launch takes");
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z));
}

}  // namespace simt
