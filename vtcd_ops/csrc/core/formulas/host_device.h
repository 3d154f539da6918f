// SPDX-License-Identifier: MIT
// What CPU and GPU share is written once, in headers of this folder: no Eigen, no allocation, no
// library call that a GPU does not have.
#pragma once

// VTCD_NOINLINE: a GPU gets one copy, which its callers need no registers for.
#if defined(__CUDACC__) || defined(__HIPCC__)
#define VTCD_HOST_DEVICE __host__ __device__
#define VTCD_NOINLINE __noinline__
#else
#define VTCD_HOST_DEVICE
#define VTCD_NOINLINE
#endif
