// SPDX-License-Identifier: MIT
// The torch-free core under libFuzzer: arguments that pass the checks of the operators, of any
// shape and any finite value, and what must hold of every result: `make fuzz`.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

#include "core/cnmf/cnmf.h"
#include "core/contour_match.h"
#include "core/kmeans.h"
#include "core/point_set.h"
#include "core/rosetta/rosetta.h"
#include "core/silhouette.h"
#include "core/slic3d/connectivity.h"
#include "core/slic3d/slic3d.h"
#include "core/tubelet_pool.h"

namespace vtcd {
namespace {

#define HOLDS(condition)            \
  do {                              \
    if (!(condition)) std::abort(); \
  } while (false)

// Numbers of all sizes: plain ones, hostile ones, and any bits that are finite.
double number(FuzzedDataProvider& data) {
  static constexpr double kHostile[] = {0,      -0.0,   1,      -1,     1e300, -1e300,
                                        1e-300, 5e-324, 0x1p31, 0x1p62, 1e-8,  1.0000000000000002};
  switch (data.ConsumeIntegralInRange(0, 3)) {
    case 0:
      return data.ConsumeIntegralInRange(-8, 8);
    case 1:
      return data.PickValueInArray(kHostile);
    case 2:
      return data.ConsumeFloatingPointInRange(-1.0, 1.0);
    default: {
      const double any = data.ConsumeFloatingPoint<double>();
      return std::isfinite(any) ? any : 0.5;
    }
  }
}

Eigen::MatrixXd matrix(FuzzedDataProvider& data, int64_t rows, int64_t columns) {
  Eigen::MatrixXd values(rows, columns);
  for (double& value : values.reshaped()) value = number(data);
  return values;
}

std::vector<int32_t> labelling(FuzzedDataProvider& data, int64_t size, int64_t count) {
  std::vector<int32_t> labels(size);
  for (int64_t i = 0; i < size; ++i) {
    labels[i] = data.ConsumeIntegralInRange<int32_t>(0, static_cast<int32_t>(count) - 1);
  }
  return labels;
}

void fuzz_kmeans(FuzzedDataProvider& data) {
  const int64_t size = data.ConsumeIntegralInRange(1, 40),
                channels = data.ConsumeIntegralInRange(1, 9);
  const int64_t k = data.ConsumeIntegralInRange<int64_t>(1, size);
  const KMeansOptions options{data.ConsumeIntegralInRange(1, 3), data.ConsumeIntegralInRange(1, 20),
                              std::abs(number(data)), data.ConsumeIntegral<int64_t>()};
  const KMeansResult result = kmeans(matrix(data, channels, size), k, options, serial_for);
  for (const int32_t label : result.labels) HOLDS(label >= 0 && label < k);
  HOLDS(result.centers.allFinite() && result.inertia >= 0);
}

void fuzz_silhouette(FuzzedDataProvider& data) {
  const int64_t size = data.ConsumeIntegralInRange(1, 40),
                channels = data.ConsumeIntegralInRange(1, 9);
  std::vector<int64_t> labels(size);
  for (int64_t& label : labels) label = data.ConsumeIntegralInRange(0, 5);
  std::vector<double> coefficients(size);
  silhouette(matrix(data, channels, size), labels.data(), coefficients.data(), serial_for);
  for (const double one : coefficients) HOLDS(std::isnan(one) || std::abs(one) <= 1 + 1e-9);
}

// As the operator hands its problems to the core: by a power of two below 1.
Eigen::MatrixXd scaled(Eigen::MatrixXd values) {
  const double largest = values.size() > 0 ? values.cwiseAbs().maxCoeff() : 0;
  if (largest == 0) return values;
  const int exponent = -std::ilogb(largest) - 1;
  for (double& value : values.reshaped()) value = std::ldexp(value, exponent);
  return values;
}

void fuzz_cnmf(FuzzedDataProvider& data) {
  const int64_t size = data.ConsumeIntegralInRange(1, 24),
                channels = data.ConsumeIntegralInRange(1, 9);
  const int64_t k = data.ConsumeIntegralInRange<int64_t>(1, std::min<int64_t>(size, 6));
  const PointSet points(scaled(matrix(data, channels, size)));
  const std::vector<int32_t> labels = labelling(data, size, k);
  const CnmfOptions options{data.ConsumeIntegralInRange(1, 30), std::abs(number(data))};
  const CnmfFactors factors = data.ConsumeBool()
                                  ? cnmf_descent(points, labels.data(), k, options, serial_for)
                                  : cnmf_multiplicative(points, labels.data(), k, options);
  if (!std::isfinite(factors.error)) return;  // which the operator refuses
  HOLDS(factors.weights.allFinite() && factors.encoding.allFinite() && factors.centers.allFinite());
  HOLDS(factors.weights.minCoeff() >= 0 && factors.encoding.minCoeff() >= 0 && factors.error >= 0);
}

Shape3 shape(FuzzedDataProvider& data, int64_t most) {
  return {data.ConsumeIntegralInRange<int64_t>(1, most),
          data.ConsumeIntegralInRange<int64_t>(1, most),
          data.ConsumeIntegralInRange<int64_t>(1, most)};
}

Interpolation interpolation(FuzzedDataProvider& data) {
  return data.ConsumeBool() ? Interpolation::kTrilinear : Interpolation::kNearest;
}

void fuzz_slic3d(FuzzedDataProvider& data) {
  const Shape3 grid = shape(data, 5), size = shape(data, 9);
  const int64_t channels = data.ConsumeIntegralInRange(1, 5);
  Slic3dOptions options;
  options.num_segments = data.ConsumeIntegralInRange(1, 40);
  options.compactness = std::max(std::abs(number(data)), 5e-324);
  options.max_num_iter = data.ConsumeIntegralInRange(1, 5);
  for (double& spacing : options.spacing) spacing = std::max(std::abs(number(data)), 5e-324);
  options.enforce_connectivity = data.ConsumeBool();
  options.min_size_factor = std::abs(number(data));
  options.max_size_factor = std::abs(number(data));
  options.interpolation = interpolation(data);
  std::vector<float> features(grid.count() * channels);
  for (float& value : features) value = static_cast<float>(number(data));
  std::vector<int32_t> labels(size.count(), -7);
  const Slic3dStatus status =
      slic3d(features.data(), channels, grid, size, options, serial_for, labels.data());
  const bool finite = std::ranges::all_of(features, [](float x) { return std::isfinite(x); });
  HOLDS(status == Slic3dStatus::kOk || !finite);  // not finite: fine where no voxel sees the token
  if (status == Slic3dStatus::kOk) {
    for (const int32_t label : labels) HOLDS(label >= 0 && label < size.count());
  }
}

void fuzz_connectivity(FuzzedDataProvider& data) {
  const Shape3 size = shape(data, 8);
  std::vector<int32_t> labels = labelling(data, size.count(), 9);
  enforce_connectivity(size, data.ConsumeIntegralInRange(0, 40),
                       data.ConsumeIntegralInRange(1, 200), labels.data());
  for (const int32_t label : labels) HOLDS(label >= 0 && label < size.count());
}

void fuzz_tubelet_pool(FuzzedDataProvider& data) {
  const CellGrid cells(shape(data, 5), shape(data, 9), interpolation(data));
  const int64_t channels = data.ConsumeIntegralInRange(1, 5);
  const int64_t num_tubelets = data.ConsumeIntegralInRange(1, 12);
  std::vector<double> features(cells.grid.count() * channels), means(num_tubelets * channels);
  for (double& value : features) value = number(data);
  std::vector<int32_t> labels = labelling(data, cells.size.count(), num_tubelets + 1);
  for (int32_t& label : labels) --label;
  std::vector<int64_t> counts(num_tubelets);
  tubelet_pool(features.data(), channels, labels.data(), num_tubelets, cells, serial_for,
               means.data(), counts.data());
  int64_t total = 0;
  for (const int64_t count : counts) total += count;
  HOLDS(total == std::ranges::count_if(labels, [](int32_t label) { return label >= 0; }));
}

void fuzz_contour_match(FuzzedDataProvider& data) {
  const int64_t height = data.ConsumeIntegralInRange(1, 12),
                width = data.ConsumeIntegralInRange(1, 12);
  std::vector<uint8_t> prediction(height * width), truth(height * width);
  for (uint8_t& pixel : prediction) pixel = data.ConsumeBool();
  for (uint8_t& pixel : truth) pixel = data.ConsumeBool();
  int64_t counts[4];
  contour_match(prediction.data(), truth.data(), 1, height, width,
                data.ConsumeIntegralInRange<int64_t>(0, 1 << 20), serial_for, counts);
  HOLDS(0 <= counts[0] && counts[0] <= counts[1] && 0 <= counts[2] && counts[2] <= counts[3]);
}

void fuzz_rosetta(FuzzedDataProvider& data) {
  SupportSet supports;
  supports.models = {0};
  for (int64_t models = data.ConsumeIntegralInRange(2, 4); models > 0; --models) {
    supports.models.push_back(supports.models.back() + data.ConsumeIntegralInRange(0, 4));
  }
  supports.videos = {0};
  for (int64_t videos = data.ConsumeIntegralInRange(1, 3); videos > 0; --videos) {
    supports.videos.push_back(supports.videos.back() + data.ConsumeIntegralInRange(0, 3));
  }
  std::vector<uint64_t> words(supports.models.back() * supports.videos.back() + 1);
  for (uint64_t& word : words) word = data.ConsumeIntegral<uint64_t>();
  supports.words = words.data();
  const RosettaOptions options{data.ConsumeProbability<double>(), data.ConsumeIntegralInRange(2, 5),
                               data.ConsumeIntegralInRange(0, 5),
                               data.ConsumeIntegralInRange(1, 50)};
  const RosettaResult result = find_rosetta(supports, options, serial_for);
  for (const TupleList& list : result.orders) {
    for (const double score : list.scores) HOLDS(score >= 0 && score <= 1);
    for (const int32_t member : list.members)
      HOLDS(member >= -1 && member < supports.models.back());
  }
}

}  // namespace
}  // namespace vtcd

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  switch (data.ConsumeIntegralInRange(0, 7)) {
    case 0:
      vtcd::fuzz_kmeans(data);
      break;
    case 1:
      vtcd::fuzz_silhouette(data);
      break;
    case 2:
      vtcd::fuzz_cnmf(data);
      break;
    case 3:
      vtcd::fuzz_slic3d(data);
      break;
    case 4:
      vtcd::fuzz_connectivity(data);
      break;
    case 5:
      vtcd::fuzz_tubelet_pool(data);
      break;
    case 6:
      vtcd::fuzz_contour_match(data);
      break;
    default:
      vtcd::fuzz_rosetta(data);
  }
  return 0;
}
