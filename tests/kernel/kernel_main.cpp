// SPDX-License-Identifier: Apache-2.0
// Each test program runs in mounts of its own, in which the machine is read-only: what a test leaves behind
// can be told from what others on the machine do at the same time, what a killed run leaves is gone with it,
// and what removes too much removes nothing of the machine.
#include "read_only.hpp"

#include <unistd.h>

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // Without root every test is skipped.
  if (GTEST_FLAG_GET(list_tests) || ::geteuid() != 0) return RUN_ALL_TESTS();
  return fallbackd::test::runGuarded(fallbackd::test::outputFolders(GTEST_FLAG_GET(output)),
                                     fallbackd::test::Unguarded::refuse, [] { return RUN_ALL_TESTS(); });
}
