// SPDX-License-Identifier: MIT
// From one stack to another. On x86-64 in a few instructions: swapcontext asks the kernel for the
// mask of signals each time, and the address sanitizer marks the whole stack anew in it, which
// together take four fifths of an emulated kernel's time. Included by simt_block.h.
#pragma once

#include <cstddef>
#include <cstdint>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace simt {

#if defined(__x86_64__)

// Where a stack was left: its pointer, below which its registers lie.
struct Context {
  void* pointer;
};

// Saves what a function must keep for its caller, and goes on where the other stack was left.
__attribute__((naked, noinline, no_sanitize("address", "thread", "undefined"))) inline void
switch_stack(Context*, const Context*) {
  asm("pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
      "movq %rsp, (%rdi)\n\tmovq (%rsi), %rsp\n\t"
      "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tret");
}

// Lets a stack begin with a function that never returns.
inline void begin_stack(Context& context, char* stack, size_t bytes, void (*function)()) {
#if defined(__SANITIZE_ADDRESS__)
  // of the functions that did not return when the stack was last used
  constexpr size_t kOutermost = 4096;
  __asan_unpoison_memory_region(stack + bytes - kOutermost, kOutermost);
#endif
  // six registers, the function, and the address that it would return to
  const uintptr_t top = (reinterpret_cast<uintptr_t>(stack) + bytes) / 16 * 16;
  void** pointer = reinterpret_cast<void**>(top) - 8;
  for (int i = 0; i < 8; ++i) pointer[i] = nullptr;
  pointer[6] = reinterpret_cast<void*>(function);
  context.pointer = pointer;
}

#else

using Context = ucontext_t;

inline void switch_stack(Context* from, const Context* to) { swapcontext(from, to); }

inline void begin_stack(Context& context, char* stack, size_t bytes, void (*function)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = bytes;
  context.uc_link = nullptr;
  makecontext(&context, function, 0);
}

#endif

}  // namespace simt
