// SPDX-License-Identifier: Apache-2.0
// As root, unit tests run where the machine is read-only, too. They need no privilege, so that they also run
// where such a namespace cannot be made.
#include "read_only.hpp"

#include <unistd.h>

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (GTEST_FLAG_GET(list_tests) || ::geteuid() != 0) return RUN_ALL_TESTS();
  return fallbackd::test::runGuarded(fallbackd::test::outputFolders(GTEST_FLAG_GET(output)),
                                     fallbackd::test::Unguarded::run, [] { return RUN_ALL_TESTS(); });
}
