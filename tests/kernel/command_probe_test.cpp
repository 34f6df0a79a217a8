// SPDX-License-Identifier: Apache-2.0
// Commands of the binary that run beside its fallback, as a pod's exec probes.
#include "base/async/event.hpp"
#include "launch_fixture.hpp"
#include "launcher/cgroup/cgroup_trees.hpp"
#include "sys/process.hpp"

#include <fstream>
#include <set>
#include <sys/stat.h>
#include <unistd.h>
#include <variant>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <gmock/gmock.h>

namespace fallbackd::test {

using namespace asio::experimental::awaitable_operators;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

class CommandProbes : public LaunchTest {
 protected:
  static constexpr auto kAmple = 20s;

  /// A fallback with a writable volume at /data.
  launcher::LaunchRequest withVolume() {
    data_ = makeVolume("empty-dir", "data");
    ::chmod(data_.c_str(), 0777);
    auto wanted = request({"wait"});
    wanted.workload.volumes = {{config::Volume::Kind::empty_dir, "data", "/data", "", false}};
    return wanted;
  }
  Result<> ask(const launcher::LaunchRequest& like, std::vector<std::string> words,
               std::chrono::nanoseconds timeout = kAmple) {
    words.insert(words.begin(), "/probe");
    return run(launcher->probe(like, std::move(words), timeout));
  }
  Result<> answers(const launcher::LaunchRequest& like, const std::string& what, const std::string& value) {
    return ask(like, {"answer", what, value});
  }
  /// Ends it once `/data/up` exists. Returns whether the command had not ended by itself.
  asio::awaitable<bool> endedWhenUp(launcher::LaunchRequest like, std::vector<std::string> words, Event& up) {
    const std::variant<Result<>, std::monostate> first =
        co_await (launcher->probe(std::move(like), std::move(words), kAmple) || up.wait());
    co_return first.index() == 1;
  }
  [[nodiscard]] std::vector<std::string> probeLeaves(const launcher::ProcessRecord& record) const {
    std::vector<std::string> there;
    for (const std::filesystem::path leaf : record.cgroupLeaves) {
      for (const auto& entry : std::filesystem::directory_iterator(leaf.parent_path())) {
        if (launcher::isProbeLeafName(entry.path().filename().string())) there.push_back(entry.path());
      }
    }
    return there;
  }
  template <class Done>
  bool turnUntil(Done done) {
    const auto deadline = Monotonic::now() + kAmple;
    loop.restart();
    while (!done() && Monotonic::now() < deadline) loop.run_one_for(10ms);
    return done();
  }

  std::filesystem::path data_;
};

TEST_F(CommandProbes, TheExitCodeIsTheAnswer) {
  const auto like = request({"wait"});
  const auto process = launched(like);
  ASSERT_NE(process, nullptr);
  const auto good = ask(like, {"--health-check"});
  EXPECT_TRUE(good) << good.error().message();
  const auto bad = ask(like, {"--health-check=fail"});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().stage, Stage::readiness);
  EXPECT_EQ(bad.error().reason, Reason::not_ready);
  EXPECT_EQ(bad.error().context, "exit code 7");
  const auto crashed = ask(like, {"--health-check=crash"});
  ASSERT_FALSE(crashed);
  EXPECT_EQ(crashed.error().reason, Reason::not_ready);
  EXPECT_EQ(crashed.error().context, "ended by signal 6");
  EXPECT_TRUE(sys::startTimeOf(Stage::run, process->record().pid)) << "the fallback keeps running";
  EXPECT_TRUE(probeLeaves(process->record()).empty());
  const auto log = contentOf(process->record().logFile);
  EXPECT_EQ(log.find("not healthy"), std::string::npos) << "the probe is not logged: " << log;
  stop(process);
}

TEST_F(CommandProbes, RunsLikeTheFallbackInItsOwnLeaf) {
  auto like = withVolume();
  like.workload.user.uid = 4321;
  const auto process = launched(like);
  ASSERT_NE(process, nullptr);
  EXPECT_FALSE(answers(like, "exists", "/data/ready"));
  writeText(data_ / "ready", "");
  EXPECT_TRUE(answers(like, "exists", "/data/ready")) << "the same volumes";
  EXPECT_TRUE(answers(like, "uid", "4321"));
  EXPECT_FALSE(answers(like, "uid", "0"));
  EXPECT_TRUE(answers(like, "silent", "0")) << "output goes nowhere";
  EXPECT_TRUE(answers(like, "alone", std::to_string(process->record().pid)));
  EXPECT_TRUE(ask(like, {"--health-check=descriptors"}));
  EXPECT_TRUE(ask(like, {"--health-check=peek"})) << "it cannot reach anything of the daemon";
  stop(process);
}

TEST_F(CommandProbes, TheTimeoutEndsEverythingThatItStarted) {
  const auto like = withVolume();
  const auto process = launched(like);
  ASSERT_NE(process, nullptr);
  const auto late = ask(like, {"answer", "hang", "/data/up"}, 1s);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().reason, Reason::not_ready) << late.error().message();
  EXPECT_EQ(late.error().context, "not over within 1s");
  // A cgroup can be removed only when it is empty.
  EXPECT_TRUE(probeLeaves(process->record()).empty());
  stop(process);
}

TEST_F(CommandProbes, ACancelledProbeLeavesNothing) {
  const auto like = withVolume();
  const auto process = launched(like);
  ASSERT_NE(process, nullptr);
  Event up(loop.get_executor());
  std::optional<bool> ended;
  asio::co_spawn(loop, endedWhenUp(like, {"/probe", "answer", "hang", "/data/up"}, up),
                 [&](const std::exception_ptr&, bool was) { ended = was; });
  ASSERT_TRUE(turnUntil([&] { return std::filesystem::exists(data_ / "up"); }));
  EXPECT_FALSE(probeLeaves(process->record()).empty()) << "it has its own leaf";
  const auto members = contentOf(process->record().cgroupLeaves.front() + "/cgroup.procs");
  EXPECT_EQ(members, std::to_string(process->record().pid) + "\n")
      << "the fallback's leaf contains only the fallback";
  EXPECT_EQ(run(launcher->collectOrphans({process->record()})).removed, 0U)
      << "it runs, so it is not an orphan";
  EXPECT_FALSE(probeLeaves(process->record()).empty());
  EXPECT_FALSE(ended);
  up.set();
  ASSERT_TRUE(turnUntil([&] { return ended.has_value(); }));
  EXPECT_TRUE(*ended);
  // Probes in the other place neither wait for this cleanup nor are disturbed by it.
  auto elsewhere = like;
  elsewhere.probePlace = 1;
  for (int i = 0; i < 5; ++i) {
    const auto next = ask(elsewhere, {"--health-check"});
    EXPECT_TRUE(next) << next.error().message();
  }
  EXPECT_TRUE(turnUntil([&] { return probeLeaves(process->record()).empty(); }));
  stop(process);
}

/// Root opens /dev/null for the probe. If a volume's file were opened instead, the pod could read or write
/// what it may not open itself.
TEST_F(CommandProbes, AVolumeOverDevNullIsNotOpened) {
  auto like = withVolume();
  const auto secret = data_ / "secret";
  std::ofstream(secret) << "root's\n";
  like.workload.volumes.push_back({config::Volume::Kind::empty_dir, "data", "/dev/null", "secret", false});
  const auto ran = ask(like, {"--health-check"});
  ASSERT_FALSE(ran);
  EXPECT_THAT(ran.error().message(), HasSubstr("standard input and output"));
  EXPECT_EQ(contentOf(secret), "root's\n");
}

TEST_F(CommandProbes, InASharedPidNamespaceItStaysOutside) {
  sandbox = std::make_unique<FakeSandbox>(folder, hierarchies, FakeSandbox::Shape{.sharedPids = true});
  const auto like = withVolume();
  const auto process = launched(like);
  ASSERT_NE(process, nullptr);
  EXPECT_TRUE(ask(like, {"--health-check"}));
  const auto bad = ask(like, {"--health-check=fail"});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().context, "exit code 7");
  const auto late = ask(like, {"answer", "hang", "/data/up"}, 1s);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().reason, Reason::not_ready) << late.error().message();
  EXPECT_TRUE(probeLeaves(process->record()).empty());
  stop(process);
}

TEST_F(CommandProbes, AFailureToRunIsNotAnAnswer) {
  auto like = request({"wait"});
  const auto process = launched(like);
  ASSERT_NE(process, nullptr);
  like.sandbox.pausePid = ::getpid();  // in the node's own network, not in a pod's
  const auto refused = ask(like, {"--health-check"});
  like.sandbox = sandbox->status();
  const auto nothing = run(launcher->probe(like, {}, kAmple));
  stop(process);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().reason, Reason::not_ready) << refused.error().message();
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().reason, Reason::invalid);
}

}  // namespace fallbackd::test
