// SPDX-License-Identifier: Apache-2.0
// Each test program runs in its own mounts, in which the machine is read-only. So leftovers of a test can be
// distinguished from what else happens on the machine, they vanish with a killed run, and a test that removes
// too much removes nothing of the machine.
#include "read_only.hpp"

#include <unistd.h>

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // Without root every test is skipped.
  if (GTEST_FLAG_GET(list_tests) || ::geteuid() != 0) return RUN_ALL_TESTS();
  return fallbackd::test::runGuarded(fallbackd::test::outputFolders(GTEST_FLAG_GET(output)),
                                     fallbackd::test::Unguarded::refuse, fallbackd::test::Scratch::disk,
                                     [] { return RUN_ALL_TESTS(); });
}
