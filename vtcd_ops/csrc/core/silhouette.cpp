// SPDX-License-Identifier: MIT
#include "core/silhouette.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/formulas/distance.h"
#include "core/formulas/silhouette.h"
#include "core/point_set.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Points whose distances to all others are in memory at a time, [N, kBlock].
constexpr int64_t kBlock = 32;

// Points ordered by cluster, so that the distances to a cluster are one contiguous run.
struct Clusters {
  std::vector<int64_t> order;   // [N] index of the point at a sorted position
  std::vector<int64_t> starts;  // [clusters + 1] first sorted position of a cluster
};

Clusters sort_by_label(const int64_t* labels, int64_t num_points) {
  Clusters clusters;
  clusters.order.resize(num_points);
  std::iota(clusters.order.begin(), clusters.order.end(), 0);
  std::stable_sort(clusters.order.begin(), clusters.order.end(),
                   [&](int64_t a, int64_t b) { return labels[a] < labels[b]; });
  for (int64_t i = 0; i < num_points; ++i) {
    if (i == 0 || labels[clusters.order[i]] != labels[clusters.order[i - 1]])
      clusters.starts.push_back(i);
  }
  clusters.starts.push_back(num_points);
  return clusters;
}

// distances [N] of one point to all, in sorted order; own: the cluster of the point.
double coefficient(const double* distances, const std::vector<int64_t>& starts, int64_t own) {
  const int64_t num_others = starts[own + 1] - starts[own] - 1;
  if (num_others == 0) return 0.0;
  double within = 0, between = std::numeric_limits<double>::infinity();
  for (int64_t cluster = 0; cluster + 1 < static_cast<int64_t>(starts.size()); ++cluster) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = starts[cluster]; i < starts[cluster + 1]; ++i) sum += distances[i];
    if (cluster == own) {
      within = sum / static_cast<double>(num_others);
    } else {
      between = std::min(between, sum / static_cast<double>(starts[cluster + 1] - starts[cluster]));
    }
  }
  return silhouette_coefficient(within, between);
}

// Distances [N] of a point to all, from its products with them: |x|^2 + |y|^2 - 2 x.y, or by
// differences where that would cost too many digits.
void distances_to_all(const MatrixXd& points, const VectorXd& norms, int64_t point,
                      double* values) {
  const int64_t num_points = points.cols();
  const double norm = norms[point];
  int64_t num_close = 0;
#pragma omp simd reduction(+ : num_close)
  for (int64_t i = 0; i < num_points; ++i) {
    values[i] = norms[i] + norm - 2 * values[i];
    num_close += loses_digits(values[i], norms[i] + norm);
  }
  std::vector<int64_t> close;
  close.reserve(num_close);
  for (int64_t i = 0; i < num_points && num_close > 1; ++i) {  // the point itself is close
    if (loses_digits(values[i], norms[i] + norm)) close.push_back(i);
  }
#pragma omp simd
  for (int64_t i = 0; i < num_points; ++i) values[i] = std::sqrt(std::max(values[i], 0.0));
  for (const int64_t i : close) {
    values[i] = distance(points.col(i).data(), points.col(point).data(), points.rows());
  }
  values[point] = 0;
}

}  // namespace

void silhouette(const MatrixXd& columns, const int64_t* labels, double* coefficients,
                const ParallelFor& parallel_for) {
  const int64_t num_points = columns.cols();
  const Clusters clusters = sort_by_label(labels, num_points);
  if (clusters.starts.size() <= 2) {
    std::fill(coefficients, coefficients + num_points, 0.0);
    return;
  }
  const MatrixXd sorted = CentredPoints(columns(Eigen::all, clusters.order)).points;
  std::vector<int64_t> own(num_points);  // cluster of a sorted position
  for (int64_t i = 0, cluster = 0; i < num_points; ++i) {
    if (i == clusters.starts[cluster + 1]) ++cluster;
    own[i] = cluster;
  }
  const VectorXd norms = sorted.colwise().squaredNorm();
  const int64_t num_blocks = (num_points + kBlock - 1) / kBlock;
  parallel_for(0, num_blocks, 1, [&](int64_t begin, int64_t end) {
    MatrixXd distances(num_points, kBlock);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlock, count = std::min(kBlock, num_points - first);
      distances.leftCols(count).noalias() = sorted.transpose() * sorted.middleCols(first, count);
      for (int64_t j = 0; j < count; ++j) {
        distances_to_all(sorted, norms, first + j, distances.col(j).data());
        coefficients[clusters.order[first + j]] =
            coefficient(distances.col(j).data(), clusters.starts, own[first + j]);
      }
    }
  });
}

}  // namespace vtcd
