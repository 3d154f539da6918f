// SPDX-License-Identifier: MIT
// What the kernels were compiled for, to be read from the library, as `vtcd doctor` does:
// VTCD_CUDA_ARCHITECTURES is what CMake was told, such as "80-real,90-real,100".
extern "C" __attribute__((visibility("default"))) const char vtcd_cuda_architectures[128] =
    VTCD_CUDA_ARCHITECTURES;
