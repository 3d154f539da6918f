// SPDX-License-Identifier: MIT
#include "cuda/stream.h"

#include <cuda_runtime.h>

#include <string>

namespace vtcd {

void check_cuda(int status) {
  const auto error = static_cast<cudaError_t>(status);
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that is not sticky must not meet the next call
  throw CudaError(std::string("CUDA: ") + cudaGetErrorString(error));
}

bool is_capturing(Stream stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream.handle), &status));
  return status != cudaStreamCaptureStatusNone;
}

void copy_to_host(void* host, const void* device, size_t bytes, Stream stream) {
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  check_cuda(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, handle));
  check_cuda(cudaStreamSynchronize(handle));
}

void copy_to_device(void* device, const void* host, size_t bytes, Stream stream) {
  // memory that is not page-locked is copied aside before the call returns
  check_cuda(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice,
                             static_cast<cudaStream_t>(stream.handle)));
}

void fill_bytes(void* device, int value, size_t bytes, Stream stream) {
  check_cuda(cudaMemsetAsync(device, value, bytes, static_cast<cudaStream_t>(stream.handle)));
}

int64_t max_shared_bytes() {
  int device = 0, bytes = 0;
  check_cuda(cudaGetDevice(&device));
  check_cuda(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}

int64_t num_multiprocessors() {
  int device = 0, count = 0;
  check_cuda(cudaGetDevice(&device));
  check_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

}  // namespace vtcd
