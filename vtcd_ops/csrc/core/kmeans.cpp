// SPDX-License-Identifier: MIT
#include "core/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/formulas/philox.h"

namespace vtcd {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

// Points of a chunk: partial sums over chunks are added in order, so results do not depend on the
// threads.
constexpr int64_t kChunk = 512;
// Stream number of the Philox generator; the substream is the restart.
constexpr uint32_t kSeedingStream = 1;

class KMeansRun {
 public:
  KMeansRun(const PointSet& data, int64_t num_clusters, const ParallelFor& parallel_for)
      : data_(data),
        parallel_for_(parallel_for),
        num_points_(data.size()),
        num_clusters_(num_clusters),
        num_chunks_((num_points_ + kChunk - 1) / kChunk),
        centers_(data.points.rows(), num_clusters),
        labels_(num_points_, -1),
        distances_(num_points_) {}

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
    return {labels_, centers_, inertia(), iteration};
  }

 private:
  // Greedy k-means++: each next centre is the best of a few points drawn with a probability
  // proportional to the squared distance from the centres chosen so far.
  void choose_centers(PhiloxStream* random) {
    const int64_t num_trials =
        2 + static_cast<int64_t>(std::log(static_cast<double>(num_clusters_)));
    const int64_t first = draw_uniform(random);
    centers_.col(0) = data_.points.col(first);
    VectorXd closest = squared_distances(first);
    for (int64_t k = 1; k < num_clusters_; ++k) {
      VectorXd best_closest;
      double best_sum = std::numeric_limits<double>::infinity();
      int64_t best_point = 0;
      for (int64_t trial = 0; trial < num_trials; ++trial) {
        const int64_t point = draw_by_weight(closest, random);
        VectorXd candidate = squared_distances(point).cwiseMin(closest);
        const double sum = candidate.sum();
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

  int64_t draw_uniform(PhiloxStream* random) const {
    return std::min(static_cast<int64_t>(random->uniform() * static_cast<double>(num_points_)),
                    num_points_ - 1);
  }

  int64_t draw_by_weight(const VectorXd& weights, PhiloxStream* random) const {
    const double total = weights.sum();
    if (total <= 0) return draw_uniform(random);  // every point lies on a centre
    const double threshold = random->uniform() * total;
    double sum = 0;
    for (int64_t n = 0; n < num_points_; ++n) {
      sum += weights[n];
      if (sum > threshold) return n;
    }
    return num_points_ - 1;
  }

  VectorXd squared_distances(int64_t point) const {
    VectorXd distances(num_points_);
    parallel_for_(0, num_chunks_, 2, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t first = chunk * kChunk, count = std::min(kChunk, num_points_ - first);
        const VectorXd products =
            data_.points.middleCols(first, count).transpose() * data_.points.col(point);
        distances.segment(first, count) = (data_.squared_norms.segment(first, count).array() +
                                           data_.squared_norms[point] - 2 * products.array())
                                              .max(0.0);
      }
    });
    return distances;
  }

  // Every point to its nearest centre, ties to the lower index. Returns whether a label changed.
  // The chunks also sum their points by label for the next centres.
  bool assign() {
    const VectorXd center_norms = centers_.colwise().squaredNorm();
    chunk_sums_.resize(num_chunks_);
    chunk_sizes_.resize(num_chunks_);
    std::vector<char> changed(num_chunks_, 0);
    parallel_for_(0, num_chunks_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk)
        changed[chunk] = assign_chunk(chunk, center_norms);
    });
    return std::find(changed.begin(), changed.end(), 1) != changed.end();
  }

  bool assign_chunk(int64_t chunk, const VectorXd& center_norms) {
    const int64_t first = chunk * kChunk, count = std::min(kChunk, num_points_ - first);
    const auto points = data_.points.middleCols(first, count);
    const MatrixXd products = centers_.transpose() * points;  // [K, chunk]
    MatrixXd& sums = chunk_sums_[chunk];
    VectorXd& sizes = chunk_sizes_[chunk];
    sums.setZero(centers_.rows(), num_clusters_);
    sizes.setZero(num_clusters_);
    bool changed = false;
    for (int64_t n = 0; n < count; ++n) {
      int32_t nearest = 0;
      double smallest = std::numeric_limits<double>::infinity();
      for (int64_t k = 0; k < num_clusters_; ++k) {
        const double distance = center_norms[k] - 2 * products(k, n);
        if (distance < smallest) {
          smallest = distance;
          nearest = static_cast<int32_t>(k);
        }
      }
      changed |= labels_[first + n] != nearest;
      labels_[first + n] = nearest;
      distances_[first + n] = std::max(0.0, smallest + data_.squared_norms[first + n]);
      sums.col(nearest) += points.col(n);
      sizes[nearest] += 1;
    }
    return changed;
  }

  // Centres become the means of their points. Returns the sum of squared shifts.
  double update_centers() {
    MatrixXd sums = chunk_sums_[0];
    VectorXd sizes = chunk_sizes_[0];
    for (int64_t chunk = 1; chunk < num_chunks_; ++chunk) {
      sums += chunk_sums_[chunk];
      sizes += chunk_sizes_[chunk];
    }
    move_empty_clusters(&sums, &sizes);
    double shift = 0;
    for (int64_t k = 0; k < num_clusters_; ++k) {
      if (sizes[k] == 0)
        continue;  // fewer distinct points than clusters: the centre stays on its point
      const VectorXd mean = sums.col(k) / sizes[k];
      shift += (mean - centers_.col(k)).squaredNorm();
      centers_.col(k) = mean;
    }
    return shift;
  }

  // An empty cluster takes over the point farthest from its centre, the next one the second
  // farthest, and so on.
  void move_empty_clusters(MatrixXd* sums, VectorXd* sizes) {
    for (int64_t k = 0; k < num_clusters_; ++k) {
      if ((*sizes)[k] > 0) continue;
      Eigen::Index farthest;
      if (distances_.maxCoeff(&farthest) <= 0) return;
      const int32_t donor = labels_[farthest];
      sums->col(donor) -= data_.points.col(farthest);
      (*sizes)[donor] -= 1;
      sums->col(k) = data_.points.col(farthest);
      (*sizes)[k] = 1;
      labels_[farthest] = static_cast<int32_t>(k);
      distances_[farthest] = 0;
    }
  }

  double inertia() const {
    std::vector<double> partial(num_chunks_, 0.0);
    parallel_for_(0, num_chunks_, 2, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        for (int64_t n = chunk * kChunk; n < std::min((chunk + 1) * kChunk, num_points_); ++n) {
          partial[chunk] += (data_.points.col(n) - centers_.col(labels_[n])).squaredNorm();
        }
      }
    });
    double sum = 0;
    for (const double value : partial) sum += value;
    return sum;
  }

  const PointSet& data_;
  const ParallelFor& parallel_for_;
  const int64_t num_points_, num_clusters_, num_chunks_;
  MatrixXd centers_;             // [C, K]
  std::vector<int32_t> labels_;  // [N]
  VectorXd distances_;           // [N] squared, to the centre of the label
  std::vector<MatrixXd> chunk_sums_;
  std::vector<VectorXd> chunk_sizes_;
};

double mean_channel_variance(const PointSet& data) {
  const VectorXd mean = data.points.rowwise().mean();
  return (data.points.colwise() - mean).squaredNorm() / static_cast<double>(data.points.size());
}

}  // namespace

KMeansResult kmeans(const PointSet& data, int64_t num_clusters, const KMeansOptions& options,
                    const ParallelFor& parallel_for) {
  const double max_shift = options.tol * mean_channel_variance(data);
  KMeansResult best;
  best.inertia = std::numeric_limits<double>::infinity();
  for (int64_t restart = 0; restart < options.num_restarts; ++restart) {
    PhiloxStream random(static_cast<uint64_t>(options.seed), kSeedingStream,
                        static_cast<uint32_t>(restart));
    KMeansResult result =
        KMeansRun(data, num_clusters, parallel_for).run(random, options.max_num_iter, max_shift);
    if (result.inertia < best.inertia) best = std::move(result);
  }
  return best;
}

}  // namespace vtcd
