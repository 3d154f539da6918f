// SPDX-License-Identifier: MIT
// What cuda/stream.h declares, where kernels run on the host.
#include <cstring>

#include "cuda/stream.h"

namespace vtcd {

void check_cuda(int status) {
  if (status != 0) throw CudaError("host");
}

bool is_capturing(Stream) { return false; }

void copy_to_host(void* host, const void* device, size_t bytes, Stream) {
  std::memcpy(host, device, bytes);
}

void copy_to_device(void* device, const void* host, size_t bytes, Stream) {
  std::memcpy(device, host, bytes);
}

void fill_bytes(void* device, int value, size_t bytes, Stream) {
  std::memset(device, value, bytes);
}

int64_t max_shared_bytes() { return 227 << 10; }

int64_t num_multiprocessors() { return 2; }

}  // namespace vtcd
