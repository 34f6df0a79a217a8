#include "recovery/recovery.hpp"

#include "fake_launcher.hpp"
#include "recovery/manager.hpp"

#include <filesystem>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::recovery {
namespace {

using namespace std::chrono_literals;
using Kind = launcher::ExitStatus::Kind;
using test::runUntil;

struct FakeBinaries final : Binaries {
  boost::asio::awaitable<Result<cache::AdmittedPtr>> acquire(BinaryRef ref, Chooser /*chooser*/) override {
    if (refusal) co_return tl::unexpected<Error>(*refusal);
    auto admitted = std::make_shared<cache::Admitted>();
    admitted->ref = std::move(ref);
    co_return cache::AdmittedPtr(std::move(admitted));
  }
  std::optional<Error> refusal;
};

config::ConfigPtr makeConfig() {
  auto config = std::make_shared<config::Config>();
  config::Workload workload;
  workload.name = "checkout";
  workload.match = {"shop", {}, "main"};
  workload.image = "r/checkout:1";
  workload.binary = {"checkout", "1.8.3"};
  workload.restart.initialDelay = 1ms;
  workload.restart.maxDelay = 4ms;
  workload.handBack.grace = 50ms;
  workload.terminationGrace = 3s;
  config->workloads.push_back(workload);
  return config;
}

struct RecoveryTest : testing::Test {
  RecoveryTest() {
    std::string name = std::filesystem::temp_directory_path() / "recovery-test-XXXXXX";
    folder = ::mkdtemp(name.data());
    journal.emplace(std::move(*Journal::open(folder)));
    services.emplace(Services{
        loop.get_executor(), runtime, binaries, launcher, *journal, metrics, log, "node-1",
        [this](config::Readiness, std::string) { return ready(); },
        [this](decltype(config::Liveness::when), std::string, std::chrono::nanoseconds) { return alive(); }});
    manager.emplace(*services, makeConfig());
    runtime.addSandbox("s1", "shop", "checkout");
  }
  ~RecoveryTest() override {
    boost::asio::co_spawn(loop, manager->stop(), boost::asio::detached);
    loop.restart();
    loop.run_for(20s);
    std::filesystem::remove_all(folder);
  }

  cri::Awaitable<Result<>> ready() {
    if (readyGate != nullptr) co_await readyGate->passed();
    co_return readyResult;
  }
  cri::Awaitable<Result<>> alive() {
    ++questions;
    if (deadAnswers == 0) co_return Result<>{};
    --deadAnswers;
    co_return fail(Stage::readiness, Reason::not_ready, "connection refused");
  }
  void detect(const std::string& sandbox = "s1", std::optional<cri::SandboxStatus> status = std::nullopt) {
    watcher::Detection detection;
    detection.sandbox =
        runtime.sandboxes.contains(sandbox) ? runtime.sandboxes[sandbox].sandbox : cri::Sandbox{sandbox};
    auto config = std::make_shared<config::Config>(*makeConfig());
    config->workloads[0].liveness = liveness;
    config->workloads[0].imageFrom = imageFrom;
    detection.workload = watcher::WorkloadPtr(config, &config->workloads[0]);
    detection.cause = Cause::unreachable;
    detection.status = std::move(status);
    detection.waitingSince = detection.failureKnown = Monotonic::now();
    manager->detected(std::move(detection));
  }
  State state() const { return manager->incidents().empty() ? State::failed : manager->incidents()[0].state; }
  bool reaches(State wanted) {
    return runUntil(loop, [&] { return !manager->incidents().empty() && state() == wanted; });
  }
  std::size_t journalled() const { return journal->read()->entries.size(); }
  bool metric(const std::string& line) const { return metrics.serialize().find(line) != std::string::npos; }

  boost::asio::io_context loop;
  test::FakeRuntime runtime;
  FakeBinaries binaries;
  test::FakeLauncher launcher{loop};
  telemetry::Metrics metrics{"test"};
  telemetry::Log log{config::LogFormat::json, config::LogLevel::error};
  std::string folder;
  std::optional<Journal> journal;
  std::optional<Services> services;
  std::optional<Manager> manager;
  test::Gate* readyGate = nullptr;
  Result<> readyResult;
  std::optional<config::Liveness> liveness;
  Provenance imageFrom = Provenance::configuration;
  int deadAnswers = 0;
  int questions = 0;
};

TEST_F(RecoveryTest, ReachesReadyAndIsMeasured) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_EQ(launcher.launched.size(), 1U);
  EXPECT_EQ(launcher.launched[0]->request.nodeName, "node-1");
  EXPECT_EQ(launcher.launched[0]->request.sandbox.pausePid, 4242);
  EXPECT_EQ(journalled(), 1U);
  const auto stamps = manager->incidents()[0].stamps;
  EXPECT_TRUE(stamps.verified && stamps.prepared && stamps.healthChecked && stamps.started && stamps.ready);
  EXPECT_TRUE(
      metric(R"(fallbackd_recovery_seconds_count{cause="unreachable",phase="total",workload="checkout"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_recoveries_begun_total{cause="unreachable",workload="checkout"} 1)"));
  EXPECT_TRUE(metric("fallbackd_journal_entries 1"));
  EXPECT_NE(metrics.serializeOpenMetrics().find("# {recovery=\"" + manager->incidents()[0].id + "\"}"),
            std::string::npos);
  manager->containerCreated("uid-s1", "main", "c1");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 0)"));
  EXPECT_TRUE(metric("fallbackd_journal_entries 0"));
  EXPECT_TRUE(metric(R"(fallbackd_journal_operations_total{operation="remove",result="ok"} 1)"));
}

TEST_F(RecoveryTest, WhatIsKnownOfTheSandboxIsNotAskedForAgainBeforeTheFirstLaunch) {
  detect("s1", runtime.sandboxes.at("s1"));
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(launcher.launched[0]->request.sandbox.pausePid, 4242);
  EXPECT_EQ(runtime.calls, 0);
  runtime.sandboxes.at("s1").pausePid = 4343;
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[1]->request.sandbox.pausePid, 4343);
}

TEST_F(RecoveryTest, AFallbackThatFailsItsLivenessCheckIsStoppedAndRestarted) {
  liveness.emplace();
  liveness->interval = 1ms;
  liveness->failures = 3;
  deadAnswers = 2;  // too few in a row
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_TRUE(runUntil(loop, [&] { return questions >= 4; }));
  EXPECT_EQ(launcher.launched.size(), 1U);
  deadAnswers = 3;
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 3s);
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(manager->incidents()[0].restarts, 1U);
}

TEST_F(RecoveryTest, WhatNoJournalKnowsIsCollectedAtTheStart) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  const auto id = manager->incidents()[0].id;
  Manager next(*services, makeConfig());
  bool adopted = false;
  boost::asio::co_spawn(loop, next.adopt(), [&](std::exception_ptr) { adopted = true; });
  ASSERT_TRUE(runUntil(loop, [&] { return adopted; }));
  ASSERT_TRUE(launcher.kept);
  ASSERT_EQ(launcher.kept->size(), 1U);
  EXPECT_EQ(launcher.kept->front().recoveryId, id);
  boost::asio::co_spawn(loop, next.stop(), boost::asio::detached);
  loop.run_for(100ms);
}

TEST(JournalLock, OfTwoDaemonsOneHasIt) {
  std::string name = std::filesystem::temp_directory_path() / "recovery-test-XXXXXX";
  const std::string folder = ::mkdtemp(name.data());
  {
    const auto first = Journal::open(folder);
    ASSERT_TRUE(first);
    const auto second = Journal::open(folder);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().reason, Reason::already_exists);
  }
  EXPECT_TRUE(Journal::open(folder));
  std::filesystem::remove_all(folder);
}

TEST_F(RecoveryTest, ARuntimeThatGoesAwayDuringTheLaunchDelaysItOnly) {
  runtime.down = true;
  launcher.refusals = 3;
  detect();
  const int before = runtime.calls;
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 3; }));
  runtime.down = false;
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(manager->incidents().size(), 1U);
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, OneContainerHasOneRecovery) {
  detect();
  detect();
  ASSERT_TRUE(reaches(State::ready));
  detect();
  EXPECT_EQ(manager->incidents().size(), 1U);
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, AFewAreLaunchedAtOnceAndNamespacesTakeTurns) {
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->launcher.maxConcurrentLaunches = 4;
  manager->reconfigure(config);
  test::Gate gate(loop);
  launcher.launchGate = &gate;
  imageFrom = Provenance::annotation;
  for (int i = 0; i < 20; ++i) {
    runtime.addSandbox("e" + std::to_string(i), "evil", "own");
    detect("e" + std::to_string(i));
  }
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launching == 1; }));
  runtime.addSandbox("h1", "honest", "own");
  detect("h1");
  imageFrom = Provenance::configuration;
  detect("s1");
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launching == 3; }));
  EXPECT_EQ(launcher.begun, (std::vector<std::string>{"evil", "honest", "shop"}));
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 22; }));
  EXPECT_LE(launcher.mostLaunching, 4U);
}

TEST_F(RecoveryTest, WhoWaitsForALaunchEndsWithItsPod) {
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->launcher.maxConcurrentLaunches = 1;
  manager->reconfigure(config);
  test::Gate gate(loop);
  launcher.launchGate = &gate;
  runtime.addSandbox("s2", "shop", "checkout");
  detect("s1");
  detect("s2");
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launching == 1; }));
  manager->sandboxGone("s2");
  ASSERT_TRUE(runUntil(loop, [&] {
    const auto all = manager->incidents();
    return std::any_of(all.begin(), all.end(), [](const auto& one) { return one.state == State::pod_gone; });
  }));
  gate.open();
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 1; }));
}

TEST_F(RecoveryTest, ARefusedBinaryStartsNothing) {
  binaries.refusal = Error{Stage::admission, Reason::digest_mismatch, 0, "changed"};
  detect();
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_TRUE(launcher.launched.empty());
  EXPECT_EQ(manager->incidents()[0].error->reason, Reason::digest_mismatch);
  EXPECT_TRUE(metric(R"(outcome="failed",reason="digest_mismatch",stage="admission")"));
}

TEST_F(RecoveryTest, AFailedRecoveryMayBeTriedAgain) {
  launcher.refusal = Error{Stage::health_check, Reason::unhealthy, 0, "exit code 1"};
  detect();
  ASSERT_TRUE(reaches(State::failed));
  launcher.refusal.reset();
  detect();
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(manager->incidents().size(), 2U);
}

TEST_F(RecoveryTest, TheRealContainerTakesOver) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  manager->containerCreated("uid-s1", "other", "c0");
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
  manager->containerCreated("uid-s1", "main", "c1");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 50ms);
  EXPECT_EQ(journalled(), 0U);
  manager->containerStarted("c1", Monotonic::now());
  EXPECT_TRUE(metric(R"(fallbackd_hand_back_gap_seconds_count{workload="checkout"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 0)"));
}

TEST_F(RecoveryTest, AContainerThatComesBeforeTheLaunchPreventsIt) {
  runtime.sandboxes["s1"].sandbox.ready = false;  // the launch waits for the sandbox
  detect();
  loop.run_for(5ms);
  manager->containerCreated("uid-s1", "main", "c1");
  runtime.sandboxes["s1"].sandbox.ready = true;
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.launched.empty());
}

TEST_F(RecoveryTest, HandBackWhileNotYetReady) {
  test::Gate never(loop);
  readyGate = &never;
  detect();
  ASSERT_TRUE(reaches(State::started));
  manager->containerCreated("uid-s1", "main", "c1");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.launched[0]->stoppedWithGrace);
}

TEST_F(RecoveryTest, TheEndOfThePodEndsItsFallback) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  manager->sandboxGone("s1");
  ASSERT_TRUE(reaches(State::pod_gone));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 3s);
}

TEST_F(RecoveryTest, AProcessThatDiesIsStartedAgain) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  for (std::size_t round = 0; round < 3; ++round) {
    launcher.launched[round]->die(Kind::signaled, 9);
    ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == round + 2; }));
    ASSERT_TRUE(reaches(State::ready));
  }
  EXPECT_EQ(manager->incidents().size(), 1U);
  EXPECT_EQ(manager->incidents()[0].restarts, 3U);
  EXPECT_EQ(launcher.launched.back()->request.restartCount, 3U);
  EXPECT_TRUE(metric(R"(fallbackd_fallback_exits_total{kind="signaled",workload="checkout"} 3)"));
}

TEST_F(RecoveryTest, AProcessThatDiesWithItsPodIsNotStartedAgain) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  runtime.sandboxes.erase("s1");  // kubelet kills the cgroup before the sandbox's exit is told
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(reaches(State::pod_gone));
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, AProcessThatNeverGetsReadyIsStopped) {
  readyResult = fail(Stage::readiness, Reason::timeout, "port 8080");
  detect();
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_TRUE(launcher.launched[0]->stoppedWithGrace);
  EXPECT_TRUE(metric(R"(reason="timeout",stage="readiness")"));
}

TEST_F(RecoveryTest, TheNextDaemonAdoptsWhatRuns) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  boost::asio::co_spawn(loop, manager->stop(), boost::asio::detached);
  loop.restart();
  loop.run_for(20s);
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace) << "it runs on";

  manager.emplace(*services, makeConfig());
  boost::asio::co_spawn(loop, manager->adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.adopted.size() == 1; }));
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_TRUE(manager->incidents()[0].adopted);
  EXPECT_TRUE(metric(R"(fallbackd_adoptions_total{result="adopted"} 1)"));
  detect();
  EXPECT_EQ(launcher.launched.size(), 1U) << "nothing is started twice";
  manager->containerCreated("uid-s1", "main", "c1");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.adopted[0]->stoppedWithGrace);
}

TEST_F(RecoveryTest, WhatDiedMeanwhileIsForgotten) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  boost::asio::co_spawn(loop, manager->stop(), boost::asio::detached);
  loop.restart();
  loop.run_for(20s);
  launcher.adoptable = false;
  manager.emplace(*services, makeConfig());
  boost::asio::co_spawn(loop, manager->adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return journalled() == 0; }));
  EXPECT_TRUE(manager->incidents().empty());
}

}  // namespace
}  // namespace fallbackd::recovery
