// SPDX-License-Identifier: Apache-2.0
#include "app/heap.hpp"

#include <fstream>
#include <memory>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::app {
namespace {

#ifdef FALLBACKD_SANITIZED
constexpr bool kOwnAllocator = true;
#else
constexpr bool kOwnAllocator = false;
#endif

long residentBytes() {
  long size = 0;
  long resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

struct Holes {
  static constexpr std::size_t kBlocks = 5000;
  static constexpr std::size_t kBlockBytes = 16 * 1024;

  /// Like parsing a long answer: frees large blocks, and keeps the small block after each of them.
  Holes() {
    std::vector<std::unique_ptr<char[]>> freed;
    for (std::size_t i = 0; i < kBlocks; ++i) {
      freed.push_back(std::make_unique<char[]>(kBlockBytes));
      kept.push_back(std::make_unique<char[]>(64));
    }
  }
  std::vector<std::unique_ptr<char[]>> kept;
};

TEST(Heap, FreeMemoryBetweenLiveBlocksIsReturned) {
  if (kOwnAllocator) GTEST_SKIP() << "a sanitizer replaces the allocator";
  keepHeapSmall();
  const Holes holes;
  const long before = residentBytes();
  returnFreeHeap(1 << 20);
  EXPECT_LT(residentBytes(), before - static_cast<long>(Holes::kBlocks * Holes::kBlockBytes / 2));
}

TEST(Heap, SmallAmountsAreKept) {
  if (kOwnAllocator) GTEST_SKIP() << "a sanitizer replaces the allocator";
  keepHeapSmall();
  const Holes holes;
  const long before = residentBytes();
  returnFreeHeap(1UL << 30);
  EXPECT_GT(residentBytes(), before - (1L << 20));
}

}  // namespace
}  // namespace fallbackd::app
