// SPDX-License-Identifier: MIT
// Where the threads of a block wait for each other: the barriers of the block and the collectives
// of a warp. Under the thread sanitizer these alone put the threads in an order. Included by
// simt.h.
#pragma once

#include <cstring>
#include <type_traits>

#include "simt_block.h"

namespace simt {

inline int lane() { return static_cast<int>(block.current->number % 32); }

SIMT_BOOKKEEPING inline void open_barrier() {
  for (unsigned i = 0; i < block.num_threads; ++i)
    if (block.threads[i].state == State::kAtBarrier) block.threads[i].state = State::kReady;
  block.num_at_barrier = 0;
  ++block.round;
  block.votes[block.round & 1] = 0;
}

// Waits for all threads of the block, and returns the sum of their votes.
SIMT_BOOKKEEPING inline int block_barrier(int vote) {
  // Even and odd rounds apart: a thread that is a barrier ahead must not seem to be in order.
  int& votes = block.votes[block.round & 1];
  SIMT_RELEASE(&votes);
  votes += vote;
  if (++block.num_at_barrier == block.num_threads) {
    open_barrier();
  } else {
    block.current->state = State::kAtBarrier;
    leave(false);
  }
  SIMT_ACQUIRE(&votes);
  return votes;
}

// What every lane of a collective handed in.
template <typename T>
struct Lanes {
  const char (*values)[8];
  SIMT_BOOKKEEPING T operator[](unsigned lane) const {
    T value;
    std::memcpy(&value, values[lane], sizeof value);
    return value;
  }
};

SIMT_BOOKKEEPING inline Collective& collective_of(Warp& warp, unsigned mask) {
  Collective* unused = nullptr;
  for (int i = 0; i < warp.num_collectives; ++i) {
    if (warp.collectives[i].mask == mask) return warp.collectives[i];
    if (!warp.collectives[i].arrived) unused = &warp.collectives[i];
  }
  if (warp.num_collectives < 4) unused = &warp.collectives[warp.num_collectives++];
  if (!unused) fail("too many different warp masks at once");
  unused->mask = mask;
  unused->arrived = 0;
  return *unused;
}

SIMT_BOOKKEEPING inline void open_collective(Collective& collective) {
  collective.arrived = 0;
  ++collective.round;
  const unsigned first = block.current->number / 32 * 32;
  for (unsigned i = first; i < block.num_threads && i < first + 32; ++i) {
    Thread& thread = block.threads[i];
    if (thread.state == State::kInCollective && thread.mask == collective.mask)
      thread.state = State::kReady;
  }
}

// Waits for the lanes of the mask, each of which hands in a value, and returns all of them. `kind`
// tells the functions apart that call this: lanes in different ones are an error.
template <typename T>
SIMT_BOOKKEEPING Lanes<T> gather(unsigned mask, T value, int kind) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  const auto own = static_cast<unsigned>(lane());
  if (!(mask >> own & 1)) fail("warp collective by a lane that its mask leaves out");
  Collective& collective = collective_of(block.warps[block.current->number / 32], mask);
  if (collective.arrived && collective.kind != kind)
    fail("lanes of one warp are in different warp collectives");
  collective.kind = kind;
  char(&values)[32][8] = collective.values[collective.round & 1];
  std::memcpy(values[own], &value, sizeof value);
  collective.arrived |= 1u << own;
  SIMT_RELEASE(values);
  if (collective.arrived == mask) {
    open_collective(collective);
  } else {
    block.current->state = State::kInCollective;
    block.current->mask = mask;
    leave(false);
  }
  SIMT_ACQUIRE(values);
  return Lanes<T>{values};
}

}  // namespace simt
