// SPDX-License-Identifier: MIT
#include "core/concept_mask.h"

#include <algorithm>
#include <vector>

#include "core/formulas/ordered_sum.h"

namespace vtcd {
namespace {

constexpr int64_t kElementsAThread = 1 << 15;  // fewer are not worth waking a thread for

// Calls row(b, head, token) for every token, in the order in which `strides` lay them out: heads
// outside tokens for [B, A, N, C], tokens outside heads for a transposed [B, N, A, C].
template <typename Row>
void for_each_token(const MaskedTokens& tokens, const FeatureStrides& strides,
                    const ParallelFor& parallel_for, const Row& row) {
  if (tokens.num_channels == 0) return;  // rows have no memory: all pointers may be null
  const bool heads_outside = strides.head >= strides.token;
  const int64_t outer = heads_outside ? tokens.num_heads : tokens.num_tokens;
  const int64_t inner = heads_outside ? tokens.num_tokens : tokens.num_heads;
  const int64_t elements = std::max<int64_t>(1, inner * tokens.num_channels);
  const int64_t grain = (kElementsAThread + elements - 1) / elements;
  parallel_for(0, tokens.batch * outer, grain, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      const int64_t b = index / outer, o = index % outer;
      for (int64_t i = 0; i < inner; ++i) heads_outside ? row(b, o, i) : row(b, i, o);
    }
  });
}

template <typename Scalar>
void copy_row(const Scalar* x, int64_t step, int64_t num_channels, Scalar* out, int64_t out_step) {
  if (step == 1 && out_step == 1) {
    std::copy_n(x, num_channels, out);
  } else {
    for (int64_t c = 0; c < num_channels; ++c) out[c * out_step] = x[c * step];
  }
}

// keep is false here: a bool table that keeps a token copies its row.
template <typename Scalar>
void scale_row(const Scalar* /*x*/, int64_t /*step*/, int64_t num_channels, bool /*keep*/,
               Scalar* out, int64_t out_step) {
  if (out_step == 1) {
    std::fill_n(out, num_channels, Scalar(0));
  } else {
    for (int64_t c = 0; c < num_channels; ++c) out[c * out_step] = Scalar(0);
  }
}

template <typename Scalar>
void scale_row(const Scalar* x, int64_t step, int64_t num_channels, Scalar keep, Scalar* out,
               int64_t out_step) {
  if (step == 1 && out_step == 1) {
#pragma omp simd
    for (int64_t c = 0; c < num_channels; ++c) out[c] = x[c] * keep;
  } else {
    for (int64_t c = 0; c < num_channels; ++c) out[c * out_step] = x[c * step] * keep;
  }
}

// The product of a token; the order is that of core/formulas/concept_mask.h.
template <typename Scalar>
double dot(const Scalar* a, int64_t a_step, const Scalar* b, int64_t b_step, int64_t count) {
  double sums[kSumLanes] = {};
  int64_t i = 0;
  if (a_step == 1 && b_step == 1) {
    for (; i + kSumLanes <= count; i += kSumLanes)
      for (int64_t lane = 0; lane < kSumLanes; ++lane)
        sums[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
  }
  for (; i < count; ++i)
    sums[i % kSumLanes] += static_cast<double>(a[i * a_step]) * static_cast<double>(b[i * b_step]);
  return sum_of_lanes(sums);
}

// Adds the sums of the units of some tokens to those of more tokens, and begins them anew. A unit
// that several of the tokens have adds 0 from its second one on.
void hand_on(const int32_t* units, int64_t count, double* from, double* to) {
  for (int64_t n = 0; n < count; ++n) {
    if (units[n] < 0) continue;
    to[units[n]] += from[units[n]];
    from[units[n]] = 0;
  }
}

// grad_keep [B, U]: the products of the tokens [B, A, N], added in the order of
// core/formulas/concept_mask.h.
void sum_by_unit(const MaskedTokens& tokens, const double* products,
                 const ParallelFor& parallel_for, double* grad_keep) {
  const int64_t count = tokens.num_tokens - tokens.num_prefix_tokens;
  parallel_for(0, tokens.batch, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> of_group(tokens.num_units), of_head(tokens.num_units);
    for (int64_t b = begin; b < end; ++b) {
      double* sums = grad_keep + b * tokens.num_units;
      std::fill_n(sums, tokens.num_units, 0.0);
      for (int64_t head = 0; head < tokens.num_heads; ++head) {
        const int32_t* units = tokens.units(b, head);
        const double* product =
            products + (b * tokens.num_heads + head) * tokens.num_tokens + tokens.num_prefix_tokens;
        for (int64_t first = 0; first < count; first += kGroupTokens) {
          const int64_t last = std::min(first + kGroupTokens, count);
          for (int64_t n = first; n < last; ++n)
            if (units[n] >= 0) of_group[units[n]] += product[n];
          hand_on(units + first, last - first, of_group.data(), of_head.data());
        }
        hand_on(units, count, of_head.data(), sums);
      }
    }
  });
}

}  // namespace

template <typename Scalar, typename Factor>
void concept_mask(const MaskedTokens& tokens, const Scalar* x, const FeatureStrides& from,
                  const Factor* keep, const ParallelFor& parallel_for, Scalar* out,
                  const FeatureStrides& to) {
  for_each_token(tokens, to, parallel_for, [&](int64_t b, int64_t head, int64_t token) {
    const int64_t unit = tokens.unit_of(b, head, token);
    const Factor factor = unit < 0 ? Factor(1) : factor_of(keep, b * tokens.num_units + unit);
    const Scalar* row = x + from.offset(b, head, token);
    Scalar* result = out + to.offset(b, head, token);
    if (factor == Factor(1))
      copy_row(row, from.channel, tokens.num_channels, result, to.channel);
    else
      scale_row(row, from.channel, tokens.num_channels, factor, result, to.channel);
  });
}

template <typename Scalar>
void concept_mask_backward(const MaskedTokens& tokens, const Scalar* grad,
                           const FeatureStrides& of_grad, const Scalar* x,
                           const FeatureStrides& from, const Scalar* keep,
                           const ParallelFor& parallel_for, Scalar* grad_x,
                           const FeatureStrides& to, double* grad_keep) {
  std::vector<double> products(tokens.batch * tokens.num_heads * tokens.num_tokens);
  for_each_token(tokens, to, parallel_for, [&](int64_t b, int64_t head, int64_t token) {
    const int64_t unit = tokens.unit_of(b, head, token);
    const Scalar* of_output = grad + of_grad.offset(b, head, token);
    Scalar* of_input = grad_x + to.offset(b, head, token);
    if (unit < 0)
      return copy_row(of_output, of_grad.channel, tokens.num_channels, of_input, to.channel);
    scale_row(of_output, of_grad.channel, tokens.num_channels, keep[b * tokens.num_units + unit],
              of_input, to.channel);
    products[(b * tokens.num_heads + head) * tokens.num_tokens + token] =
        dot(of_output, of_grad.channel, x + from.offset(b, head, token), from.channel,
            tokens.num_channels);
  });
  sum_by_unit(tokens, products.data(), parallel_for, grad_keep);
}

#define VTCD_INSTANTIATE(Scalar, Factor)                                                \
  template void concept_mask(const MaskedTokens&, const Scalar*, const FeatureStrides&, \
                             const Factor*, const ParallelFor&, Scalar*, const FeatureStrides&);
VTCD_INSTANTIATE(uint16_t, bool)
VTCD_INSTANTIATE(uint32_t, bool)
VTCD_INSTANTIATE(uint64_t, bool)
VTCD_INSTANTIATE(float, float)
VTCD_INSTANTIATE(double, double)
#undef VTCD_INSTANTIATE

template void concept_mask_backward(const MaskedTokens&, const float*, const FeatureStrides&,
                                    const float*, const FeatureStrides&, const float*,
                                    const ParallelFor&, float*, const FeatureStrides&, double*);
template void concept_mask_backward(const MaskedTokens&, const double*, const FeatureStrides&,
                                    const double*, const FeatureStrides&, const double*,
                                    const ParallelFor&, double*, const FeatureStrides&, double*);

}  // namespace vtcd
