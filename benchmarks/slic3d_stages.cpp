// SPDX-License-Identifier: MIT
// Times the stages of slic3d: `slic3d_stages FEATURES C t h w T H W COMPACTNESS REPEATS` prints the
// median milliseconds of each stage as JSON. FEATURES is a file of float32 [C, t, h, w].
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "core/slic3d/slic3d.h"

int main(int count, char** arguments) {
  if (count != 11) return 2;
  auto number = [&](int i) { return std::strtoll(arguments[i], nullptr, 10); };
  const int64_t num_channels = number(2);
  const vtcd::Shape3 grid{number(3), number(4), number(5)}, size{number(6), number(7), number(8)};
  vtcd::Slic3dOptions options;
  options.compactness = std::strtod(arguments[9], nullptr);
  std::vector<float> features(num_channels * grid.count());
  std::ifstream file(arguments[1], std::ios::binary);
  file.read(reinterpret_cast<char*>(features.data()), features.size() * sizeof(float));
  if (!file) return 2;
  std::vector<int32_t> labels(size.count());
  std::map<std::string, std::vector<double>> times;
  for (int64_t i = 0; i < number(10) + 2; ++i) {
    vtcd::Slic3dTimes t;
    vtcd::slic3d(features.data(), num_channels, grid, size, options, vtcd::serial_for,
                 labels.data(), &t);
    if (i < 2) continue;  // warm-up
    times["range"].push_back(t.range);
    times["rescaling"].push_back(t.rescaling);
    times["seeds"].push_back(t.seeds);
    times["assignment"].push_back(t.assignment);
    times["update"].push_back(t.update);
    times["connectivity"].push_back(t.connectivity);
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
