// SPDX-License-Identifier: MIT
#include "core/cris_sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "core/formulas/philox.h"

namespace vtcd {
namespace {

// A random permutation of the units, drawn from either end as far as it is needed.
class Permutation {
 public:
  explicit Permutation(int64_t num_units) : units_(num_units) {}

  void reset() {
    std::iota(units_.begin(), units_.end(), 0u);
    front_ = 0;
    back_ = static_cast<uint32_t>(units_.size());
  }

  uint32_t next_front(PhiloxStream& random) {
    std::swap(units_[front_], units_[front_ + below(random, back_ - front_)]);
    return units_[front_++];
  }

  uint32_t next_back(PhiloxStream& random) {
    std::swap(units_[back_ - 1], units_[front_ + below(random, back_ - front_)]);
    return units_[--back_];
  }

 private:
  // Uniform on 0 to bound - 1, without bias (Lemire 2019).
  static uint32_t below(PhiloxStream& random, uint32_t bound) {
    uint64_t product = uint64_t{random.next()} * bound;
    if (static_cast<uint32_t>(product) < bound) {
      const uint32_t threshold = -bound % bound;
      while (static_cast<uint32_t>(product) < threshold) product = uint64_t{random.next()} * bound;
    }
    return static_cast<uint32_t>(product >> 32);
  }

  std::vector<uint32_t> units_;
  uint32_t front_ = 0, back_ = 0;
};

// Draws the masks of one block.
class BlockSampler {
 public:
  BlockSampler(int64_t num_units, int64_t num_removed, MaskDesign design)
      : num_units_(num_units),
        num_removed_(num_removed),
        // The smaller set, removed or kept, is drawn; the other one is what it leaves.
        num_drawn_(std::min(num_removed, num_units - num_removed)),
        draws_removed_(num_drawn_ == num_removed),
        design_(design),
        permutation_(num_units),
        removals_left_(design == MaskDesign::kBalanced ? num_units : 0) {}

  // The masks of a block, each [U]; those that are not wanted are null.
  void draw(uint64_t seed, int64_t block, const std::vector<bool*>& masks) {
    PhiloxStream random(PhiloxDomain::kMasks, seed, static_cast<uint64_t>(block));
    switch (design_) {
      case MaskDesign::kSimple:
        permutation_.reset();
        return draw_set(masks[0], [&] { return permutation_.next_front(random); });
      case MaskDesign::kAntithetic:
        return draw_pair(random, masks);
      case MaskDesign::kBalanced:
        return draw_balanced(random, masks);
    }
  }

 private:
  // A mask whose drawn set next() enumerates. It is not written where it is null.
  template <typename Next>
  void draw_set(bool* mask, const Next& next) {
    if (mask != nullptr) std::fill_n(mask, num_units_, draws_removed_);
    for (int64_t i = 0; i < num_drawn_; ++i) {
      const uint32_t unit = next();
      if (mask != nullptr) mask[unit] = !draws_removed_;
    }
  }

  // The first and the last num_removed units of a permutation. Where more are removed than kept,
  // the first mask keeps the end of the permutation and the second one its beginning.
  void draw_pair(PhiloxStream& random, const std::vector<bool*>& masks) {
    permutation_.reset();
    bool* by_front = masks[draws_removed_ ? 0 : 1];
    bool* by_back = masks[draws_removed_ ? 1 : 0];
    draw_set(by_front, [&] { return permutation_.next_front(random); });
    draw_set(by_back, [&] { return permutation_.next_back(random); });
  }

  // Every unit has a number of removals to receive in the block, equal but for the remainder of
  // the division; a mask gives unit i one of its removals_left with probability removals_left /
  // masks_left, by systematic sampling of the units in random order: exact in integers.
  void draw_balanced(PhiloxStream& random, const std::vector<bool*>& masks) {
    const int64_t removals = kBalancedBlock * num_removed_;
    std::fill(removals_left_.begin(), removals_left_.end(), removals / num_units_);
    permutation_.reset();
    for (int64_t i = 0; i < removals % num_units_; ++i)
      ++removals_left_[permutation_.next_front(random)];
    for (int64_t masks_left = kBalancedBlock; masks_left > 0; --masks_left) {
      bool* mask = masks[kBalancedBlock - masks_left];
      // Advances by removals_left of each unit; a unit is removed where a multiple of masks_left
      // is passed. All steps together are num_removed multiples.
      int64_t position = static_cast<int64_t>(random.uniform() * static_cast<double>(masks_left));
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
  }

  int64_t num_units_, num_removed_, num_drawn_;
  bool draws_removed_;
  MaskDesign design_;
  Permutation permutation_;
  std::vector<int64_t> removals_left_;  // [U], balanced only
};

}  // namespace

int64_t removed_of(int64_t num_units, double ratio) {
  const auto nearest =
      static_cast<int64_t>(std::floor(ratio * static_cast<double>(num_units) + 0.5));
  return std::clamp<int64_t>(nearest, 1, num_units - 1);
}

void cris_sample(int64_t num_units, int64_t num_removed, uint64_t seed, MaskDesign design,
                 int64_t start, int64_t num_masks, const ParallelFor& parallel_for, bool* keep) {
  if (num_masks == 0) return;
  const int64_t length = block_length(design), end = start + num_masks;
  const int64_t first_block = start / length, last_block = (end - 1) / length;
  const int64_t grain = std::max<int64_t>(1, (1 << 14) / (num_units * length));
  parallel_for(first_block, last_block + 1, grain, [&](int64_t begin_block, int64_t end_block) {
    BlockSampler sampler(num_units, num_removed, design);
    std::vector<bool*> masks(length);
    for (int64_t block = begin_block; block < end_block; ++block) {
      for (int64_t i = 0; i < length; ++i) {
        const int64_t mask = block * length + i;
        masks[i] = mask >= start && mask < end ? keep + (mask - start) * num_units : nullptr;
      }
      sampler.draw(seed, block, masks);
    }
  });
}

}  // namespace vtcd
