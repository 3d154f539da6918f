// SPDX-License-Identifier: MIT
// What CPU and GPU share is written once, in headers of this folder: no Eigen, no allocation, no
// library call that a GPU does not have.
#pragma once

#if defined(__CUDACC__) || defined(__HIPCC__)
#define VTCD_HOST_DEVICE __host__ __device__
#else
#define VTCD_HOST_DEVICE
#endif
