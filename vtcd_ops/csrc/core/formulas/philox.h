// SPDX-License-Identifier: MIT
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011): a counter-based generator. A number is a pure
// function of a key and a counter, so results do not depend on threads, batches or devices.
#pragma once

#include <cstdint>

#include "core/formulas/host_device.h"

namespace vtcd {

// Random words of 32 bits.
template <int kCount>
struct Words {
  uint32_t values[kCount];

  VTCD_HOST_DEVICE uint32_t& operator[](int i) { return values[i]; }
  VTCD_HOST_DEVICE const uint32_t& operator[](int i) const { return values[i]; }
  VTCD_HOST_DEVICE const uint32_t* begin() const { return values; }
  VTCD_HOST_DEVICE const uint32_t* end() const { return values + kCount; }
  VTCD_HOST_DEVICE bool operator==(const Words& other) const {
    for (int i = 0; i < kCount; ++i)
      if (values[i] != other.values[i]) return false;
    return true;
  }
};

using PhiloxCounter = Words<4>;
using PhiloxKey = Words<2>;

// Four random words of one counter.
VTCD_HOST_DEVICE inline PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9;  // golden ratio
    key[1] += 0xBB67AE85;  // sqrt(3) - 1
  }
  return counter;
}

// What random numbers are for: the same seed gives each use numbers of its own.
enum class PhiloxDomain : uint32_t { kMasks = 0, kKMeans = 1, kTests = 255 };

// A sequence of numbers under (domain, seed, index); it has 2^58 of them before it runs into
// another domain's.
class PhiloxStream {
 public:
  VTCD_HOST_DEVICE PhiloxStream(PhiloxDomain domain, uint64_t seed, uint64_t index)
      : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
        counter_{0, static_cast<uint32_t>(domain) << 24, static_cast<uint32_t>(index),
                 static_cast<uint32_t>(index >> 32)} {}

  VTCD_HOST_DEVICE uint32_t next() {
    if (used_ == 4) {
      words_ = philox4x32(counter_, key_);
      if (++counter_[0] == 0) ++counter_[1];
      used_ = 0;
    }
    ++used_;
    const uint32_t word = words_[0];  // moved up: an index would put them into a GPU's memory
    words_ = {words_[1], words_[2], words_[3], word};
    return word;
  }

  // Uniform on [0, 1) with 53 random bits.
  VTCD_HOST_DEVICE double uniform() {
    const uint64_t high = next() >> 5, low = next() >> 6;
    return static_cast<double>((high << 26) | low) * 0x1p-53;
  }

 private:
  PhiloxKey key_;
  PhiloxCounter counter_;
  PhiloxCounter words_{};
  int used_ = 4;
};

}  // namespace vtcd
