// SPDX-License-Identifier: Apache-2.0
// Checks from outside that an isolated run leaves the machine unchanged, however it ends.
#include "cgroups.hpp"
#include "e2e_gtest.hpp"
#include "process.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::IsEmpty;

std::string valueOf(const std::string& text, const std::string& key) {
  const auto at = text.find(key + "=");
  if (at == std::string::npos) return {};
  const auto begin = at + key.size() + 1;
  return text.substr(begin, text.find('\n', begin) - begin);
}

std::set<std::string> namesIn(const fs::path& folder) {
  std::set<std::string> names;
  std::error_code missing;  // /run/netns and /var/lib/cni need not exist
  for (const auto& entry : fs::directory_iterator(folder, missing)) names.insert(entry.path().filename());
  return names;
}

/// What CNI, runc and containerd would leave on a machine.
struct MachineState {
  std::set<std::string> links = namesIn("/sys/class/net");
  std::set<std::string> run = namesIn("/run");
  std::set<std::string> netns = namesIn("/run/netns");
  std::set<std::string> varLib = namesIn("/var/lib");
  std::set<std::string> opt = namesIn("/opt");
  bool operator==(const MachineState&) const = default;
};

class Isolation : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "isolation_test.XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }

  Result<ChildProcess> startProbe(const std::vector<std::string>& args, const std::string& name = "out") {
    std::vector<std::string> argv{ISOLATION_PROBE};
    argv.insert(argv.end(), args.begin(), args.end());
    return ChildProcess::start({.argv = argv, .env = {}, .output = folder_ / name});
  }
  [[nodiscard]] std::string said(const std::string& name = "out") const {
    return sys::readFile(Stage::cli, folder_ / name, 1 << 20).value_or("");
  }
  [[nodiscard]] bool waitReady(ChildProcess& probe, const std::string& name = "out") const {
    return waitUntil(60s,
                     [&] { return said(name).find("ready\n") != std::string::npos || !probe.running(); }) &&
           probe.running();
  }

  /// Processes in the probe's cgroups, found by the run's name. Not by namespace: its number may soon be
  /// reused.
  [[nodiscard]] std::vector<std::string> processes(const std::string& name = "out") const {
    const std::string run = "/" + fs::path(valueOf(said(name), "dir")).filename().string();
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const auto membership = sys::readFile(Stage::cli, entry.path() / "cgroup", 1 << 16);
      if (membership && membership->find(run) != std::string::npos) found.push_back(entry.path());
    }
    return found;
  }
  [[nodiscard]] std::vector<std::string> cgroups(const std::string& name = "out") const {
    const fs::path run = fs::path(valueOf(said(name), "dir")).filename();
    std::vector<std::string> found;
    const auto hierarchies = cgroupHierarchies();
    for (const auto& hierarchy : *hierarchies) {
      std::error_code gone;
      for (fs::recursive_directory_iterator it(hierarchy.mountPoint, gone), end; !gone && it != end;
           it.increment(gone)) {
        if (it->path().filename() == run) found.push_back(it->path());
      }
    }
    return found;
  }
  [[nodiscard]] bool mounted(const std::string& name = "out") const {
    const auto mounts = sys::readFile(Stage::cli, "/proc/self/mountinfo", 1 << 20);
    return mounts->find(valueOf(said(name), "dir")) != std::string::npos;
  }
  void expectNothingLeft(const std::string& name = "out") const {
    ASSERT_THAT(valueOf(said(name), "dir"), testing::StartsWith("/")) << said(name);
    EXPECT_THAT(processes(name), IsEmpty());
    EXPECT_THAT(cgroups(name), IsEmpty());
    EXPECT_FALSE(mounted(name));
    EXPECT_FALSE(fs::exists(valueOf(said(name), "dir")));
  }

  fs::path folder_;
};

TEST_F(Isolation, NothingIsLeftAndTheExitCodeIsPassedOn) {
  const MachineState before;
  E2E_TRY(auto probe, startProbe({"7"}));
  E2E_TRY(const auto code, probe.wait(60s));
  EXPECT_EQ(code, 7) << said();
  expectNothingLeft();
  EXPECT_EQ(before, MachineState());
}

TEST_F(Isolation, ARunIsInvisibleOnTheMachine) {
  const MachineState before;
  E2E_TRY(auto probe, startProbe({}));
  ASSERT_TRUE(waitReady(probe)) << said();
  // The checks must be able to see something: gate, pid 1, body, containerd, shim, pause process.
  EXPECT_GE(processes().size(), 6U);
  EXPECT_FALSE(cgroups().empty());
  EXPECT_FALSE(mounted());
  EXPECT_EQ(before, MachineState());

  probe.signal(SIGTERM);
  E2E_TRY(const auto code, probe.wait(30s));
  EXPECT_EQ(code, 128 + SIGTERM);
  expectNothingLeft();
}

TEST_F(Isolation, TwoRunsAtOnceDoNotMeet) {
  E2E_TRY(auto first, startProbe({}, "first"));
  E2E_TRY(auto second, startProbe({}, "second"));
  ASSERT_TRUE(waitReady(first, "first")) << said("first");
  ASSERT_TRUE(waitReady(second, "second")) << said("second");
  EXPECT_NE(valueOf(said("first"), "dir"), valueOf(said("second"), "dir"));
  E2E_CHECK(first.stop(30s));
  E2E_CHECK(second.stop(30s));
  expectNothingLeft("first");
  expectNothingLeft("second");
}

TEST_F(Isolation, AKillEndsAllProcessesAndTheNextRunCleansUp) {
  E2E_TRY(auto killed, startProbe({}, "killed"));
  ASSERT_TRUE(waitReady(killed, "killed")) << said("killed");
  killed.signal(SIGKILL);
  E2E_CHECK(killed.wait(30s));
  EXPECT_TRUE(waitUntil(30s, [&] { return processes("killed").empty(); }));
  EXPECT_FALSE(mounted("killed"));

  E2E_TRY(auto next, startProbe({"0"}, "next"));
  E2E_TRY(const auto code, next.wait(60s));
  EXPECT_EQ(code, 0) << said("next");
  // A different test's run may have begun the cleanup without having finished it yet.
  EXPECT_TRUE(waitUntil(30s, [&] { return !fs::exists(valueOf(said("killed"), "dir")); }));
  expectNothingLeft("killed");
  expectNothingLeft("next");
}

}  // namespace
}  // namespace fallbackd::e2e
