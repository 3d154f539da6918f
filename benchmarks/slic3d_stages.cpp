// SPDX-License-Identifier: MIT
// Times the stages of slic3d: `slic3d_stages FEATURES C t h w T H W COMPACTNESS REPEATS` prints the
// median milliseconds of each stage as JSON. FEATURES is a file of float32 [C, t, h, w]. The stages
// are called one by one here, in the order of core/slic3d/slic3d.cpp.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/slic3d/cell_rounds.h"
#include "core/slic3d/connectivity.h"

using namespace vtcd;

int main(int count, char** arguments) {
  if (count != 11) return 2;
  auto number = [&](int i) { return std::strtoll(arguments[i], nullptr, 10); };
  const int64_t num_channels = number(2);
  const Shape3 grid{number(3), number(4), number(5)}, size{number(6), number(7), number(8)};
  const double compactness = std::strtod(arguments[9], nullptr);
  std::vector<float> features(num_channels * grid.count());
  std::ifstream file(arguments[1], std::ios::binary);
  file.read(reinterpret_cast<char*>(features.data()), features.size() * sizeof(float));
  if (!file) return 2;
  std::vector<int32_t> labels(size.count());
  std::map<std::string, std::vector<double>> times;
  const ParallelFor parallel_for = serial_for;
  for (int64_t i = 0; i < number(10) + 2; ++i) {
    auto last = std::chrono::steady_clock::now();
    auto end_of = [&](const char* stage) {
      const auto now = std::chrono::steady_clock::now();
      if (i >= 2) times[stage].push_back(std::chrono::duration<double>(now - last).count());
      last = now;
    };
    const CellGrid cells(grid, size, Interpolation::kTrilinear);
    const FeatureRange range =
        interpolated_range(features.data(), num_channels, cells, TokensInUse(cells));
    end_of("range");
    const Seeds seeds(size, 12);
    const FeatureScale scale{range.low, range.high - range.low, 1 / compactness, 0};
    const SpatialScale space{{1, 1, 1}, seeds.spatial_weight};
    const DistanceBounds bounds(range, scale, space, size);
    CellRounds rounds(features.data(), num_channels, cells, seeds, range, scale, bounds,
                      parallel_for, labels.data());
    end_of("scaling");
    if (!rounds.run(10)) return 3;
    end_of("rounds");
    const int64_t segment = size.count() / seeds.count();
    enforce_connectivity(size, segment / 2, 3 * segment, labels.data());
    end_of("connectivity");
  }
  std::string separator = "{";
  for (auto& [stage, seconds] : times) {
    std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
    std::printf("%s\"%s_ms\": %.4f", separator.c_str(), stage.c_str(),
                1e3 * seconds[seconds.size() / 2]);
    separator = ", ";
  }
  std::printf("}\n");
}
