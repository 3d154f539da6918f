// SPDX-License-Identifier: MIT
// What CPU and CUDA share is written once, in headers without Eigen: nvcc compiles a function so
// marked for both.
#pragma once

#ifdef __CUDACC__
#define VTCD_HOST_DEVICE __host__ __device__
#else
#define VTCD_HOST_DEVICE
#endif
