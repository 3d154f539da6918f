// SPDX-License-Identifier: MIT
// core/cnmf/cone_projection.h by a block: one such object serves all centres of a problem, each
// with a support and a factorisation of its own. Sums over channels and over the support go to all
// threads; the triangular system is the first warp's, while the others turn the basis along.
#pragma once

#include "cuda/cnmf_projection_arrays.cuh"

namespace vtcd::cuda {

template <typename Stored, int kThreads>
class BlockProjection {
 public:
  __device__ BlockProjection(const CnmfPoints<Stored>& points, const ProjectionArrays& arrays)
      : points_(points), a_(arrays), num_channels_(points.num_cone_channels()) {}

  // No point in any support. By all threads of a block; after it they have waited for each other.
  __device__ void clear(int num_concepts) { a_.template clear<kThreads>(num_concepts); }

  // The centre whose support and coefficients are asked for.
  __device__ void look_at(int k) {
    k_ = k;
    const int64_t first = int64_t{k} * a_.capacity;
    support_ = a_.support + first;
    slots_ = a_.slots + first;
    coefficients_ = a_.coefficients + first;
  }

  // The centre that the other calls are about. Before and after it a barrier.
  __device__ void choose(int k) {
    look_at(k);
    const int64_t first = int64_t{k} * a_.capacity;
    far_basis_ = a_.basis + first * (points_.num_channels + 1);
    far_factor_ = a_.factor + first * a_.capacity;
    basis_ = a_.near_basis != nullptr ? a_.near_basis : far_basis_;
    factor_ = a_.near_basis != nullptr ? a_.near_factor : far_factor_;
    if (a_.near_basis == nullptr) return;
    copy_factorisation(far_basis_, far_factor_, basis_, factor_);
    __syncthreads();
  }

  // When the chosen centre is done with: its factorisation back. After a barrier.
  __device__ void leave() {
    if (a_.near_basis == nullptr) return;
    copy_factorisation(basis_, factor_, far_basis_, far_factor_);
    __syncthreads();
  }

  // The chosen centre anew from one point of coefficient 1.
  __device__ void reset(int point) {
    if (thread_of_block() == 0) a_.sizes[k_] = 0;
    __syncthreads();
    const bool added = append(point);
    if (added && thread_of_block() == 0) coefficients_[0] = 1.0;
    __syncthreads();
    leave();
  }

  // The best coefficients for the target in raised.
  __device__ void solve() {
    const int size = a_.sizes[k_];
    sums_of_teams<kThreads>(size, num_channels_, a_.in_basis,
                            [&](int j, int c) { return basis_at(j, c) * a_.raised[c]; });
    __syncthreads();
    solve_on_support();
  }

  // The residual of the target, into left, and the combination, into sum.
  __device__ VTCD_NOINLINE void find_residual() {
    combine();
    for (int c = thread_of_block(); c < num_channels_; c += kThreads)
      a_.left[c] = a_.raised[c] - a_.sum[c];  // of the same thread
    __syncthreads();
    if (!points_.has_offset) return;
    const int last = num_channels_ - 1;
    const double product = sum_of_warp(last, [&](int c) { return a_.sum[c] * a_.left[c]; });
    if (thread_of_block() == 0 && a_.sum[last] > 0) a_.left[last] = -product / a_.sum[last];
    __syncthreads();
  }

  // points * coefficients, into sum; each thread may read at once the channels that are its own.
  __device__ void combine() {
    const int size = a_.sizes[k_];
    for (int c = thread_of_block(); c < num_channels_; c += kThreads) {
      double sum = 0;
      for (int i = 0; i < size; ++i) sum += coefficients_[i] * points_.in_cone(support_[i], c);
      a_.sum[c] = sum;
    }
  }

  __device__ double threshold() const {
    const int last = num_channels_ - 1, heads = points_.has_offset ? last : num_channels_;
    const double squared = sum_of_warp(heads, [&](int c) { return square(a_.raised[c]); });
    return kAlignmentTolerance * (points_.has_offset ? squared / a_.raised[last] : sqrt(squared));
  }

  // Lets candidates into the support, of which the first is the one most aligned with the residual.
  __device__ void add_candidates(const int* candidates, int count) {
    unsigned waiting = (1u << count) - 1u;
    const double smallest = threshold();
    for (int chosen = 0; chosen >= 0;) {
      waiting &= ~(1u << chosen);
      if (append(candidates[chosen])) solve_on_support();
      if (waiting == 0) return;
      find_residual();
      sums_of_warps<kThreads>(count, num_channels_, a_.alignments, [&](int i, int c) {
        return points_.in_cone(candidates[i], c) * a_.left[c];
      });
      __syncthreads();
      double best = smallest;
      chosen = -1;
      for (int i = 0; i < count; ++i) {
        const double alignment = a_.alignments[i] * points_.inverse[candidates[i]];
        if ((waiting >> i & 1u) == 0 || !(alignment > best)) continue;
        best = alignment;
        chosen = i;
      }
    }
  }

  // Makes the coefficients sum to 1, unless all are 0.
  __device__ void normalise() {
    const double sum = coefficient_sum();
    __syncthreads();
    for (int i = thread_of_block(); i < a_.sizes[k_] && sum > 0; i += kThreads)
      coefficients_[i] /= sum;
    __syncthreads();
  }

  __device__ double coefficient_sum() const {
    double sum = 0;
    for (int i = 0; i < a_.sizes[k_]; ++i) sum += coefficients_[i];
    return sum;
  }

  __device__ double length_sum() const {
    return sum_of_warp(a_.sizes[k_],
                       [&](int i) { return coefficients_[i] / points_.inverse[support_[i]]; });
  }

  __device__ int size() const { return a_.sizes[k_]; }
  __device__ int support(int i) const { return support_[i]; }
  __device__ double coefficient(int i) const { return coefficients_[i]; }

 private:
  __device__ void copy_factorisation(const double* from_basis, const double* from_factor,
                                     double* to_basis, double* to_factor) const {
    const int size = a_.sizes[k_], row = points_.num_channels + 1, capacity = a_.capacity;
    for (int i = thread_of_block(); i < size * row; i += kThreads) to_basis[i] = from_basis[i];
    for (int i = thread_of_block(); i < size * size; i += kThreads) {
      const int column = i / size, entry = slots_[column] * capacity + i % size;
      to_factor[entry] = from_factor[entry];
    }
  }

  __device__ static double square(double value) { return value * value; }
  __device__ double& basis_at(int j, int c) const {
    return basis_[int64_t{j} * (points_.num_channels + 1) + c];
  }
  __device__ double& factor_at(int row, int column) const {
    return factor_[int64_t{slots_[column]} * a_.capacity + row];
  }

  // Takes what lies in the span of the basis from outside; adds its coordinates to the next column.
  __device__ void orthogonalise(int size, bool again) {
    sums_of_teams<kThreads>(size, num_channels_, a_.inside,
                            [&](int j, int c) { return basis_at(j, c) * a_.outside[c]; });
    __syncthreads();
    for (int c = thread_of_block(); c < num_channels_; c += kThreads) {
      double rest = a_.outside[c];
      for (int j = 0; j < size; ++j) rest -= basis_at(j, c) * a_.inside[j];
      a_.outside[c] = rest;
    }
    for (int j = thread_of_block(); j < size; j += kThreads) {
      double& entry = factor_at(j, size);
      entry = again ? entry + a_.inside[j] : a_.inside[j];
    }
    __syncthreads();
  }

  // Extends the factorisation by one column, orthogonalised twice: once leaves what rounding lost.
  // All threads return the same.
  __device__ VTCD_NOINLINE bool append(int point) {
    const int size = a_.sizes[k_];
    if (size == a_.capacity || points_.inverse[point] == 0) return false;
    for (int c = thread_of_block(); c < num_channels_; c += kThreads)
      a_.outside[c] = points_.in_cone(point, c);
    __syncthreads();
    orthogonalise(size, false);
    orthogonalise(size, true);
    const double length =
        sqrt(sum_of_warp(num_channels_, [&](int c) { return square(a_.outside[c]); }));
    if (length * points_.inverse[point] <= kDependent) return false;
    const double product =
        sum_of_warp(num_channels_, [&](int c) { return a_.outside[c] * a_.raised[c]; });
    for (int c = thread_of_block(); c < num_channels_; c += kThreads)
      basis_at(size, c) = a_.outside[c] / length;
    if (thread_of_block() == 0) {
      factor_at(size, size) = length;
      a_.in_basis[size] = product / length;
      support_[size] = point;
      coefficients_[size] = 0.0;
      a_.sizes[k_] = size + 1;
    }
    __syncthreads();
    return true;
  }

  // With the target's coordinates in the basis: the best coefficients on the support; points whose
  // coefficient would be negative leave it.
  __device__ VTCD_NOINLINE void solve_on_support() {
    for (int parity = 0;; parity ^= 1) {
      if (warp_of_block() == 0) walk_to_solution(parity);
      __syncthreads();
      const int position = a_.removed[2 * parity];
      if (position < 0) return;
      if (warp_of_block() > 0) turn_basis(position, a_.removed[2 * parity + 1], parity);
    }
  }

  // The first warp's: towards the solution until the first coefficient reaches zero, which leaves.
  __device__ void walk_to_solution(int parity) {
    const int size = a_.sizes[k_];
    solve_triangle(size);
    double step = 1.0;
    int blocking = -1;
    for (int i = lane_of_warp(); i < size; i += kWarp) {
      if (a_.solution[i] > 0) continue;
      const double ratio = step_to_zero(coefficients_[i], a_.solution[i]);
      if (ratio < step || blocking < 0) {
        step = ratio;
        blocking = i;
      }
    }
    first_blocking(&step, &blocking);
    for (int i = lane_of_warp(); i < size; i += kWarp) {
      const double before = coefficients_[i];
      coefficients_[i] = blocking < 0 ? a_.solution[i] : before + step * (a_.solution[i] - before);
    }
    __syncwarp();
    if (blocking >= 0) remove(blocking, size - 1, parity);
    if (lane_of_warp() == 0) {
      a_.removed[2 * parity] = blocking;
      a_.removed[2 * parity + 1] = size - 1;
    }
  }

  // The smallest step of all lanes, ties to the lower position.
  __device__ static void first_blocking(double* step, int* blocking) {
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      const double other = __shfl_xor_sync(~0u, *step, distance);
      const int position = __shfl_xor_sync(~0u, *blocking, distance);
      const bool is_before =
          *blocking < 0 || other < *step || (other == *step && position < *blocking);
      if (position >= 0 && is_before) {
        *step = other;
        *blocking = position;
      }
    }
    *step = __shfl_sync(~0u, *step, 0);
    *blocking = __shfl_sync(~0u, *blocking, 0);
  }

  // Back substitution, 32 columns at a time: a lane holds a row of the solution.
  __device__ void solve_triangle(int size) {
    for (int i = lane_of_warp(); i < size; i += kWarp) a_.solution[i] = a_.in_basis[i];
    __syncwarp();
    for (int first = (size - 1) / kWarp * kWarp; first >= 0 && size > 0; first -= kWarp) {
      const int count = min(kWarp, size - first), lane = lane_of_warp();
      const bool in_block = lane < count;
      double value = in_block ? a_.solution[first + lane] : 0.0;
      const double inverse = in_block ? 1.0 / factor_at(first + lane, first + lane) : 0.0;
#pragma unroll 4
      for (int column = count - 1; column > 0; --column) {
        const double entry = lane < column ? factor_at(first + lane, first + column) : 0.0;
        const double found = __shfl_sync(~0u, value * inverse, column);
        value -= entry * found;
      }
      value *= inverse;
      if (in_block) a_.solution[first + lane] = value;
      __syncwarp();
      for (int row = lane; row < first; row += kWarp) {
        double rest = a_.solution[row];
        for (int column = 0; column < count; ++column)
          rest -= factor_at(row, first + column) * a_.solution[first + column];
        a_.solution[row] = rest;
      }
      __syncwarp();
    }
  }

  // The first warp's: deletes one column of the factor and brings it back to triangular form by
  // plane rotations, which turn the target's coordinates along. size: without it.
  __device__ void remove(int position, int size, int parity) {
    const int freed = slots_[position];
    __syncwarp();
    for (int first = position; first < size; first += kWarp) {
      const int i = first + lane_of_warp();
      const bool moves = i < size;
      const int point = moves ? support_[i + 1] : 0, slot = moves ? slots_[i + 1] : 0;
      const double coefficient = moves ? coefficients_[i + 1] : 0.0;
      __syncwarp();
      if (moves) {
        support_[i] = point;
        slots_[i] = slot;
        coefficients_[i] = coefficient;
      }
      __syncwarp();
    }
    if (lane_of_warp() == 0) {
      slots_[size] = freed;
      a_.sizes[k_] = size;
    }
    __syncwarp();
    double* turns = a_.rotations + 2 * a_.capacity * parity;
    for (int first = position; first < size; first += kWarp)
      turn_columns(position, first, size, turns);
    turn_coordinates(position, size, turns);
  }

  // The rotations of the rows from `position` on, in the 32 columns from `first` on: a lane turns a
  // column, and the lane of the diagonal finds the next rotation.
  __device__ void turn_columns(int position, int first, int size, double* turns) {
    const int count = min(kWarp, size - first), lane = lane_of_warp();
    const bool in_block = lane < count;
    double* column = in_block ? &factor_at(0, first + lane) : factor_;
    double upper = in_block ? column[position] : 0.0;
    for (int row = position; row < first; ++row) {  // found with earlier columns
      const double lower = in_block ? column[row + 1] : 0.0;
      if (in_block) column[row] = turns[2 * row] * upper + turns[2 * row + 1] * lower;
      upper = turns[2 * row] * lower - turns[2 * row + 1] * upper;
    }
    double lower = in_block ? column[first + 1] : 0.0;
    for (int row = first; row < first + count; ++row) {
      const int own = row - first;  // the lane of the diagonal
      const bool turns_along = in_block && lane >= own;
      // one row ahead: the next rotation need not wait for it
      const double next = turns_along && lane > own ? column[row + 2] : 0.0;
      const Turn turn = turn_of(__shfl_sync(~0u, upper, own), __shfl_sync(~0u, lower, own));
      if (turns_along) column[row] = turn.cosine * upper + turn.sine * lower;
      upper = turn.cosine * lower - turn.sine * upper;
      lower = next;
      if (lane == own) {
        turns[2 * row] = turn.cosine;
        turns[2 * row + 1] = turn.sine;
      }
    }
    __syncwarp();
  }

  struct Turn {
    double cosine, sine;
  };

  // The rotation that takes (upper, lower) to (their length, 0).
  __device__ static Turn turn_of(double upper, double lower) {
    const double squared = upper * upper + lower * lower;
    if (squared >= 1e-280) {
      const double inverse = inverse_root(squared);
      return {upper * inverse, lower * inverse};
    }
    const double radius = hypot(upper, lower);  // its square would vanish
    return {upper / radius, lower / radius};
  }

  __device__ void turn_coordinates(int position, int size, const double* turns) {
    if (lane_of_warp() == 0) {
      double upper = a_.in_basis[position];
      for (int row = position; row < size; ++row) {
        const double lower = a_.in_basis[row + 1];
        a_.in_basis[row] = turns[2 * row] * upper + turns[2 * row + 1] * lower;
        upper = turns[2 * row] * lower - turns[2 * row + 1] * upper;
      }
    }
    __syncwarp();
  }

  // The other warps: a thread turns a channel of the basis.
  __device__ void turn_basis(int position, int size, int parity) {
    const double* turns = a_.rotations + 2 * a_.capacity * parity;
    for (int c = thread_of_block() - kWarp; c < num_channels_; c += kThreads - kWarp) {
      double upper = basis_at(position, c);
      for (int row = position; row < size; ++row) {
        const double lower = basis_at(row + 1, c);
        basis_at(row, c) = turns[2 * row] * upper + turns[2 * row + 1] * lower;
        upper = turns[2 * row] * lower - turns[2 * row + 1] * upper;
      }
    }
  }

  const CnmfPoints<Stored>& points_;
  const ProjectionArrays& a_;
  const int num_channels_;  // of the cone
  int k_ = 0;
  int *support_ = nullptr, *slots_ = nullptr;
  double *coefficients_ = nullptr, *basis_ = nullptr, *factor_ = nullptr;
  double *far_basis_ = nullptr, *far_factor_ = nullptr;
};

}  // namespace vtcd::cuda
