// SPDX-License-Identifier: Apache-2.0
// The root file system, seen from inside.
#include "base/strings.hpp"
#include "launch_fixture.hpp"

#include <cerrno>
#include <fstream>
#include <set>

#include <gmock/gmock.h>

namespace fallbackd::test {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Root : public LaunchTest {};

namespace {

/// Mount point -> per-mount options, from the lines of mountinfo.
std::map<std::string, std::string> mountsOf(const ProbeOutput& seen) {
  std::map<std::string, std::string> mounts;
  for (const auto& line : seen.all("mount")) {
    const auto words = split(line, ' ');
    mounts[std::string(words.at(4))] = std::string(words.at(5));
  }
  return mounts;
}

std::set<std::string> wordsOf(const std::string& text) {
  std::set<std::string> words;
  for (const auto word : split(text, ' ')) words.emplace(word);
  return words;
}

}  // namespace

TEST_F(Root, IsReadOnlyExceptForTmpAndShm) {
  const auto seen = reportOf(request({"report"}));
  EXPECT_EQ(seen.number("write.root"), EROFS);
  EXPECT_EQ(seen.number("write.etc"), EROFS);
  EXPECT_EQ(seen.number("write.tmp"), 0);
  EXPECT_EQ(seen.number("write.shm"), 0);
  EXPECT_EQ(seen.number("write.null"), 0);
  EXPECT_TRUE(std::filesystem::exists(sandbox->status().shmPath + "/probe"));  // the sandbox's own
}

TEST_F(Root, ContainsNothingOfTheHost) {
  const auto seen = reportOf(request({"report"}));
  EXPECT_EQ(wordsOf(seen.one("names.root")), (std::set<std::string>{"dev", "etc", "proc", "sys", "tmp"}));
  EXPECT_EQ(wordsOf(seen.one("names.dev")),
            (std::set<std::string>{"fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "tty",
                                   "urandom", "zero"}));
  EXPECT_EQ(seen.one("names.sys"), "");
  for (const auto& [point, options] : mountsOf(seen)) {
    EXPECT_TRUE(point == "/" || point == "/tmp" || point == "/dev/shm" || point.starts_with("/proc"))
        << point;
    EXPECT_THAT(options, HasSubstr("nosuid")) << point;
  }
  std::size_t roots = 0;
  for (const auto& line : seen.all("mount")) {
    if (split(line, ' ').at(4) == "/") ++roots;
    EXPECT_EQ(line.find("shared:"), std::string::npos) << line;
    EXPECT_EQ(line.find("master:"), std::string::npos) << line;
    // It is charged to the pod, but still limited.
    if (split(line, ' ').at(4) == "/tmp") {
      EXPECT_THAT(line, HasSubstr("size=65536k"));
    }
  }
  EXPECT_EQ(roots, 1U) << "the old root lies below the new one";
}

TEST_F(Root, MasksAndProtectsProc) {
  const auto seen = reportOf(request({"report"}));
  const auto mounts = mountsOf(seen);
  EXPECT_NE(seen.number("write.sysctl"), 0);
  for (const char* path : {"bus", "fs", "irq", "sys", "sysrq-trigger"}) {
    if (!std::filesystem::exists(std::string("/proc/") + path)) continue;
    const auto found = mounts.find(std::string("/proc/") + path);
    ASSERT_NE(found, mounts.end()) << path;
    EXPECT_TRUE(found->second.starts_with("ro,")) << path << " " << found->second;
  }
  // Root could read them by mode: only the mask protects them.
  auto wanted = request({"report"});
  wanted.workload.user = {0, 0, {}};
  const auto root = reportOf(std::move(wanted));
  EXPECT_EQ(root.number("read.keys"), 0);  // empty
  EXPECT_EQ(root.number("read.timer_list"), 0);
  EXPECT_EQ(root.one("names.acpi"), "");
  for (const char* path : {"acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "scsi"}) {
    if (!std::filesystem::exists(std::string("/proc/") + path)) continue;
    EXPECT_EQ(mounts.count(std::string("/proc/") + path), 1U) << path;
  }
  EXPECT_EQ(root.number("read.urandom"), 1);
}

TEST_F(Root, HasTheSandboxesResolverAndItsOwnHosts) {
  auto wanted = request({"report"});
  wanted.workload.user = {1234, 2345, {}};
  wanted.sandbox.ips = {"10.1.2.3"};
  const auto seen = reportOf(std::move(wanted));
  EXPECT_THAT(seen.all("etc.resolv.conf"),
              ElementsAre("nameserver 10.96.0.10", "search market.svc.cluster.local", "options ndots:5"));
  EXPECT_THAT(seen.all("etc.hosts"), Contains("127.0.0.1\tlocalhost"));
  EXPECT_THAT(seen.all("etc.hosts"), Contains("10.1.2.3\tshop-7d9f"));
  EXPECT_EQ(seen.one("etc.hostname"), "shop-7d9f");
  EXPECT_THAT(seen.all("etc.passwd"), Contains(HasSubstr(":1234:2345:")));
  EXPECT_THAT(seen.all("etc.group"), Contains(HasSubstr(":2345:")));
}

}  // namespace fallbackd::test
