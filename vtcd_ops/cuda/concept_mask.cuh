// SPDX-License-Identifier: MIT
// Kernels of concept_mask. A block works on the tokens of one head (or, for a transposed
// [B, N, A, C], on the heads of one token), a thread on 16 bytes of a row where they are
// contiguous: memory traffic is all that this takes.
#pragma once

#include <cstdint>

#include "cuda/concept_mask.h"
#include "cuda/launch.h"

namespace vtcd::cuda {

inline constexpr unsigned kMaskThreads = 256;
inline constexpr int64_t kPacksAThread = 4;  // loads in flight

// kWidth neighbouring channels, loaded and stored at once.
template <typename Scalar, int kWidth>
struct alignas(sizeof(Scalar) * kWidth) Pack {
  Scalar values[kWidth];
};

// The unit of a token; one outside [-1, U) is reported and counts as -1.
__device__ inline int64_t checked_unit(const MaskedTokens& tokens, int64_t unit, int64_t* outside) {
  if (unit >= -1 && unit < tokens.num_units) return unit;
  atomicMax(reinterpret_cast<unsigned long long*>(&outside[unit < 0 ? 0 : 1]),
            static_cast<unsigned long long>((unit < 0 ? -1 - unit : unit) + 1));
  return -1;
}

// The row of a pack. A division of 64 bits takes as long as all else.
VTCD_HOST_DEVICE inline int64_t row_of_pack(int64_t pack, uint32_t packs_a_row) {
  return pack <= 0xFFFFFFFF ? static_cast<int64_t>(static_cast<uint32_t>(pack) / packs_a_row)
                            : pack / packs_a_row;
}

// Block (i, j): tokens of head i % A in sequence i / A, or heads of token i % N; the packs of its
// rows are shared out among the blocks j.
template <typename Scalar, typename Factor, int kWidth>
__global__ void __launch_bounds__(kMaskThreads)
    concept_mask_kernel(MaskedTokens tokens, const Scalar* x, FeatureStrides from,
                        const Factor* keep, Scalar* out, FeatureStrides to, int64_t* outside,
                        bool heads_outside) {
  const int64_t outer = heads_outside ? tokens.num_heads : tokens.num_tokens;
  const int64_t inner = heads_outside ? tokens.num_tokens : tokens.num_heads;
  const int64_t b = blockIdx.x / outer, o = blockIdx.x % outer;
  const auto packs_a_row = static_cast<uint32_t>(tokens.num_channels / kWidth);
  const int64_t num_packs = inner * packs_a_row;
  const int64_t step = int64_t{gridDim.y} * kMaskThreads;
  for (int64_t pack = int64_t{blockIdx.y} * kMaskThreads + threadIdx.x; pack < num_packs;
       pack += step) {
    const int64_t i = row_of_pack(pack, packs_a_row);
    const int64_t channel = (pack - i * packs_a_row) * kWidth;
    const int64_t head = heads_outside ? o : i, token = heads_outside ? i : o;
    const int64_t unit = checked_unit(tokens, tokens.unit_of(b, head, token), outside);
    using Row = Pack<Scalar, kWidth>;
    Row row =
        *reinterpret_cast<const Row*>(x + from.offset(b, head, token) + channel * from.channel);
    if (unit >= 0) {
      const Factor factor = factor_of(keep, b * tokens.num_units + unit);
      for (int c = 0; c < kWidth; ++c) row.values[c] = masked_value(row.values[c], factor);
    }
    *reinterpret_cast<Row*>(out + to.offset(b, head, token) + channel * to.channel) = row;
  }
}

// Whether every row begins on a multiple of `width` elements and has a multiple of them.
template <typename Scalar>
bool is_packed(const Scalar* data, const FeatureStrides& strides, int64_t num_channels,
               int64_t width) {
  const bool aligned = reinterpret_cast<uintptr_t>(data) % (width * sizeof(Scalar)) == 0;
  return aligned && strides.channel == 1 && num_channels % width == 0 &&
         strides.batch % width == 0 && strides.head % width == 0 && strides.token % width == 0;
}

template <typename Scalar, typename Factor, int kWidth>
void launch_concept_mask(const MaskedTokens& tokens, const Scalar* x, const FeatureStrides& from,
                         const Factor* keep, Scalar* out, const FeatureStrides& to,
                         int64_t* outside, Stream stream) {
  const bool heads_outside = to.head >= to.token;
  const int64_t outer = heads_outside ? tokens.num_heads : tokens.num_tokens;
  const int64_t inner = heads_outside ? tokens.num_tokens : tokens.num_heads;
  const int64_t packs = inner * (tokens.num_channels / kWidth);
  const int64_t share = kMaskThreads * kPacksAThread;
  const int64_t parts = std::min<int64_t>((packs + share - 1) / share, 65535);
  simt::launch(&concept_mask_kernel<Scalar, Factor, kWidth>,
               simt::grid(tokens.batch * outer, parts), dim3(kMaskThreads), 0, stream, tokens, x,
               from, keep, out, to, outside, heads_outside);
}

template <typename Scalar, typename Factor>
void concept_mask(const MaskedTokens& tokens, const Scalar* x, const FeatureStrides& from,
                  const Factor* keep, Scalar* out, const FeatureStrides& to, int64_t* outside,
                  Stream stream) {
  constexpr int kWidth = 16 / sizeof(Scalar);
  if (tokens.batch * tokens.num_heads * tokens.num_tokens * tokens.num_channels == 0) return;
  const bool packed = is_packed(x, from, tokens.num_channels, kWidth) &&
                      is_packed(out, to, tokens.num_channels, kWidth);
  if (packed) {
    launch_concept_mask<Scalar, Factor, kWidth>(tokens, x, from, keep, out, to, outside, stream);
  } else {
    launch_concept_mask<Scalar, Factor, 1>(tokens, x, from, keep, out, to, outside, stream);
  }
}

}  // namespace vtcd::cuda
