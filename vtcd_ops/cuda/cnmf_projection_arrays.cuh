// SPDX-License-Identifier: MIT
// The arrays that cnmf_projection.cuh works in.
#pragma once

#include "cuda/cnmf_block.cuh"

namespace vtcd::cuda {

struct ProjectionArrays {
  int capacity;  // points in a support at most
  // in shared memory where it suffices
  double *raised, *left, *sum, *outside;  // [cone channels] target, residual, combination
  double *in_basis, *solution, *inside, *rotations;  // [capacity], the last [2][capacity][2]
  double* alignments;                                // [kCnmfCandidates]
  double* coefficients;                              // [K, capacity] positive
  int *support, *slots, *sizes;                      // [K, capacity] twice, [K]
  int* removed;  // [2][2] the position that left a support, or -1, and what size this has since
  // where shared memory suffices for it too: the basis and the factor of the chosen centre
  double *near_basis, *near_factor;
  // in the workspace
  double* basis;   // [K, capacity, cone channels]
  double* factor;  // [K, capacity, capacity] column by column, the upper triangle; a column lies in
                   // its slot, so that none moves when one leaves

  template <typename Tables, typename Workspace>
  VTCD_HOST_DEVICE void take(int64_t num_rows, int64_t num_channels, int64_t num_concepts,
                             bool with_near, Tables* tables, Workspace* workspace) {
    const int64_t cone = num_channels + 1, most = num_rows < cone ? num_rows : cone;
    capacity = static_cast<int>(most);
    raised = tables->template take<double>(cone);
    left = tables->template take<double>(cone);
    sum = tables->template take<double>(cone);
    outside = tables->template take<double>(cone);
    in_basis = tables->template take<double>(most);
    solution = tables->template take<double>(most);
    inside = tables->template take<double>(most);
    rotations = tables->template take<double>(4 * most);
    alignments = tables->template take<double>(kCnmfCandidates);
    coefficients = tables->template take<double>(num_concepts * most);
    support = tables->template take<int>(num_concepts * most);
    slots = tables->template take<int>(num_concepts * most);
    sizes = tables->template take<int>(num_concepts);
    removed = tables->template take<int>(4);
    near_basis = near_factor = nullptr;
    if (with_near) {
      near_basis = tables->template take<double>(most * cone);
      near_factor = tables->template take<double>(most * most);
    }
    basis = workspace->template take<double>(num_concepts * most * cone);
    factor = workspace->template take<double>(num_concepts * most * most);
  }

  // No point in any support. By all threads of a block; after it they have waited for each other.
  template <int kThreads>
  __device__ void clear(int num_concepts) const {
    for (int i = thread_of_block(); i < num_concepts * capacity; i += kThreads)
      slots[i] = i % capacity;
    for (int k = thread_of_block(); k < num_concepts; k += kThreads) sizes[k] = 0;
    __syncthreads();
  }
};

}  // namespace vtcd::cuda
