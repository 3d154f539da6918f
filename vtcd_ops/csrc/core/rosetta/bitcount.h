// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace vtcd {

// Bits that are set in both rows of num_words words.
int64_t count_common(const uint64_t* a, const uint64_t* b, int64_t num_words);

// Rows whose counts are found together: then what the lanes of a register hold is added up for all
// of them at once.
inline constexpr int kCountGroup = 8;

// counts[i] = count_common(a, rows[i], num_words).
void count_common(const uint64_t* a, const uint64_t* const (&rows)[kCountGroup], int64_t num_words,
                  int64_t (&counts)[kCountGroup]);

struct JointCount {
  int64_t common;  // bits set in every row
  int64_t any;     // bits set in at least one row
};

// Counts over num_rows >= 1 rows of num_words words.
JointCount count_joint(const uint64_t* const* rows, int64_t num_rows, int64_t num_words);

}  // namespace vtcd
