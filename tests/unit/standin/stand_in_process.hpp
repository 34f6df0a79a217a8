// SPDX-License-Identifier: Apache-2.0
// The stand-in's program as a child of the test, with the descriptors of a container's first process.
#pragma once

#include <spawn.h>
#include <sys/types.h>

#include <gtest/gtest.h>

extern char** environ;

namespace fallbackd::test {

inline pid_t spawnStandIn() {
  char name[] = "fallbackd-stand-in";
  char* const argv[] = {name, nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  pid_t pid = 0;
  EXPECT_EQ(::posix_spawn(&pid, STAND_IN_PROGRAM, &actions, nullptr, argv, environ), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  return pid;
}

}  // namespace fallbackd::test
