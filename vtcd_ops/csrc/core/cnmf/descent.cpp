// SPDX-License-Identifier: MIT
// A sweep solves for the encoding exactly (a small non-negative least squares problem per tubelet)
// and then moves one centre after the other to the best point of the cone of the data. Given the
// encoding, the error depends on centre w_k only through u_kk |w_k - t_k|^2, t_k the unconstrained
// optimum: a projection of t_k onto the cone. Scaling a column of G and the row of U in opposite
// directions changes nothing, so the cone stands for the simplex.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "core/cnmf/cnmf.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Points offered to a support per look at all data.
constexpr int64_t kCandidates = 8;
// Looks at all data per centre and sweep, after the first sweep.
constexpr int64_t kLooks = 2;
// Alignment of point and residual, relative to the target's length, that counts as zero.
constexpr double kAlignmentTolerance = 1e-10;
// Share of the last change of the weights that extrapolation adds: the first, the largest, and how
// it grows while the error falls and shrinks when it rises (in the manner of Ang and Gillis 2019).
constexpr double kFirstMomentum = 0.5, kLargestMomentum = 2.0, kMomentumGain = 1.2,
                 kMomentumLoss = 0.5;
// The objective is known to about this share of |X|^2.
constexpr double kRounding = 1e-14;

struct Candidate {
  double alignment;
  int64_t point;
};

// Largest alignment first, ties to the lower index, so the order is the same for any split into
// chunks.
bool more_aligned(const Candidate& a, const Candidate& b) {
  return a.alignment != b.alignment ? a.alignment > b.alignment : a.point < b.point;
}

class Descent {
 public:
  Descent(const PointSet& data, const int32_t* labels, int64_t num_concepts,
          const ParallelFor& parallel_for)
      : data_(data),
        parallel_for_(parallel_for),
        num_points_(data.points.cols()),
        num_concepts_(num_concepts),
        num_chunks_((num_points_ + kCnmfChunk - 1) / kCnmfChunk),
        squared_norm_(data.squared_norms.sum()),
        centers_(MatrixXd::Zero(data.points.rows(), num_concepts)),
        encoding_(MatrixXd::Zero(num_concepts, num_points_)),
        coefficients_(num_concepts),
        projections_(num_concepts, ConeProjection(data, kAlignmentTolerance)) {
    VectorXd sizes = VectorXd::Zero(num_concepts);
    for (int64_t n = 0; n < num_points_; ++n) {
      centers_.col(labels[n]) += data.points.col(n);
      encoding_(labels[n], n) = 1;
      sizes[labels[n]] += 1;
    }
    // The centre of an empty cluster stays 0 and is replaced in the first sweep.
    for (int64_t k = 0; k < num_concepts; ++k) centers_.col(k) /= std::max(sizes[k], 1.0);
  }

  CnmfFactors run(const CnmfOptions& options) {
    double momentum = kFirstMomentum, last_error = std::numeric_limits<double>::infinity();
    int64_t iteration = 0;
    while (iteration < options.max_num_iter) {
      update_encoding();
      if (squared_error_ > last_error) {  // the extrapolation went too far
        restore_centers();
        update_encoding();
        momentum *= kMomentumLoss;
      } else {
        momentum = std::min(kLargestMomentum, kMomentumGain * momentum);
      }
      last_error = squared_error_;
      const double possible_gain = update_centers(iteration == 0 ? num_points_ : kLooks);
      ++iteration;
      if (iteration == 1) {
        save_coefficients();
        continue;  // no change of the weights to go by yet
      }
      if (possible_gain <= std::max(options.tol * squared_error_, kRounding * squared_norm_)) break;
      if (iteration < options.max_num_iter) extrapolate_centers(momentum);
    }
    update_encoding();
    return finish(iteration);
  }

 private:
  // U: exact non-negative least squares of every tubelet on the centres. Also the products of U
  // that the centres need.
  void update_encoding() {
    const MatrixXd gram = centers_.transpose() * centers_;
    std::vector<MatrixXd> data_encoding(num_chunks_), encoding_gram(num_chunks_);
    parallel_for_(0, num_chunks_, 1, [&](int64_t begin, int64_t end) {
      GramNnls nnls(gram);
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t first = chunk * kCnmfChunk, count = std::min(kCnmfChunk, num_points_ - first);
        const auto points = data_.points.middleCols(first, count);
        auto encoding = encoding_.middleCols(first, count);
        const MatrixXd products = centers_.transpose() * points;
        for (int64_t n = 0; n < count; ++n) {
          nnls.solve(products.col(n).data(), encoding.col(n).data());
        }
        data_encoding[chunk] = points * encoding.transpose();
        encoding_gram[chunk] = encoding * encoding.transpose();
      }
    });
    data_encoding_ = data_encoding[0];
    encoding_gram_ = encoding_gram[0];
    for (int64_t chunk = 1; chunk < num_chunks_; ++chunk) {
      data_encoding_ += data_encoding[chunk];
      encoding_gram_ += encoding_gram[chunk];
    }
    squared_error_ = std::max(0.0, squared_norm_ - 2 * data_encoding_.cwiseProduct(centers_).sum() +
                                       encoding_gram_.cwiseProduct(gram).sum());
  }

  // W: one centre after the other. Returns a bound on what this could gain, all centres together.
  double update_centers(int64_t max_looks) {
    double possible_gain = replace_unused_centers();
    for (int64_t k = 0; k < num_concepts_; ++k) {
      const double curvature = encoding_gram_(k, k);
      if (curvature <= 0) continue;
      const VectorXd target =
          centers_.col(k) + (data_encoding_.col(k) - centers_ * encoding_gram_.col(k)) / curvature;
      possible_gain += curvature * project(k, target, max_looks);
    }
    // Columns of G sum to 1. Only now: the other centres were fitted to this scale; the next
    // encoding takes it up.
    for (int64_t k = 0; k < num_concepts_; ++k) {
      projections_[k].normalise();
      centers_.col(k) = projections_[k].combination();
    }
    return possible_gain;
  }

  // Moves centre k towards the projection of its target onto the cone of the data; returns a bound
  // on the decrease of the squared distance: what the support gave, and twice the largest slope
  // times the mass that could move (Frank-Wolfe gap), for what other points could still give.
  double project(int64_t k, const VectorXd& target, int64_t max_looks) {
    ConeProjection& projection = projections_[k];
    const double before = (target - centers_.col(k)).squaredNorm();
    projection.solve_on_support(target);
    double possible_gain = 0;
    for (int64_t look = 0; look < max_looks; ++look) {
      const VectorXd residual = target - projection.combination();
      double largest_slope = 0;
      const std::vector<int64_t> candidates =
          find_candidates(residual, target.norm(), &largest_slope);
      if (look == 0) {
        const double mass = std::max(1.0, projection.coefficient_sum());
        possible_gain = before - residual.squaredNorm() + 2 * largest_slope * mass;
      }
      if (candidates.empty()) break;
      projection.add_candidates(candidates, target);
    }
    centers_.col(k) = projection.combination();
    return possible_gain;
  }

  void save_coefficients() {
    for (int64_t k = 0; k < num_concepts_; ++k) coefficients_[k] = projections_[k].coefficients();
  }

  // Moves the weights on in the direction of their last change. Sweeps zigzag down narrow valleys;
  // this takes half of them or fewer.
  void extrapolate_centers(double momentum) {
    const std::vector<SparseCoefficients> before = coefficients_;
    save_coefficients();
    for (int64_t k = 0; k < num_concepts_; ++k) {
      projections_[k].extrapolate(before[k], momentum);
      projections_[k].normalise();
      centers_.col(k) = projections_[k].combination();
    }
  }

  // Takes an extrapolation back.
  void restore_centers() {
    for (int64_t k = 0; k < num_concepts_; ++k) {
      projections_[k].restore(coefficients_[k]);
      centers_.col(k) = projections_[k].combination();
    }
  }

  // The points best aligned with the residual, best first.
  std::vector<int64_t> find_candidates(const VectorXd& residual, double scale,
                                       double* largest_slope) {
    std::vector<std::vector<Candidate>> found(num_chunks_);
    std::vector<double> slopes(num_chunks_, 0.0);
    const double threshold = kAlignmentTolerance * scale;
    parallel_for_(0, num_chunks_, 2, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t first = chunk * kCnmfChunk, count = std::min(kCnmfChunk, num_points_ - first);
        const VectorXd products = data_.points.middleCols(first, count).transpose() * residual;
        slopes[chunk] = products.maxCoeff();
        for (int64_t n = 0; n < count; ++n) {
          const double alignment = products[n] * data_.inverse_norms[first + n];
          if (alignment > threshold) found[chunk].push_back({alignment, first + n});
        }
        keep_best(&found[chunk]);
      }
    });
    std::vector<Candidate> best;
    for (int64_t chunk = 0; chunk < num_chunks_; ++chunk) {
      best.insert(best.end(), found[chunk].begin(), found[chunk].end());
      *largest_slope = std::max(*largest_slope, slopes[chunk]);
    }
    keep_best(&best);
    std::vector<int64_t> points;
    for (const Candidate& candidate : best) points.push_back(candidate.point);
    return points;
  }

  static void keep_best(std::vector<Candidate>* candidates) {
    const int64_t count = std::min<int64_t>(kCandidates, candidates->size());
    std::partial_sort(candidates->begin(), candidates->begin() + count, candidates->end(),
                      more_aligned);
    candidates->resize(count);
  }

  // A concept that encodes nothing (an empty cluster, or one that died) takes the tubelet that is
  // represented worst. Returns the squared errors of these tubelets, which it gains.
  double replace_unused_centers() {
    std::vector<int64_t> unused;
    for (int64_t k = 0; k < num_concepts_; ++k) {
      if (encoding_gram_(k, k) <= 0) unused.push_back(k);
    }
    if (unused.empty()) return 0;
    const VectorXd misfit = (data_.points - centers_ * encoding_).colwise().squaredNorm();
    std::vector<int64_t> order(num_points_);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return misfit[a] > misfit[b]; });
    double gain = 0;
    for (size_t i = 0; i < unused.size(); ++i) {
      projections_[unused[i]].reset(order[i]);
      centers_.col(unused[i]) = data_.points.col(order[i]);
      gain += misfit[order[i]];
    }
    return gain;
  }

  CnmfFactors finish(int64_t num_iter) {
    CnmfFactors factors;
    factors.weights = MatrixXd::Zero(num_points_, num_concepts_);
    for (int64_t k = 0; k < num_concepts_; ++k) {
      const SparseCoefficients column = projections_[k].coefficients();
      if (column.points.empty()) {  // nothing is left to represent: any point will do
        factors.weights(0, k) = 1;
        centers_.col(k) = data_.points.col(0);
      }
      for (size_t i = 0; i < column.points.size(); ++i) {
        factors.weights(column.points[i], k) = column.values[i];
      }
    }
    factors.error = factorisation_error(data_.points, centers_, encoding_, parallel_for_);
    factors.centers = std::move(centers_);
    factors.encoding = std::move(encoding_);
    factors.num_iter = num_iter;
    return factors;
  }

  const PointSet& data_;
  const ParallelFor& parallel_for_;
  const int64_t num_points_, num_concepts_, num_chunks_;
  const double squared_norm_;                     // |X|^2
  MatrixXd centers_;                              // W [C, K]
  MatrixXd encoding_;                             // U [K, N]
  std::vector<SparseCoefficients> coefficients_;  // [K] of the last sweep, before any extrapolation
  std::vector<ConeProjection> projections_;       // [K] columns of G
  MatrixXd data_encoding_, encoding_gram_;        // X U^T [C, K], U U^T [K, K]
  double squared_error_ = 0;                      // |X - W U|^2
};

}  // namespace

CnmfFactors cnmf_descent(const PointSet& data, const int32_t* labels, int64_t num_concepts,
                         const CnmfOptions& options, const ParallelFor& parallel_for) {
  return Descent(data, labels, num_concepts, parallel_for).run(options);
}

double factorisation_error(const MatrixXd& data, const MatrixXd& centers, const MatrixXd& encoding,
                           const ParallelFor& parallel_for) {
  const int64_t num_points = data.cols();
  std::vector<double> partial((num_points + kCnmfChunk - 1) / kCnmfChunk);
  parallel_for(0, static_cast<int64_t>(partial.size()), 2, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kCnmfChunk, count = std::min(kCnmfChunk, num_points - first);
      partial[chunk] = (data.middleCols(first, count) - centers * encoding.middleCols(first, count))
                           .squaredNorm();
    }
  });
  return std::sqrt(std::accumulate(partial.begin(), partial.end(), 0.0));
}

}  // namespace vtcd
