// SPDX-License-Identifier: Apache-2.0
// One daemon per node, and the node that a leaf belongs to.
#include "launcher/node_lock.hpp"

#include "launch_fixture.hpp"
#include "without_capabilities.hpp"

#include <array>
#include <csignal>
#include <filesystem>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using launcher::NodeLock;
using ::testing::HasSubstr;

/// A node for this test: the pod's cgroup is the top of its tree.
class OneDaemon : public LaunchTest {
 protected:
  void SetUp() override {
    LaunchTest::SetUp();
    for (const auto& hierarchy : hierarchies) {
      auto inner = hierarchy;
      inner.mountPoint = hierarchy.folderOf(sandbox->status().cgroupParent);
      inner.root = "/";
      node_.push_back(std::move(inner));
    }
  }
  void TearDown() override {
    for (const auto& hierarchy : node_) ::rmdir((hierarchy.mountPoint + "/fallbackd.lock").c_str());
    LaunchTest::TearDown();
  }
  [[nodiscard]] Result<NodeLock> take(const std::string& name) const {
    return NodeLock::take(node_, {"/etc/" + name + ".yaml", "/run/" + name});
  }
  std::vector<sys::CgroupHierarchy> node_;
};

TEST_F(OneDaemon, TheSecondNamesTheFirst) {
  auto first = take("first");
  ASSERT_TRUE(first) << first.error().message();
  const auto second = take("second");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().reason, Reason::already_exists);
  EXPECT_THAT(second.error().message(), HasSubstr("process " + std::to_string(::getpid())));
  EXPECT_THAT(second.error().message(), HasSubstr("/etc/first.yaml"));
  EXPECT_THAT(second.error().message(), HasSubstr("/run/first"));
  first = fail(Stage::cgroup, Reason::internal, "it was released");
  EXPECT_TRUE(take("second"));
}

TEST_F(OneDaemon, ItsLockEndsWithTheProcess) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto lock = take("first");
    if (lock && ::write(ends[1], "l", 1) == 1) ::pause();
    ::_exit(1);
  }
  ::close(ends[1]);
  char byte = 0;
  EXPECT_EQ(::read(ends[0], &byte, 1), 1);
  ::close(ends[0]);
  const auto second = take("second");
  EXPECT_FALSE(second);
  if (!second) {
    EXPECT_THAT(second.error().message(), HasSubstr("process " + std::to_string(child)));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(take("second")) << "a killed daemon keeps no lock";
}

/// Otherwise every user of the node could keep its daemon from starting.
TEST_F(OneDaemon, OnlyRootCanOpenTheLock) {
  const auto lock = take("first");
  ASSERT_TRUE(lock);
  std::size_t found = 0;
  for (const auto& hierarchy : node_) {
    struct stat info {};
    if (::stat((hierarchy.mountPoint + "/fallbackd.lock").c_str(), &info) != 0) continue;
    ++found;
    EXPECT_EQ(info.st_mode & 07777, 0700U);
    EXPECT_EQ(info.st_uid, 0U);
  }
  EXPECT_EQ(found, 1U);
}

/// As on a node with cgroup v2 alone: the kernel creates the top with this mode, and the unit has no
/// CAP_DAC_OVERRIDE.
TEST_F(OneDaemon, LocksATreeThatNobodyMayWriteTo) {
  const auto top = folder / "top";
  std::filesystem::create_directory(top);
  auto node = node_.front();
  node.mountPoint = top;
  ASSERT_EQ(::chmod(top.c_str(), 0555), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (!giveUpCapabilities(1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH)) ::_exit(2);
    ::_exit(NodeLock::take({node}, {"/etc/first.yaml", "/run/first"}) ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  struct stat info {};
  ASSERT_EQ(::stat(top.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0555U) << "as it was";
  EXPECT_TRUE(std::filesystem::exists(top / "fallbackd.lock"));
}

/// A nested node, as kind creates it.
TEST_F(OneDaemon, ANestedNodeHasItsOwnLock) {
  const auto inner = take("inner");
  ASSERT_TRUE(inner);
  auto outer = NodeLock::take({[&] {
                                auto pod = node_.front();
                                pod.mountPoint += "/" + std::string("fallbackd-outer");
                                std::filesystem::create_directory(pod.mountPoint);
                                return pod;
                              }()},
                              {"/etc/outer.yaml", "/run/outer"});
  EXPECT_TRUE(outer) << outer.error().message();
  const auto other = node_.front().mountPoint + "/fallbackd-outer";
  ::rmdir((other + "/fallbackd.lock").c_str());
  ::rmdir(other.c_str());
}

}  // namespace fallbackd::test
