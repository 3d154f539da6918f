// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>

#include "core/cnmf/cnmf.h"
#include "core/formulas/cnmf.h"

namespace vtcd {
namespace {

using Eigen::ArrayXXd;
using Eigen::MatrixXd;

class MultiplicativeUpdates {
 public:
  MultiplicativeUpdates(const PointSet& data, const int32_t* labels, int64_t num_concepts)
      : squared_norm_(data.squared_norms.sum()) {
    const int64_t num_points = data.points.cols();
    encoding_ = MatrixXd::Constant(num_points, num_concepts, kStartOffset);
    Eigen::RowVectorXd sizes = Eigen::RowVectorXd::Zero(num_concepts);
    for (int64_t n = 0; n < num_points; ++n) {
      encoding_(n, labels[n]) += 1;
      sizes[labels[n]] += 1;
    }
    weights_ = encoding_.array().rowwise() / sizes.array().max(1.0);
    positive_.noalias() = data.points.transpose() * data.points;
    negative_ = (-positive_.array()).max(0.0);
    positive_ = positive_.array().max(0.0);
  }

  int64_t run(const CnmfOptions& options) {
    for (int64_t iteration = 0; iteration < options.max_num_iter; ++iteration) {
      positive_weights_.noalias() = positive_ * weights_;
      negative_weights_.noalias() = negative_ * weights_;
      positive_encoding_.noalias() = positive_ * encoding_;
      negative_encoding_.noalias() = negative_ * encoding_;
      if (iteration % kCheckEvery == 0 && has_converged(options.tol)) return iteration;
      update();
    }
    return options.max_num_iter;
  }

  MatrixXd weights_, encoding_;  // G [N, K], V = U^T [N, K]

 private:
  // V <- V sqrt((Y+ G + V G'Y- G) / (Y- G + V G'Y+ G)), then G <- G sqrt((Y+ V + Y- G V'V) / (Y- V
  // + Y+ G V'V)), with Y = X'X = Y+ - Y- (Ding, Li, Jordan 2010, equations 23 and 24).
  void update() {
    multiply(positive_weights_ + encoding_ * (weights_.transpose() * negative_weights_),
             negative_weights_ + encoding_ * (weights_.transpose() * positive_weights_),
             &encoding_);
    positive_encoding_.noalias() = positive_ * encoding_;
    negative_encoding_.noalias() = negative_ * encoding_;
    const MatrixXd encoding_gram = encoding_.transpose() * encoding_;
    multiply(positive_encoding_ + negative_weights_ * encoding_gram,
             negative_encoding_ + positive_weights_ * encoding_gram, &weights_);
  }

  static void multiply(const MatrixXd& numerator, const MatrixXd& denominator, MatrixXd* factor) {
    factor->array() *= ((numerator.array() + kNothing) / (denominator.array() + kNothing)).sqrt();
    *factor = (factor->array() < kFlushBelow).select(0.0, *factor);
  }

  // The rule of the descent: what the weights alone (Frank-Wolfe gap of a convex problem) and the
  // single entries of the encoding could still gain, against the squared error.
  bool has_converged(double tol) const {
    const MatrixXd data_weights = positive_weights_ - negative_weights_;  // Y G
    const MatrixXd center_gram = weights_.transpose() * data_weights;     // W'W
    const MatrixXd encoding_gram = encoding_.transpose() * encoding_;     // U U'
    const MatrixXd weight_slope =
        data_weights * encoding_gram - (positive_encoding_ - negative_encoding_);
    double possible_gain = 0;
    for (int64_t k = 0; k < weights_.cols(); ++k) {
      possible_gain += 2 * (weight_slope.col(k).dot(weights_.col(k)) -
                            weight_slope.col(k).minCoeff() * weights_.col(k).sum());
    }
    const ArrayXXd slope = (encoding_ * center_gram - data_weights).array();
    ArrayXXd gain(slope.rows(), slope.cols());
    for (int64_t k = 0; k < slope.cols(); ++k) {
      for (int64_t n = 0; n < slope.rows(); ++n) {
        gain(n, k) = encoding_gain(encoding_(n, k), slope(n, k), center_gram(k, k));
      }
    }
    possible_gain += gain.sum();
    const double squared_error = squared_norm_ - 2 * encoding_.cwiseProduct(data_weights).sum() +
                                 encoding_gram.cwiseProduct(center_gram).sum();
    return is_worth_no_update(possible_gain, tol, squared_error, squared_norm_);
  }

  const double squared_norm_;
  MatrixXd positive_, negative_;                    // Y+, Y- [N, N]
  MatrixXd positive_weights_, negative_weights_;    // Y+ G, Y- G [N, K]
  MatrixXd positive_encoding_, negative_encoding_;  // Y+ V, Y- V [N, K]
};

}  // namespace

CnmfFactors cnmf_multiplicative(const PointSet& data, const int32_t* labels, int64_t num_concepts,
                                const CnmfOptions& options) {
  MultiplicativeUpdates updates(data, labels, num_concepts);
  CnmfFactors factors;
  factors.num_iter = updates.run(options);
  // Only the product of a column of G and a row of U matters: give the columns the sum 1 of a
  // convex combination.
  for (int64_t k = 0; k < num_concepts; ++k) {
    const double sum = updates.weights_.col(k).sum();
    if (sum > 0) {
      updates.weights_.col(k) /= sum;
      updates.encoding_.col(k) *= sum;
    } else {
      updates.weights_(0, k) = 1;
      updates.encoding_.col(k).setZero();
    }
  }
  factors.weights = updates.weights_;
  factors.encoding = updates.encoding_.transpose();
  factors.centers = data.points * factors.weights;
  factors.error = (data.points - factors.centers * factors.encoding).norm();
  return factors;
}

}  // namespace vtcd
