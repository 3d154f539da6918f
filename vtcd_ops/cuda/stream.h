// SPDX-License-Identifier: MIT
// Streams and errors of CUDA without its headers: the bindings are compiled without them, the
// kernels without those of torch.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace vtcd {

// Work of one stream runs in order.
struct Stream {
  void* handle;  // cudaStream_t
};

// What CUDA itself says, such as that there is no kernel for this GPU.
struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws CudaError unless `status`, a cudaError_t, is cudaSuccess.
void check_cuda(int status);

// Whether the work of a stream is being recorded into a CUDA graph: then nothing can be read back.
bool is_capturing(Stream stream);

// Copies `bytes` from the device to the host, after all work of the stream, and waits for them.
void copy_to_host(void* host, const void* device, size_t bytes, Stream stream);

// Copies `bytes` from the host to the device in the order of the stream. The host's memory may
// change after the call, unless that is recorded into a CUDA graph, which would read it again.
void copy_to_device(void* device, const void* host, size_t bytes, Stream stream);

// Sets `bytes` of the device to a value, in the order of the stream.
void fill_bytes(void* device, int value, size_t bytes, Stream stream);

// Bytes of shared memory that a block of the current device can have.
int64_t max_shared_bytes();

// How many multiprocessors the current device has.
int64_t num_multiprocessors();

}  // namespace vtcd
