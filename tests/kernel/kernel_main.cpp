// Each test program has mounts of its own: what it leaves behind it can tell from what others on the machine
// do at the same time, and what a killed run leaves is gone with it.
#include <cstdio>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <gtest/gtest.h>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (::geteuid() == 0 &&
      (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)) {
    std::perror("mount namespace");
    return 1;
  }
  return RUN_ALL_TESTS();
}
