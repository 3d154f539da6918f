// SPDX-License-Identifier: MIT
// What the CUDA binding of concept_mask calls; the meaning is that of csrc/core/concept_mask.h.
#pragma once

#include <cstdint>

#include "core/formulas/concept_mask.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

// The pointers are those of the device. A unit outside [-1, U) counts as -1; raised to the largest
// of them, each + 1 so that 0 says there is none: outside[0] by -1 - unit, outside[1] by unit.
template <typename Scalar, typename Factor>
void concept_mask(const MaskedTokens& tokens, const Scalar* x, const FeatureStrides& from,
                  const Factor* keep, Scalar* out, const FeatureStrides& to, int64_t* outside,
                  Stream stream);

}  // namespace vtcd::cuda
