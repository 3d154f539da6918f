// SPDX-License-Identifier: MIT
#include "core/distinct_points.h"

#include <algorithm>

namespace vtcd {
namespace {

struct Entry {
  double first;  // the point's first channel: most comparisons need no more
  int64_t point;
};

}  // namespace

DistinctPoints::DistinctPoints(const Eigen::MatrixXd& all) : group(all.cols()) {
  const int64_t num_points = all.cols(), num_channels = all.rows();
  std::vector<Entry> order(num_points);
  for (int64_t n = 0; n < num_points; ++n) order[n] = {all(0, n), n};
  const auto data = [&](const Entry& entry) { return all.data() + entry.point * num_channels; };
  std::sort(order.begin(), order.end(), [&](const Entry& a, const Entry& b) {
    if (a.first != b.first) return a.first < b.first;
    const auto [left, right] = std::mismatch(data(a), data(a) + num_channels, data(b));
    return left == data(a) + num_channels ? a.point < b.point : *left < *right;
  });
  // The first of a run of equal points stands for all.
  for (int64_t i = 0; i < num_points; ++i) {
    const bool repeats =
        i > 0 && std::equal(data(order[i]), data(order[i]) + num_channels, data(order[i - 1]));
    group[order[i].point] = repeats ? group[order[i - 1].point] : order[i].point;
  }
  std::vector<double> counts;
  for (int64_t n = 0; n < num_points; ++n) {
    if (group[n] == n) {
      group[n] = static_cast<int64_t>(columns.size());
      columns.push_back(n);
      counts.push_back(0);
    } else {
      group[n] = group[group[n]];  // an earlier point, numbered already
    }
    counts[group[n]] += 1;
  }
  points = all(Eigen::all, columns);
  weights = Eigen::Map<const Eigen::VectorXd>(counts.data(), points.cols());
  squared_norms = points.colwise().squaredNorm();
}

}  // namespace vtcd
