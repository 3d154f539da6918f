// SPDX-License-Identifier: MIT
// What the CUDA binding of silhouette calls; the meaning is that of csrc/core/silhouette.h.
#pragma once

#include <cstdint>

#include "core/formulas/scaling.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

// Rows of a tile: the distances of so many points are computed by one block.
inline constexpr int64_t kSilhouetteTile = 64;

// All pointers are those of the device.
template <typename Scalar, typename Label>
struct SilhouetteBatch {
  const Scalar* data;      // [ΣN, C]
  const int64_t* offsets;  // [P + 1]
  const int64_t* tiles;    // [P + 1] tiles of the problems before each
  const Label* labels;     // [ΣN]
  int64_t num_rows;        // ΣN
  int64_t num_problems;    // P
  int64_t num_channels;    // C
  int64_t num_tiles;       // tiles[P]
};

struct SilhouetteWorkspace {
  double* origins;     // [P, C]
  Centring* centring;  // [P]
  double* points;      // [ΣN, C] sorted by label
  double* norms;       // [ΣN] squared, of the same
  int64_t* labels;     // [ΣN] of the same
  int64_t* order;      // [ΣN] the row that each was
};

// coefficients [ΣN]. found[0] becomes the largest ΣN - row with a negative label.
template <typename Scalar, typename Label>
void silhouette(const SilhouetteBatch<Scalar, Label>& batch, const SilhouetteWorkspace& workspace,
                Scalar* coefficients, int64_t* found, Stream stream);

}  // namespace vtcd::cuda
