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

#include "core/chunks.h"
#include "core/cnmf/cnmf.h"
#include "core/cnmf/cone_projection.h"
#include "core/cnmf/data.h"
#include "core/formulas/cnmf.h"
#include "core/formulas/small_nnls.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

struct Candidate {
  double alignment;
  int64_t point;
};

// Largest alignment first, ties to the lower index, so the order is the same for any split into
// chunks.
bool more_aligned(const Candidate& a, const Candidate& b) {
  return a.alignment != b.alignment ? a.alignment > b.alignment : a.point < b.point;
}

void keep_best(std::vector<Candidate>* candidates) {
  const int64_t count = std::min<int64_t>(kCnmfCandidates, candidates->size());
  std::partial_sort(candidates->begin(), candidates->begin() + count, candidates->end(),
                    more_aligned);
  candidates->resize(count);
}

// What an encoding leaves of the data, and the products that the centres need.
struct Residual {
  MatrixXd encoding;       // R U^T [C, K]
  MatrixXd encoding_gram;  // U U^T [K, K]
  double squared_error = 0;

  Residual& operator+=(const Residual& other) {
    encoding += other.encoding;
    encoding_gram += other.encoding_gram;
    squared_error += other.squared_error;
    return *this;
  }
};

class Descent {
 public:
  Descent(const PointSet& data, const int32_t* labels, int64_t num_concepts,
          const ParallelFor& parallel_for)
      : data_(data),
        parallel_for_(parallel_for),
        num_points_(data.size()),
        num_concepts_(num_concepts),
        length_(std::sqrt(data.squared_norms.sum())),
        centers_(MatrixXd::Zero(data.points.rows(), num_concepts)),
        encoding_(MatrixXd::Zero(num_concepts, num_points_)),
        misfits_(num_points_),
        projections_(num_concepts, ConeProjection(data_.cone(), data_.cone_inverse_lengths(),
                                                  data_.has_offset(), kAlignmentTolerance)) {
    VectorXd sizes = VectorXd::Zero(num_concepts);
    for (int64_t n = 0; n < num_points_; ++n) {
      centers_.col(labels[n]) += data_.rest().col(n);
      encoding_(labels[n], n) = 1;
      sizes[labels[n]] += 1;
    }
    // The centre of an empty cluster stays at the offset and is replaced in the first sweep.
    for (int64_t k = 0; k < num_concepts; ++k) centers_.col(k) /= std::max(sizes[k], 1.0);
    settled_ = centers_;
  }

  // penalty: of the first sweep. Each further one lowers it, until it is 0.
  CnmfFactors run(const CnmfOptions& options, double penalty) {
    Momentum momentum;
    double last_objective = std::numeric_limits<double>::infinity();
    int64_t iteration = 0;
    penalty_ = penalty;
    while (iteration < options.max_num_iter) {
      update_encoding();
      if (objective() > last_objective) {  // the extrapolation went too far
        centers_ = settled_;
        update_encoding();
        momentum.shrink();
      } else {
        momentum.grow();
      }
      last_objective = objective();
      const double possible_gain = update_centers(iteration == 0 ? num_points_ : kCnmfLooks);
      ++iteration;
      const MatrixXd before = std::exchange(settled_, centers_);
      const bool penalised = penalty_ > 0;
      penalty_ = next_penalty(penalty_);
      if (iteration == 1) continue;  // no change of the weights to go by yet
      if (!penalised &&
          possible_gain <= smallest_gain(options.tol, residual_.squared_error, length_))
        break;
      if (iteration < options.max_num_iter) centers_ += momentum.value() * (centers_ - before);
    }
    penalty_ = 0;
    update_encoding();
    return finish(iteration);
  }

  // Whether concepts have come to cancel one another: parts of the encoding are many times what
  // they add up to.
  bool is_degenerate() const {
    return is_degenerate_factorisation(residual_.squared_error, squared_parts(), length_);
  }

 private:
  // The squared lengths of all w_k u_kn, added up.
  double squared_parts() const {
    return fitted_.colwise().squaredNorm() * residual_.encoding_gram.diagonal();
  }

  double objective() const { return residual_.squared_error + penalty_ * squared_parts(); }

  // U: exact non-negative least squares of every tubelet on the centres; and what it leaves.
  void update_encoding() {
    const MatrixXd gram = centers_.transpose() * centers_;
    const VectorXd with_offset =
        data_.has_offset() ? VectorXd(centers_.transpose() * data_.offset()) : VectorXd();
    const NnlsColumns columns{num_concepts_, gram.data(),
                              data_.has_offset() ? with_offset.data() : nullptr,
                              data_.squared_offset(), penalty_};
    fitted_ = centers_;
    residual_ = sum_of_chunks<Residual>(
        num_points_, kCnmfChunk, 1, parallel_for_,
        [&](int64_t first, int64_t size) { return encode_chunk(columns, first, size); });
  }

  Residual encode_chunk(const NnlsColumns& columns, int64_t first, int64_t size) {
    std::vector<double> doubles(SmallNnls::num_doubles(num_concepts_));
    std::vector<int32_t> indices(SmallNnls::num_indices(num_concepts_));
    SmallNnls nnls(columns, doubles.data(), indices.data());
    const auto points = data_.rest().middleCols(first, size);
    auto encoding = encoding_.middleCols(first, size);
    const MatrixXd products = centers_.transpose() * points;
    for (int64_t n = 0; n < size; ++n) {
      const double offset_product = data_.has_offset() ? data_.offset_products()[first + n] : 0.0;
      nnls.solve(products.col(n).data(), offset_product, encoding.col(n).data());
    }
    MatrixXd residual = points;
    residual.noalias() -= centers_ * encoding;
    if (data_.has_offset()) {
      const Eigen::RowVectorXd missing = 1 - encoding.colwise().sum().array();
      residual.noalias() += data_.offset() * missing;
    }
    misfits_.segment(first, size) = residual.colwise().squaredNorm();
    return {residual * encoding.transpose(), encoding * encoding.transpose(),
            misfits_.segment(first, size).sum()};
  }

  // W: one centre after the other. Returns a bound on what this could gain, all centres together.
  double update_centers(int64_t max_looks) {
    double possible_gain = replace_unused_centers();
    for (int64_t k = 0; k < num_concepts_; ++k) {
      const double curvature = residual_.encoding_gram(k, k);
      if (curvature <= 0) continue;
      const VectorXd moved = (centers_ - fitted_) * residual_.encoding_gram.col(k);
      const VectorXd target =
          (centers_.col(k) + (residual_.encoding.col(k) - moved) / curvature) / (1 + penalty_);
      possible_gain += (1 + penalty_) * curvature * project(k, target, max_looks);
    }
    return possible_gain;
  }

  // Moves centre k towards the projection of its target onto the cone of the data; returns a bound
  // on the decrease of the squared distance: what the support gave, and twice the largest slope
  // times the mass that could move (Frank-Wolfe gap), for what other points could still give. Both
  // for points of length 1, as the cone does not know how long they are.
  double project(int64_t k, const VectorXd& target, int64_t max_looks) {
    ConeProjection& projection = projections_[k];
    VectorXd raised(data_.cone().rows());
    raised.head(target.size()) = target;
    if (data_.has_offset()) raised[target.size()] = data_.height();
    const double before = (target - centers_.col(k)).squaredNorm();
    projection.solve_on_support(raised);
    double possible_gain = 0;
    for (int64_t look = 0; look < max_looks; ++look) {
      const VectorXd residual = projection.residual(raised);
      const std::vector<Candidate> candidates =
          find_candidates(residual, projection.threshold(raised));
      if (look == 0) {
        const double mass = std::max(raised.norm(), projection.length_sum());
        const double slope = candidates.empty() ? 0.0 : candidates[0].alignment;
        possible_gain = projection_gain(before, residual.squaredNorm(), slope, mass);
      }
      if (candidates.empty()) break;
      std::vector<int64_t> points;
      for (const Candidate& candidate : candidates) points.push_back(candidate.point);
      projection.add_candidates(points, raised);
    }
    if (data_.has_offset()) projection.normalise();
    centers_.col(k) = projection.combination().head(target.size());
    return possible_gain;
  }

  // The points best aligned with the residual, best first.
  std::vector<Candidate> find_candidates(const VectorXd& residual, double threshold) const {
    std::vector<std::vector<Candidate>> found(count_chunks(num_points_, kCnmfChunk));
    for_each_chunk(
        num_points_, kCnmfChunk, 2, parallel_for_, [&](int64_t chunk, int64_t first, int64_t size) {
          const VectorXd products = data_.cone().middleCols(first, size).transpose() * residual;
          for (int64_t n = 0; n < size; ++n) {
            const double alignment = products[n] * data_.cone_inverse_lengths()[first + n];
            if (alignment > threshold) found[chunk].push_back({alignment, first + n});
          }
          keep_best(&found[chunk]);
        });
    std::vector<Candidate> best;
    for (const std::vector<Candidate>& part : found) {
      best.insert(best.end(), part.begin(), part.end());
    }
    keep_best(&best);
    return best;
  }

  // A concept that encodes nothing (an empty cluster, or one that died) takes the tubelet that is
  // represented worst. Returns the squared errors of these tubelets, which it gains.
  double replace_unused_centers() {
    std::vector<int64_t> unused;
    for (int64_t k = 0; k < num_concepts_; ++k) {
      if (residual_.encoding_gram(k, k) <= 0) unused.push_back(k);
    }
    if (unused.empty()) return 0;
    std::vector<int64_t> order(num_points_);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return misfits_[a] > misfits_[b]; });
    double gain = 0;
    for (size_t i = 0; i < unused.size(); ++i) {
      projections_[unused[i]].reset(order[i]);
      centers_.col(unused[i]) = data_.rest().col(order[i]);
      gain += misfits_[order[i]];
    }
    return gain;
  }

  // Columns of G sum to 1, and the rows of U take the difference up.
  CnmfFactors finish(int64_t num_iter) {
    CnmfFactors factors;
    factors.weights = MatrixXd::Zero(num_points_, num_concepts_);
    for (int64_t k = 0; k < num_concepts_; ++k) {
      const std::vector<int64_t>& support = projections_[k].support();
      const double sum = projections_[k].coefficient_sum();
      if (support.empty()) {  // nothing is left to represent: any point will do
        factors.weights(0, k) = 1;
        centers_.col(k) = data_.rest().col(0);
        continue;
      }
      for (size_t i = 0; i < support.size(); ++i) {
        factors.weights(support[i], k) = projections_[k].coefficients()[i] / sum;
      }
      if (data_.has_offset()) continue;
      centers_.col(k) /= sum;
      encoding_.row(k) *= sum;
    }
    factors.error = std::sqrt(residual_.squared_error);
    factors.centers = std::move(centers_);
    if (data_.has_offset()) factors.centers.colwise() += data_.offset();
    factors.encoding = std::move(encoding_);
    factors.num_iter = num_iter;
    return factors;
  }

  const CnmfData data_;
  const ParallelFor& parallel_for_;
  const int64_t num_points_, num_concepts_;
  const double length_;                      // |X|
  MatrixXd centers_;                         // W, less the offset [C, K]; may be extrapolated
  MatrixXd settled_;                         // of the last sweep, before any extrapolation
  MatrixXd fitted_;                          // those that the encoding was solved for
  MatrixXd encoding_;                        // U [K, N]
  VectorXd misfits_;                         // [N] squared error of each point
  std::vector<ConeProjection> projections_;  // [K] columns of G
  Residual residual_;                        // of that encoding
  double penalty_ = 0;                       // on the squared lengths of all w_k u_kn
};

}  // namespace

CnmfFactors cnmf_descent(const PointSet& data, const int32_t* labels, int64_t num_concepts,
                         const CnmfOptions& options, const ParallelFor& parallel_for) {
  Descent descent(data, labels, num_concepts, parallel_for);
  CnmfFactors found = descent.run(options, 0.0);
  CnmfOptions rest = options;
  rest.max_num_iter -= found.num_iter;
  if (!descent.is_degenerate() || rest.max_num_iter == 0) return found;
  CnmfFactors other = Descent(data, labels, num_concepts, parallel_for).run(rest, kFirstPenalty);
  other.num_iter += found.num_iter;
  if (other.error < found.error) return other;
  found.num_iter = other.num_iter;
  return found;
}

}  // namespace vtcd
