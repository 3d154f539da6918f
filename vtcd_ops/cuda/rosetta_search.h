// SPDX-License-Identifier: MIT
// What the scorer of the device (rosetta_scorer.h) calls. Pointers are those of the device.
#pragma once

#include <cstdint>

#include "core/formulas/rosetta.h"
#include "cuda/stream.h"

namespace vtcd::cuda {

struct JointCount {
  int64_t common;  // voxels of every support
  int64_t any;     // voxels of at least one
};

struct DeviceSupports {
  SupportRows rows;
  const int64_t* sizes;       // [C, V] voxels of every support
  const int32_t* model_ends;  // [C] where the concepts of a concept's model end
};

// Tuples that score enough, in any order: `count` is raised by one for each.
struct FoundTuples {
  int64_t* keys;
  double* scores;
  unsigned long long* count;
};

// A pair of which some videos have been counted.
struct StartedPair {
  int32_t a, b;
  int64_t video;        // the next one
  double total, bound;  // sums of ratios: so far, and as far as is still possible
  double counted;       // videos with a union that is not empty
};

struct StartedPairs {
  StartedPair* pairs;
  unsigned long long* count;
};

// core's Branches, and what the members of each share and cover.
struct DeviceBranches {
  int64_t count, length, num_candidates;
  const int32_t* members;     // [B, length]
  const double* bounds;       // [B]
  const int64_t* begins;      // [B]
  const int64_t* firsts;      // [B + 1]
  const int32_t* extensions;  // concepts
  const double* extension_bounds;
  JointCount* joint;  // [B, V], a workspace
};

// Pairs of a concept of [begin, end) and a later one of another model.
struct PairBlock {
  int64_t begin, end;
  int64_t first_column;  // no concept before it makes a pair

  int64_t num_row_tiles() const { return (end - begin + 31) / 32; }
  int64_t num_column_tiles(int64_t num_concepts) const {
    return (num_concepts - first_column + 31) / 32;
  }
};

// A tile's pairs are counted together until so few remain; there is room for them in StartedPairs.
inline constexpr int64_t kFewPairs = 256;

void support_sizes(const SupportRows& supports, int64_t* sizes, Stream stream);

// keys: a * C + b.
void score_pairs(const DeviceSupports& supports, const PairBlock& block, double least,
                 const StartedPairs& started, const FoundTuples& found, Stream stream);

// candidates [Q, order]. keys: which candidate.
void score_tuples(const DeviceSupports& supports, const int32_t* candidates, int64_t count,
                  int64_t order, double least, const FoundTuples& found, Stream stream);

// scores [num_candidates]: where at least `least`, else -1.
void score_extensions(const DeviceSupports& supports, const DeviceBranches& branches, double least,
                      double* scores, Stream stream);

}  // namespace vtcd::cuda
