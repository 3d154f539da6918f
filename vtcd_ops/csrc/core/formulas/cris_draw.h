// SPDX-License-Identifier: MIT
// The masks of CRIS (equation 6 of the paper): how one block of them is drawn.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/formulas/host_device.h"
#include "core/formulas/philox.h"

namespace vtcd {

// How masks depend on each other. Masks of different blocks are independent.
//   simple       a block is one mask.
//   antithetic   a block is two masks that remove the first and the last num_removed units of one
//                random permutation.
//   balanced     a block is kBalancedBlock masks in which the removal counts of any two units
//                differ by at most 1.
enum class MaskDesign { kSimple, kAntithetic, kBalanced };

inline constexpr int64_t kBalancedBlock = 20;

VTCD_HOST_DEVICE inline int64_t block_length(MaskDesign design) {
  return design == MaskDesign::kSimple ? 1 : design == MaskDesign::kAntithetic ? 2 : kBalancedBlock;
}

// Units that a mask removes: ratio * num_units rounded to the nearest integer, a half upwards, but
// at least 1 and at most num_units - 1.
inline int64_t removed_of(int64_t num_units, double ratio) {
  const auto nearest =
      static_cast<int64_t>(std::floor(ratio * static_cast<double>(num_units) + 0.5));
  return std::clamp<int64_t>(nearest, 1, num_units - 1);
}

// A random permutation of the units, drawn from either end as far as it is needed.
class Permutation {
 public:
  // units: [num_units], working memory.
  VTCD_HOST_DEVICE Permutation(uint32_t* units, int64_t num_units)
      : units_(units), num_units_(static_cast<uint32_t>(num_units)) {}

  VTCD_HOST_DEVICE void reset() {
    for (uint32_t i = 0; i < num_units_; ++i) units_[i] = i;
    front_ = 0;
    back_ = num_units_;
  }

  VTCD_HOST_DEVICE uint32_t next_front(PhiloxStream& random) {
    swap(front_, front_ + below(random, back_ - front_));
    return units_[front_++];
  }

  VTCD_HOST_DEVICE uint32_t next_back(PhiloxStream& random) {
    swap(back_ - 1, front_ + below(random, back_ - front_));
    return units_[--back_];
  }

 private:
  VTCD_HOST_DEVICE void swap(uint32_t i, uint32_t k) {
    const uint32_t unit = units_[i];
    units_[i] = units_[k];
    units_[k] = unit;
  }

  // Uniform on 0 to bound - 1, without bias (Lemire 2019).
  VTCD_HOST_DEVICE static uint32_t below(PhiloxStream& random, uint32_t bound) {
    uint64_t product = uint64_t{random.next()} * bound;
    if (static_cast<uint32_t>(product) < bound) {
      const uint32_t threshold = (0u - bound) % bound;
      while (static_cast<uint32_t>(product) < threshold) product = uint64_t{random.next()} * bound;
    }
    return static_cast<uint32_t>(product >> 32);
  }

  uint32_t* units_;
  uint32_t num_units_;
  uint32_t front_ = 0, back_ = 0;
};

// Draws the masks of one block at a time. Mask i is a pure function of (num_units, num_removed,
// seed, design, i).
class BlockSampler {
 public:
  // units: [num_units], and, for a balanced design, removals_left: [num_units]; working memory.
  VTCD_HOST_DEVICE BlockSampler(int64_t num_units, int64_t num_removed, MaskDesign design,
                                uint32_t* units, int64_t* removals_left)
      : num_units_(num_units),
        num_removed_(num_removed),
        // The smaller set, removed or kept, is drawn; the other one is what it leaves.
        num_drawn_(num_removed < num_units - num_removed ? num_removed : num_units - num_removed),
        draws_removed_(num_drawn_ == num_removed),
        design_(design),
        permutation_(units, num_units),
        removals_left_(removals_left) {}

  // Writes those masks of a block that are among the wanted ones, start to start + num_masks - 1.
  //   keep  [num_masks, num_units]: false where the mask removes the unit
  VTCD_HOST_DEVICE void draw(uint64_t seed, int64_t block, int64_t start, int64_t num_masks,
                             bool* keep) {
    PhiloxStream random(PhiloxDomain::kMasks, seed, static_cast<uint64_t>(block));
    first_ = block * block_length(design_) - start;
    num_masks_ = num_masks;
    keep_ = keep;
    switch (design_) {
      case MaskDesign::kSimple:
        permutation_.reset();
        return draw_set(mask(0), random, true);
      case MaskDesign::kAntithetic:
        return draw_pair(random);
      case MaskDesign::kBalanced:
        return draw_balanced(random);
    }
  }

 private:
  // Mask i of the block, or null where it is not wanted.
  VTCD_HOST_DEVICE bool* mask(int64_t i) const {
    const int64_t row = first_ + i;
    return row >= 0 && row < num_masks_ ? keep_ + row * num_units_ : nullptr;
  }

  // A mask whose drawn set is taken from the front or the back of the permutation.
  VTCD_HOST_DEVICE void draw_set(bool* mask, PhiloxStream& random, bool from_front) {
    if (mask != nullptr) {
      for (int64_t i = 0; i < num_units_; ++i) mask[i] = draws_removed_;
    }
    for (int64_t i = 0; i < num_drawn_; ++i) {
      const uint32_t unit =
          from_front ? permutation_.next_front(random) : permutation_.next_back(random);
      if (mask != nullptr) mask[unit] = !draws_removed_;
    }
  }

  // The first and the last num_removed units of a permutation. Where more are removed than kept,
  // the first mask keeps the end of the permutation and the second one its beginning.
  VTCD_HOST_DEVICE void draw_pair(PhiloxStream& random) {
    permutation_.reset();
    draw_set(mask(draws_removed_ ? 0 : 1), random, true);
    draw_set(mask(draws_removed_ ? 1 : 0), random, false);
  }

  // Every unit has a number of removals to receive in the block, equal but for the remainder of
  // the division; a mask gives unit i one of its removals_left with probability removals_left /
  // masks_left, by systematic sampling of the units in random order: exact in integers.
  VTCD_HOST_DEVICE void draw_balanced(PhiloxStream& random) {
    const int64_t removals = kBalancedBlock * num_removed_;
    for (int64_t i = 0; i < num_units_; ++i) removals_left_[i] = removals / num_units_;
    permutation_.reset();
    for (int64_t i = 0; i < removals % num_units_; ++i)
      ++removals_left_[permutation_.next_front(random)];
    for (int64_t masks_left = kBalancedBlock; masks_left > 0; --masks_left)
      draw_systematic(mask(kBalancedBlock - masks_left), random, masks_left);
  }

  // Advances by removals_left of each unit; a unit is removed where a multiple of masks_left is
  // passed. All steps together are num_removed multiples.
  VTCD_HOST_DEVICE void draw_systematic(bool* mask, PhiloxStream& random, int64_t masks_left) {
    auto position = static_cast<int64_t>(random.uniform() * static_cast<double>(masks_left));
    permutation_.reset();
    for (int64_t i = 0; i < num_units_; ++i) {
      const uint32_t unit = permutation_.next_front(random);
      position += removals_left_[unit];
      const bool removed = position >= masks_left;
      if (removed) {
        position -= masks_left;
        --removals_left_[unit];
      }
      if (mask != nullptr) mask[unit] = !removed;
    }
  }

  int64_t num_units_, num_removed_, num_drawn_;
  bool draws_removed_;
  MaskDesign design_;
  Permutation permutation_;
  int64_t* removals_left_;  // [U], balanced only
  int64_t first_ = 0;       // row of `keep` of the block's first mask
  int64_t num_masks_ = 0;
  bool* keep_ = nullptr;
};

}  // namespace vtcd
