// SPDX-License-Identifier: MIT
#include "core/kmeans.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "core/chunks.h"
#include "core/distinct_points.h"
#include "core/formulas/distance.h"
#include "core/formulas/kmeans.h"
#include "core/formulas/ordered_sum.h"
#include "core/formulas/philox.h"
#include "core/point_set.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Chunks of a thread, at least: to assign their points, and to measure distances from one.
constexpr int64_t kAssignGrain = 4, kDistanceGrain = 16;
// Fewer points than this are too few to share a run between threads.
constexpr int64_t kSharedRun = 2048;
// Runs whose results are kept at a time.
constexpr int64_t kRunsAtOnce = 16;

// The points of each cluster, added up.
struct ClusterSums {
  MatrixXd sums;         // [C, K]
  VectorXd sizes;        // [K]
  bool changed = false;  // whether a point has come from another cluster

  ClusterSums& operator+=(const ClusterSums& other) {
    sums += other.sums;
    sizes += other.sizes;
    changed |= other.changed;
    return *this;
  }
};

// The sums of 32 numbers each, one for every point, and of all of them.
struct PointSums {
  explicit PointSums(const VectorXd& values) : chunks(count_sum_chunks(values.size())) {
    for (size_t chunk = 0; chunk < chunks.size(); ++chunk) {
      chunks[chunk] = sum_of_chunk(static_cast<int64_t>(chunk), values.size(),
                                   [&](int64_t n) { return values[n]; });
    }
    total = sum_of_chunks_in_order(chunks.data(), static_cast<int64_t>(chunks.size()));
  }

  std::vector<double> chunks;
  double total;
};

double weighted_sum(const DistinctPoints& data, const VectorXd& values) {
  return PointSums(values.cwiseProduct(data.weights)).total;
}

class KMeansRun {
 public:
  KMeansRun(const DistinctPoints& data, int64_t num_clusters, const ParallelFor& parallel_for)
      : data_(data),
        parallel_for_(parallel_for),
        num_points_(data.points.cols()),
        num_clusters_(num_clusters),
        centers_(data.points.rows(), num_clusters),
        labels_(num_points_, -1),
        distances_(num_points_) {}

  // Labels and centres of the distinct points.
  KMeansResult run(PhiloxStream random, int64_t max_num_iter, double max_shift) {
    choose_centers(&random);
    int64_t iteration = 0;
    bool settled = false;
    while (iteration < max_num_iter && !settled) {
      ++iteration;
      const bool changed = assign();
      if (!changed) break;
      settled = update_centers() <= max_shift;
    }
    if (settled || iteration == max_num_iter) assign();  // labels of the last centres
    return {labels_, centers_, weighted_sum(data_, distances_), 0, iteration};
  }

 private:
  // Greedy k-means++: each next centre is the best of a few points drawn with a probability
  // proportional to the squared distance from the centres chosen so far.
  void choose_centers(PhiloxStream* random) {
    const int64_t num_trials = num_seed_trials(num_clusters_);
    const int64_t first = draw_by_weight(data_.weights, random);
    centers_.col(0) = data_.points.col(first);
    VectorXd closest = squared_distances(first);
    for (int64_t k = 1; k < num_clusters_; ++k) {
      const VectorXd weights = closest.cwiseProduct(data_.weights);
      const PointSums sums(weights);
      VectorXd best_closest;
      double best_sum = std::numeric_limits<double>::infinity();
      int64_t best_point = 0;
      for (int64_t trial = 0; trial < num_trials; ++trial) {
        const int64_t point = draw_by_weight(weights, sums, random);
        VectorXd candidate = squared_distances(point).cwiseMin(closest);
        const double sum = weighted_sum(data_, candidate);
        if (sum < best_sum) {
          best_sum = sum;
          best_point = point;
          best_closest.swap(candidate);
        }
      }
      centers_.col(k) = data_.points.col(best_point);
      closest.swap(best_closest);
    }
  }

  int64_t draw_by_weight(const VectorXd& weights, const PointSums& sums,
                         PhiloxStream* random) const {
    // no distance is left that a double could square: any point
    if (sums.total <= 0) return draw_by_weight(data_.weights, random);
    return point_at_threshold(random->uniform() * sums.total, sums.chunks.data(), num_points_,
                              [&](int64_t n) { return weights[n]; });
  }

  int64_t draw_by_weight(const VectorXd& weights, PhiloxStream* random) const {
    return draw_by_weight(weights, PointSums(weights), random);
  }

  VectorXd squared_distances(int64_t point) const {
    const int64_t num_channels = data_.points.rows();
    const double* center = data_.points.col(point).data();
    VectorXd distances(num_points_);
    for_each_chunk(num_points_, kClusterChunk, kDistanceGrain, parallel_for_,
                   [&](int64_t /*chunk*/, int64_t first, int64_t size) {
                     for (int64_t n = first; n < first + size; ++n) {
                       distances[n] =
                           squared_distance(data_.points.col(n).data(), center, num_channels);
                     }
                   });
    return distances;
  }

  // Every point to its nearest centre, ties to the lower index. Returns whether a label changed.
  // The points are added up by label for the next centres.
  bool assign() {
    center_norms_ = centers_.colwise().squaredNorm();
    largest_center_ = center_norms_.maxCoeff();
    clusters_ = sum_of_chunks<ClusterSums>(
        num_points_, kClusterChunk, kAssignGrain, parallel_for_,
        [&](int64_t first, int64_t size) { return assign_chunk(first, size); });
    return clusters_.changed;
  }

  ClusterSums assign_chunk(int64_t first, int64_t count) {
    const auto points = data_.points.middleCols(first, count);
    const std::array<int64_t, kClusterChunk> nearest = nearest_centers(first, count);
    ClusterSums clusters{MatrixXd::Zero(centers_.rows(), num_clusters_),
                         VectorXd::Zero(num_clusters_), false};
    for (int64_t n = 0; n < count; ++n) {
      const int64_t k = nearest[n];
      const double weight = data_.weights[first + n];
      clusters.changed |= labels_[first + n] != k;
      labels_[first + n] = static_cast<int32_t>(k);
      distances_[first + n] =
          squared_distance(points.col(n).data(), centers_.col(k).data(), centers_.rows());
      clusters.sums.col(k) += weight * points.col(n);
      clusters.sizes[k] += weight;
    }
    return clusters;
  }

  // The first of the centres that are nearest by differences. |c|^2 - 2 x.c from one matrix product
  // tells most of them: where the best two differ by more than its rounding, and by more than that
  // of the differences, which is no larger.
  std::array<int64_t, kClusterChunk> nearest_centers(int64_t first, int64_t count) const {
    std::array<int64_t, kClusterChunk> nearest{};
    std::array<double, kClusterChunk> smallest, second;
    smallest.fill(std::numeric_limits<double>::infinity());
    second.fill(std::numeric_limits<double>::infinity());
    MatrixXd scores = data_.points.middleCols(first, count).transpose() * centers_;  // [chunk, K]
    for (int64_t k = 0; k < num_clusters_; ++k) {
      double* score = scores.col(k).data();
      const double norm = center_norms_[k];
#pragma omp simd
      for (int64_t n = 0; n < count; ++n) {
        score[n] = norm - 2 * score[n];
        const bool closer = score[n] < smallest[n];
        const double other = closer ? smallest[n] : score[n];
        second[n] = other < second[n] ? other : second[n];
        smallest[n] = closer ? score[n] : smallest[n];
        nearest[n] = closer ? k : nearest[n];
      }
    }
    const double rounding = 2 * product_rounding(centers_.rows());
    for (int64_t n = 0; n < count; ++n) {
      constexpr double kVanishing = 1e-300;  // far above what is lost of squares that vanish
      const double margin =
          rounding * (data_.squared_norms[first + n] + largest_center_) + kVanishing;
      if (second[n] - smallest[n] > margin) continue;
      nearest[n] = nearest_by_differences(first + n, scores.row(n), smallest[n] + margin);
    }
    return nearest;
  }

  template <typename Row>
  int64_t nearest_by_differences(int64_t point, const Row& scores, double threshold) const {
    double smallest = std::numeric_limits<double>::infinity();
    int64_t nearest = 0;
    for (int64_t k = 0; k < num_clusters_; ++k) {
      if (scores[k] > threshold) continue;
      const double distance =
          squared_distance(data_.points.col(point).data(), centers_.col(k).data(), centers_.rows());
      if (distance < smallest) {
        smallest = distance;
        nearest = k;
      }
    }
    return nearest;
  }

  // Centres become the means of their points. Returns the sum of squared shifts.
  double update_centers() {
    move_empty_clusters();
    double shift = 0;
    for (int64_t k = 0; k < num_clusters_; ++k) {
      if (clusters_.sizes[k] <= 0) continue;  // no point is left to take over: the centre stays
      const VectorXd mean = clusters_.sums.col(k) / clusters_.sizes[k];
      shift += squared_distance(mean.data(), centers_.col(k).data(), mean.size());
      centers_.col(k) = mean;
    }
    return shift;
  }

  // An empty cluster takes over the point farthest from its centre, the next one the second
  // farthest, and so on.
  void move_empty_clusters() {
    for (int64_t k = 0; k < num_clusters_; ++k) {
      if (clusters_.sizes[k] > 0) continue;
      Eigen::Index farthest;
      if (distances_.maxCoeff(&farthest) <= 0) return;
      const int32_t donor = labels_[farthest];
      const double weight = data_.weights[farthest];
      clusters_.sums.col(donor) -= weight * data_.points.col(farthest);
      clusters_.sizes[donor] -= weight;
      clusters_.sums.col(k) = weight * data_.points.col(farthest);
      clusters_.sizes[k] = weight;
      labels_[farthest] = static_cast<int32_t>(k);
      distances_[farthest] = 0;
    }
  }

  const DistinctPoints& data_;
  const ParallelFor& parallel_for_;
  const int64_t num_points_, num_clusters_;
  MatrixXd centers_;             // [C, K]
  VectorXd center_norms_;        // [K] squared
  double largest_center_ = 0;    // of center_norms_
  std::vector<int32_t> labels_;  // [N]
  VectorXd distances_;           // [N] squared, to the centre of the label
  ClusterSums clusters_;
};

double mean_channel_variance(const DistinctPoints& data, const ParallelFor& parallel_for) {
  const int64_t num_channels = data.points.rows();
  VectorXd mean = sum_of_chunks<VectorXd>(data.points.cols(), kClusterChunk, kAssignGrain,
                                          parallel_for, [&](int64_t first, int64_t size) {
                                            VectorXd sum = VectorXd::Zero(num_channels);
                                            for (int64_t n = first; n < first + size; ++n)
                                              sum += data.weights[n] * data.points.col(n);
                                            return sum;
                                          });
  const double total = PointSums(data.weights).total;
  mean /= total;
  VectorXd squares(data.points.cols());
  for (int64_t n = 0; n < data.points.cols(); ++n)
    squares[n] = squared_distance(data.points.col(n).data(), mean.data(), num_channels);
  return weighted_sum(data, squares) / (total * static_cast<double>(num_channels));
}

// The best of the runs, the first of equally good ones. Runs go side by side where a single one is
// too small to be shared.
KMeansResult best_run(const DistinctPoints& data, int64_t num_clusters,
                      const KMeansOptions& options, const ParallelFor& parallel_for) {
  const double max_shift = options.tol * mean_channel_variance(data, parallel_for);
  const bool side_by_side = data.points.cols() < kSharedRun;
  const auto run = [&](int64_t restart, const ParallelFor& inner) {
    const PhiloxStream random(PhiloxDomain::kKMeans, static_cast<uint64_t>(options.seed),
                              static_cast<uint64_t>(restart));
    return KMeansRun(data, num_clusters, inner).run(random, options.max_num_iter, max_shift);
  };
  KMeansResult best;
  std::vector<KMeansResult> results;
  for (int64_t first = 0; first < options.num_restarts; first += kRunsAtOnce) {
    const int64_t count = std::min(kRunsAtOnce, options.num_restarts - first);
    results.resize(count);
    if (side_by_side) {
      parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) results[i] = run(first + i, serial_for);
      });
    } else {
      for (int64_t i = 0; i < count; ++i) results[i] = run(first + i, parallel_for);
    }
    for (KMeansResult& result : results) {
      if (best.labels.empty() || result.inertia < best.inertia) best = std::move(result);
    }
  }
  return best;
}

// Every distinct point is a cluster; the clusters left over lie on the first point.
KMeansResult one_cluster_each(const MatrixXd& columns, const DistinctPoints& data,
                              int64_t num_clusters) {
  KMeansResult result;
  result.centers = columns.col(0).replicate(1, num_clusters);
  result.centers.leftCols(data.points.cols()) = columns(Eigen::all, data.columns);
  for (int64_t n = 0; n < data.points.cols(); ++n) {
    result.labels.push_back(static_cast<int32_t>(n));
  }
  result.num_iter = 1;
  return result;
}

}  // namespace

KMeansResult kmeans(const MatrixXd& columns, int64_t num_clusters, const KMeansOptions& options,
                    const ParallelFor& parallel_for) {
  const CentredPoints centred(columns);
  const DistinctPoints data(centred.points);
  KMeansResult result;
  if (data.points.cols() <= num_clusters) {
    result = one_cluster_each(columns, data, num_clusters);
  } else {
    result = best_run(data, num_clusters, options, parallel_for);
    result.centers = centred.restore(result.centers);
    result.inertia_exponent = 2 * centred.exponent;
  }
  std::vector<int32_t> labels(columns.cols());
  for (int64_t n = 0; n < columns.cols(); ++n) labels[n] = result.labels[data.group[n]];
  result.labels = std::move(labels);
  return result;
}

}  // namespace vtcd
