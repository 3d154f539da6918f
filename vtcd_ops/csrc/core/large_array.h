// SPDX-License-Identifier: MIT
// Working memory of more than a few pages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace vtcd {

// `count` elements, not initialised. Large ones get a mapping of their own, in huge pages to the
// nearest number: a volume's arrays are used for a few milliseconds, and a tenth of that would go
// to the first touch of their small pages.
template <typename T>
class LargeArray {
 public:
  explicit LargeArray(int64_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
#ifdef __linux__
    constexpr size_t kHugePage = size_t{1} << 21;
    const size_t huge = (bytes + kHugePage / 2) / kHugePage * kHugePage;
    if (huge > 0) {
      mapped_ = std::max(bytes, huge) + kHugePage;
      start_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (start_ == MAP_FAILED) throw std::bad_alloc();
      const size_t address = reinterpret_cast<size_t>(start_) + kHugePage - 1;
      data_ = reinterpret_cast<T*>(address / kHugePage * kHugePage);
      madvise(data_, huge, MADV_HUGEPAGE);
      return;
    }
#endif
    start_ = std::aligned_alloc(kCacheLine, (bytes / kCacheLine + 1) * kCacheLine);
    if (start_ == nullptr) throw std::bad_alloc();
    data_ = static_cast<T*>(start_);
  }
  LargeArray(const LargeArray&) = delete;
  LargeArray& operator=(const LargeArray&) = delete;
  ~LargeArray() {
#ifdef __linux__
    if (mapped_ > 0) {
      munmap(start_, mapped_);
      return;
    }
#endif
    std::free(start_);
  }

  T* get() { return data_; }
  const T* get() const { return data_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  static constexpr size_t kCacheLine = 64;

  void* start_ = nullptr;
  size_t mapped_ = 0;  // bytes of the mapping; 0: from the heap
  T* data_ = nullptr;
};

}  // namespace vtcd
