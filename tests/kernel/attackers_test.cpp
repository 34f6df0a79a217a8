// SPDX-License-Identifier: Apache-2.0
// Hostile containers of the pod against a thousand launches: until execveat, nothing of a launch can be
// seized, read or signalled. After that the fallback is as open to them as a container.
#include "launch_fixture.hpp"
#include "neighbour.hpp"

#include <algorithm>
#include <cstdlib>
#include <linux/capability.h>

#include <gmock/gmock.h>

namespace fallbackd::test {

using ::testing::IsEmpty;

namespace {

constexpr std::uint64_t kAll = ~0ULL;
constexpr std::uint64_t kMayTrace = 1ULL << CAP_SYS_PTRACE;
constexpr uid_t kFallbackUser = 65532;
constexpr const char* kToken = "--token-of-the-fallback";
#ifdef FALLBACKD_SANITIZED
constexpr int kLaunches = 40;
#else
constexpr int kLaunches = 250;  // for each of four kinds
#endif

struct Kind {
  const char* name;
  std::uint64_t capabilities;
  bool ownUsers;
};

std::vector<std::string> beginningWith(const std::vector<std::string>& lines, const std::string& word) {
  std::vector<std::string> found;
  std::copy_if(lines.begin(), lines.end(), std::back_inserter(found),
               [&](const std::string& line) { return line.starts_with(word + " "); });
  return found;
}

}  // namespace

class Attackers : public LaunchTest, public ::testing::WithParamInterface<Kind> {};

TEST_P(Attackers, ReachNothingBeforeExecveat) {
  if (folder.empty()) return;
  const auto& kind = GetParam();
  RecordProperty("item", "1");
  RecordProperty("attack", std::string("A neighbour in the pod's PID namespace with ") + kind.name +
                               " attacks each new process of " + std::to_string(kLaunches) + " launches");
  sandbox = std::make_unique<FakeSandbox>(
      folder, hierarchies, FakeSandbox::Shape{.userNamespace = kind.ownUsers, .sharedPids = true});
  Neighbour neighbour(
      *sandbox, kind.capabilities,
      {std::string("--token=") + kToken, "--uid=" + std::to_string(kFallbackUser), "--seconds=300"},
      folder / "report");
  ASSERT_TRUE(neighbour.ready()) << ::testing::PrintToString(neighbour.finish());
  int failed = 0;
  for (int i = 0; i < kLaunches; ++i) {
    auto wanted = request({"wait", kToken});
    wanted.workload.user = {kFallbackUser, kFallbackUser, {}};
    wanted.workload.healthCheck.args = {"--health-check=ok", kToken};
    auto process = launch(std::move(wanted));
    if (process) {
      stop(*process);
    } else {
      ++failed;
      ADD_FAILURE() << process.error().message();
    }
  }
  const auto lines = neighbour.finish();
  const auto victims = beginningWith(lines, "victim");
  RecordProperty("launches", kLaunches);
  RecordProperty("seen", static_cast<int>(victims.size()));
  RecordProperty("reached", static_cast<int>(beginningWith(lines, "reached").size()));
  RecordProperty("touched", static_cast<int>(beginningWith(lines, "touched").size()));
  EXPECT_THAT(beginningWith(lines, "reached"), IsEmpty()) << "something of the host was reachable";
  EXPECT_THAT(beginningWith(lines, "touched"), IsEmpty()) << "seen by the attacker before execveat";
  EXPECT_GT(victims.size(), kLaunches / 4U) << "it attacked too few to prove anything";
  EXPECT_EQ(failed, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Attackers,
    ::testing::Values(Kind{"all capabilities", kAll, false}, Kind{"SYS_PTRACE alone", kMayTrace, false},
                      Kind{"all capabilities of the pod's own user namespace", kAll, true},
                      Kind{"SYS_PTRACE of the pod's own user namespace", kMayTrace, true}),
    [](const auto& kind) {
      std::string name = kind.param.name;
      std::replace_if(
          name.begin(), name.end(), [](char c) { return c == ' ' || c == '\''; }, '_');
      return name;
    });

}  // namespace fallbackd::test
