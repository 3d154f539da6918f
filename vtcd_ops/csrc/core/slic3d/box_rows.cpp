// SPDX-License-Identifier: MIT
#include "core/slic3d/box_rows.h"

namespace vtcd {

RowLanes::RowLanes(int64_t num_z, int64_t num_y)
    : num_packs_((num_z * num_y + kFloatPackSize - 1) / kFloatPackSize),
      values_(num_packs_ * kParts * kFloatPackSize) {
  auto fraction = [](int64_t offset, int64_t count) {
    return count > 1 ? static_cast<double>(offset) / static_cast<double>(count - 1) : 0.0;
  };
  for (int64_t row = 0; row < num_z * num_y; ++row) {
    const int64_t z = row / num_y, y = row % num_y;
    const double at_z = fraction(z, num_z), at_y = fraction(y, num_y);
    const double part[kParts] = {
        (1 - at_z) * (1 - at_y), (1 - at_z) * at_y,      at_z * (1 - at_y),          at_z * at_y,
        static_cast<double>(y),  static_cast<double>(z), static_cast<double>(y * z), 1};
    float* to = &values_[row / kFloatPackSize * kParts * kFloatPackSize + row % kFloatPackSize];
    for (int64_t i = 0; i < kParts; ++i) to[i * kFloatPackSize] = static_cast<float>(part[i]);
  }
}

RowLanesOfBoxes::RowLanesOfBoxes(const CellGrid& cells)
    : place_((kMaxCellLength + 1) * (kMaxCellLength + 1), -1) {
  for (const AxisCell& z : cells.z)
    for (const AxisCell& y : cells.y) {
      int32_t& place = place_[z.count * (kMaxCellLength + 1) + y.count];
      if (place >= 0) continue;
      place = static_cast<int32_t>(lanes_.size());
      lanes_.emplace_back(z.count, y.count);
    }
}

}  // namespace vtcd
