// SPDX-License-Identifier: MIT
// core/cnmf/descent.cpp by a block. All of its threads take the same decisions, from the same bits.
#pragma once

#include "cuda/cnmf_encoding.cuh"

namespace vtcd::cuda {

template <typename Stored, int kThreads>
class BlockDescent {
 public:
  // labels [N], each below the number of concepts: the start.
  __device__ BlockDescent(const CnmfPoints<Stored>& points, const CnmfTables<Stored>& tables,
                          const int64_t* labels)
      : points_(points), t_(tables), labels_(labels), projection_(points, tables.projection) {}

  // From the labels until there is little to gain, or until so many sweeps are made, those of an
  // earlier descent included. penalty: of the first sweep. After a barrier.
  __device__ VTCD_NOINLINE void run(int64_t max_sweeps, double tol, double penalty) {
    start();
    max_sweeps_ = max_sweeps;
    tol_ = tol;
    penalty_ = penalty;
    for (bool goes_on = num_sweeps_ < max_sweeps_; goes_on;) goes_on = sweep();
    penalty_ = 0;
    update_encoding();
  }

  __device__ const CnmfTables<Stored>& tables() const { return t_; }
  __device__ int exponent() const { return points_.exponent; }
  __device__ int64_t num_sweeps() const { return num_sweeps_; }
  __device__ bool is_degenerate() const {
    return is_degenerate_factorisation(squared_error_, squared_parts_, points_.length);
  }
  __device__ double error() const { return sqrt(squared_error_); }
  // Of the descent before, or infinite.
  __device__ double earlier_error() const { return earlier_error_; }

  // Columns of G sum to 1, and the rows of U take the difference up. weights [N, max_k] in the
  // output, already zero.
  template <typename T>
  __device__ void finish(T* weights, int64_t max_k) {
    const double* offset = points_.offset;
    for (int k = 0; k < t_.num_concepts; ++k) {
      projection_.look_at(k);
      const int size = projection_.size();
      const double sum = projection_.coefficient_sum();
      double* center = t_.centers + int64_t{k} * t_.num_channels;
      if (size == 0 && thread_of_block() == 0) weights[k] = 1;  // any point will do
      for (int i = thread_of_block(); i < size; i += kThreads)
        weights[projection_.support(i) * max_k + k] =
            static_cast<T>(projection_.coefficient(i) / sum);
      for (int c = thread_of_block(); c < t_.num_channels; c += kThreads) {
        double value = center[c];
        if (size == 0) {
          value = points_.at(0, c);
        } else if (!points_.has_offset) {
          value /= sum;
        }
        center[c] = points_.has_offset ? value + offset[c] : value;
      }
      for (int n = thread_of_block(); n < t_.num_rows && size > 0 && !points_.has_offset;
           n += kThreads)
        t_.encoding[int64_t{k} * t_.num_rows + n] *= sum;
    }
    __syncthreads();
  }

 private:
  template <typename Body>
  __device__ void for_centers(const Body& body) {
    for (int i = thread_of_block(); i < t_.num_concepts * t_.num_channels; i += kThreads) body(i);
    __syncthreads();
  }

  __device__ VTCD_NOINLINE void start() {
    if (num_sweeps_ > 0) earlier_error_ = error();
    first_sweep_ = num_sweeps_;
    momentum_ = Momentum();
    last_objective_ = HUGE_VAL;
    projection_.clear(t_.num_concepts);
    const int num_rows = t_.num_rows, size = t_.num_concepts * num_rows;
    for (int i = thread_of_block(); i < size; i += kThreads)
      t_.encoding[i] = labels_[i % num_rows] == i / num_rows ? 1.0 : 0.0;
    __syncthreads();
    gram_of<kThreads>(t_.encoding, t_.num_concepts, num_rows, t_.encoding_gram);
    products_with_points<kThreads>(points_, t_, t_.encoding, t_.products);
    // The centre of an empty cluster stays at the offset and is replaced in the first sweep.
    for (int i = thread_of_block(); i < t_.num_concepts * t_.num_channels; i += kThreads) {
      const double members = t_.encoding_gram[i / t_.num_channels * (t_.num_concepts + 1)];
      t_.centers[i] = t_.settled[i] = t_.products[i] / fmax(members, 1.0);
    }
    __syncthreads();
  }

  // What a sweep hands to the next one is in the object, not in registers, which the solutions
  // within need. Returns whether another one is worth its while.
  __device__ bool sweep() {
    update_encoding();
    if (objective() > last_objective_) {  // the extrapolation went too far
      for_centers([&](int i) { t_.centers[i] = t_.settled[i]; });
      update_encoding();
      momentum_.shrink();
    } else {
      momentum_.grow();
    }
    last_objective_ = objective();
    const double possible_gain =
        update_centers(num_sweeps_ == first_sweep_ ? t_.num_rows : static_cast<int>(kCnmfLooks));
    ++num_sweeps_;
    const bool is_first = num_sweeps_ == first_sweep_ + 1;
    const bool penalised = penalty_ > 0;
    penalty_ = next_penalty(penalty_);
    const bool ends = !is_first && !penalised &&
                      possible_gain <= smallest_gain(tol_, squared_error_, points_.length);
    const double share = !is_first && num_sweeps_ < max_sweeps_ && !ends ? momentum_.value() : 0;
    for_centers([&](int i) {
      const double now = t_.centers[i];
      if (share > 0) t_.centers[i] = now + share * (now - t_.settled[i]);
      t_.settled[i] = now;
    });
    return !ends && num_sweeps_ < max_sweeps_;
  }

  __device__ double objective() const { return squared_error_ + penalty_ * squared_parts_; }
  __device__ double usage(int k) const { return t_.encoding_gram[k * (t_.num_concepts + 1)]; }

  // In parts, each called for itself: what waits through the solutions takes registers from them.
  __device__ __forceinline__ void update_encoding() {
    prepare_encoding();
    RowEncoder<kThreads, Stored>(points_, t_, penalty_).encode();
    finish_encoding();
  }

  __device__ VTCD_NOINLINE void prepare_encoding() const {
    const int num_concepts = t_.num_concepts, num_channels = t_.num_channels;
    gram_of<kThreads>(t_.centers, num_concepts, num_channels, t_.gram);
    if (points_.has_offset) {
      sums_of_warps<kThreads>(num_concepts, num_channels, t_.with_offset, [&](int k, int c) {
        return t_.centers[k * num_channels + c] * points_.offset[c];
      });
    }
    __syncthreads();
  }

  __device__ VTCD_NOINLINE void finish_encoding() {
    const int num_concepts = t_.num_concepts;
    __syncthreads();
    gram_of<kThreads>(t_.encoding, num_concepts, t_.num_rows, t_.encoding_gram);
    if (points_.has_offset) {
      sums_of_warps<kThreads>(num_concepts, t_.num_rows, t_.missing_encoding, [&](int k, int n) {
        return t_.missing[n] * t_.encoding[int64_t{k} * t_.num_rows + n];
      });
    }
    products_with_points<kThreads>(points_, t_, t_.encoding, t_.products);
    squared_error_ =
        sum_of_block<kThreads>(t_.num_rows, t_.scratch, [&](int n) { return t_.per_row[n]; });
    squared_parts_ = 0;
    for (int k = 0; k < num_concepts; ++k)
      squared_parts_ += t_.gram[k * (num_concepts + 1)] * usage(k);
  }

  // One centre after the other. Returns a bound on what this could gain, all centres together.
  __device__ double update_centers(int max_looks) {
    double possible_gain = replace_unused_centers();
    for (int k = 0; k < t_.num_concepts; ++k) {
      const double curvature = usage(k);
      if (curvature <= 0) continue;
      for (int c = thread_of_block(); c < points_.num_cone_channels(); c += kThreads)
        t_.projection.raised[c] = target(k, c, curvature);
      projection_.choose(k);
      __syncthreads();
      possible_gain += (1 + penalty_) * curvature * project(k, max_looks);
    }
    return possible_gain;
  }

  // The best centre k without constraints. What the encoding leaves of the data is not stored:
  // its products with the encoding are those of the data less those of the centres.
  __device__ double target(int k, int c, double curvature) const {
    if (c == t_.num_channels) return points_.height;
    double left = t_.products[int64_t{k} * t_.num_channels + c];
    for (int j = 0; j < t_.num_concepts; ++j)
      left -=
          t_.centers[int64_t{j} * t_.num_channels + c] * t_.encoding_gram[j * t_.num_concepts + k];
    if (points_.has_offset) left += points_.offset[c] * t_.missing_encoding[k];
    return (t_.centers[int64_t{k} * t_.num_channels + c] + left / curvature) / (1 + penalty_);
  }

  // Moves centre k to the projection of its target onto the cone of the data.
  __device__ VTCD_NOINLINE double project(int k, int max_looks) {
    const ProjectionArrays& a = t_.projection;
    double* center = t_.centers + int64_t{k} * t_.num_channels;
    const double before = sum_of_warp(t_.num_channels, [&](int c) {
      return (a.raised[c] - center[c]) * (a.raised[c] - center[c]);
    });
    projection_.solve();
    double possible_gain = 0;
    for (int look = 0; look < max_looks; ++look) {
      projection_.find_residual();
      const int count = find_candidates(projection_.threshold());
      if (look == 0) {
        const int cone = points_.num_cone_channels();
        const double after = sum_of_warp(cone, [&](int c) { return a.left[c] * a.left[c]; });
        const double squared = sum_of_warp(cone, [&](int c) { return a.raised[c] * a.raised[c]; });
        const double mass = fmax(sqrt(squared), projection_.length_sum());
        const double slope = count > 0 ? t_.per_row[t_.best[0]] : 0.0;
        possible_gain = projection_gain(before, after, slope, mass);
      }
      if (count == 0) break;
      projection_.add_candidates(t_.best, count);
    }
    if (points_.has_offset) projection_.normalise();
    projection_.combine();
    for (int c = thread_of_block(); c < t_.num_channels; c += kThreads) center[c] = a.sum[c];
    __syncthreads();
    projection_.leave();
    return possible_gain;
  }

  // The points best aligned with the residual, best first, ties to the lower index, into best;
  // their alignments into per_row. Returns how many.
  __device__ VTCD_NOINLINE int find_candidates(double threshold) {
    if (thread_of_block() == 0) *t_.count = 0;
    __syncthreads();
    const double* left = t_.projection.left;
    for (int n = thread_of_block(); n < t_.num_rows; n += kThreads) {
      double sums[4] = {};
      int c = 0;
      for (; c + 4 <= t_.num_channels; c += 4) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[i] = fma(points_.at(n, c + i), left[c + i], sums[i]);
      }
      double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      for (; c < points_.num_cone_channels(); ++c) sum = fma(points_.in_cone(n, c), left[c], sum);
      const double alignment = sum * t_.inverse[n];
      t_.per_row[n] = alignment;
      // in any order: what is chosen of the list does not depend on it
      if (alignment > threshold) t_.list[atomicAdd(t_.count, 1)] = n;
    }
    __syncthreads();
    const int found = *t_.count;
    for (int i = thread_of_block(); i < found; i += kThreads) {
      const int own = t_.list[i];
      const double alignment = t_.per_row[own];
      int rank = 0;
      for (int j = 0; j < found && rank < kCnmfCandidates; ++j) {
        const int other = t_.list[j];
        rank += t_.per_row[other] > alignment || (t_.per_row[other] == alignment && other < own);
      }
      if (rank < kCnmfCandidates) t_.best[rank] = own;
    }
    __syncthreads();
    return min(found, static_cast<int>(kCnmfCandidates));
  }

  // A concept that encodes nothing takes the row that is represented worst, the next such concept
  // the second worst. Returns the squared errors of these rows, which it gains.
  __device__ VTCD_NOINLINE double replace_unused_centers() {
    double gain = 0, last = HUGE_VAL;
    int last_row = -1;
    for (int k = 0; k < t_.num_concepts; ++k) {
      if (usage(k) > 0) continue;
      last_row = worst_row_after(last, last_row);
      last = t_.per_row[last_row];
      gain += last;
      projection_.choose(k);
      projection_.reset(last_row);
      for (int c = thread_of_block(); c < t_.num_channels; c += kThreads)
        t_.centers[int64_t{k} * t_.num_channels + c] = points_.at(last_row, c);
      __syncthreads();
    }
    return gain;
  }

  // The row that comes after another in the order of falling misfits, ties by index.
  __device__ int worst_row_after(double last, int last_row) {
    const auto comes_after = [&](int n) {
      return t_.per_row[n] < last || (t_.per_row[n] == last && n > last_row);
    };
    double largest = -1;
    for (int n = thread_of_block(); n < t_.num_rows; n += kThreads)
      if (comes_after(n)) largest = fmax(largest, t_.per_row[n]);
    largest = combined_threads<kThreads>(largest, t_.scratch, Larger());
    double row = -t_.num_rows;
    for (int n = thread_of_block(); n < t_.num_rows; n += kThreads)
      if (comes_after(n) && t_.per_row[n] == largest) row = fmax(row, -n);
    row = combined_threads<kThreads>(row, t_.scratch, Larger());
    const int found = -static_cast<int>(row);
    return found < t_.num_rows ? found : 0;  // only where misfits are not numbers
  }

  const CnmfPoints<Stored>& points_;
  const CnmfTables<Stored>& t_;
  const int64_t* labels_;
  BlockProjection<Stored, kThreads> projection_;
  Momentum momentum_;
  int64_t max_sweeps_ = 0, num_sweeps_ = 0, first_sweep_ = 0;
  double tol_ = 0, last_objective_ = HUGE_VAL, earlier_error_ = HUGE_VAL;
  double squared_error_ = 0, squared_parts_ = 0, penalty_ = 0;
};

}  // namespace vtcd::cuda
