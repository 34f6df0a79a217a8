// SPDX-License-Identifier: Apache-2.0
// Tests the guard of these tests: code that they run as root cannot reach the machine.
#include "read_only_expectations.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace fallbackd::test {

TEST(ReadOnlyMachine, OnlyTheScratchFolderIsWritable) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: a mount namespace";
  const auto scratch = std::filesystem::temp_directory_path();
  std::ofstream(scratch / "file") << "text";
  EXPECT_TRUE(std::filesystem::exists(scratch / "file"));
  std::filesystem::remove(scratch / "file");
  expectReadOnlyMachine(scratch.parent_path());
}

}  // namespace fallbackd::test
