// SPDX-License-Identifier: Apache-2.0
// Run as root, unit tests mount the machine read-only. They need no privileges, so they also run where such a
// namespace cannot be created. Their files are in memory, because most of their time would go to the disk.
#include "read_only.hpp"

#include <unistd.h>

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (GTEST_FLAG_GET(list_tests) || ::geteuid() != 0) return RUN_ALL_TESTS();
  return fallbackd::test::runGuarded(fallbackd::test::outputFolders(GTEST_FLAG_GET(output)),
                                     fallbackd::test::Unguarded::run, fallbackd::test::Scratch::memory,
                                     [] { return RUN_ALL_TESTS(); });
}
