// SPDX-License-Identifier: Apache-2.0
#include "recovery/recovery.hpp"

#include "fake_launcher.hpp"
#include "recovery/recoveries.hpp"
#include "telemetry/metrics.hpp"

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
    journal->countIn(metrics.journal);
    services.emplace(
        Services{loop.get_executor(), runtime, binaries, launcher, *journal, metrics.recovery,
                 metrics.detection, metrics.orders, log, "node-1",
                 [this](config::Readiness, launcher::Place place) { return ready(std::move(place)); },
                 [this](decltype(config::Liveness::when), launcher::Place, std::chrono::nanoseconds) {
                   return alive();
                 },
                 [this](pid_t) { return nodeAddresses; }});
    recoveries.emplace(*services, makeConfig());
    runtime.addSandbox("s1", "shop", "checkout");
  }
  ~RecoveryTest() override {
    stop(*recoveries);
    std::filesystem::remove_all(folder);
  }

  cri::Awaitable<Result<>> ready(launcher::Place place) {
    ++readyQuestions;
    askedAt = std::move(place);
    if (readyGate != nullptr) co_await readyGate->passed();
    co_return readyResult;
  }
  cri::Awaitable<Result<>> alive() {
    ++questions;
    if (deadAnswers == 0) co_return Result<>{};
    --deadAnswers;
    co_return fail(Stage::readiness, deadReason, "connection refused");
  }
  void stop(Recoveries& one) {
    bool stopped = false;
    boost::asio::co_spawn(loop, one.stop(), [&](const std::exception_ptr&) { stopped = true; });
    EXPECT_TRUE(runUntil(loop, [&] { return stopped; }));
  }
  void detect(const std::string& sandbox = "s1", std::optional<cri::SandboxStatus> status = std::nullopt) {
    watcher::Detection detection;
    detection.sandbox =
        runtime.sandboxes.contains(sandbox) ? runtime.sandboxes[sandbox].sandbox : cri::Sandbox{sandbox};
    auto config = std::make_shared<config::Config>(*makeConfig());
    config->workloads[0].liveness = liveness;
    config->workloads[0].imageFrom = imageFrom;
    config->workloads[0].restart.policy = restartPolicy;
    config->workloads[0].mode = mode;
    detection.workload = watcher::WorkloadPtr(config, &config->workloads[0]);
    config->workloads[0].handBack.on = handBackOn;
    detection.cause = cause;
    detection.status = std::move(status);
    detection.waitingSince = detection.failureKnown = clock.now();
    recoveries->detected(std::move(detection));
  }
  /// The watcher's report.
  void kubeletMakes(const std::string& id, const std::string& name, const std::string& image = "r/checkout:1",
                    const std::string& imageId = "sha256:real") {
    cri::Container container{id, "s1", name, 0, cri::Container::State::created, image, imageId};
    recoveries->containerCreated("uid-s1", container);
  }
  State state() const {
    return recoveries->incidents().empty() ? State::failed : recoveries->incidents()[0].state;
  }
  bool reaches(State wanted) {
    return runUntil(loop, [&] { return !recoveries->incidents().empty() && state() == wanted; });
  }
  std::size_t journalled() const { return journal->read()->entries.size(); }
  bool metric(const std::string& line) const { return metrics.serialize().find(line) != std::string::npos; }

  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::FakeRuntime runtime;
  FakeBinaries binaries;
  test::FakeLauncher launcher{loop};
  telemetry::Metrics metrics{"test"};
  telemetry::Log log{config::LogFormat::json, config::LogLevel::error};
  std::string folder;
  std::optional<Journal> journal;
  std::optional<Services> services;
  std::optional<Recoveries> recoveries;
  test::Gate* readyGate = nullptr;
  Result<> readyResult;
  std::optional<config::Liveness> liveness;
  Provenance imageFrom = Provenance::configuration;
  Cause cause = Cause::unreachable;
  config::HandBackOn handBackOn = config::HandBackOn::container;
  std::optional<config::RestartPolicy> restartPolicy;
  std::optional<config::Mode> mode;
  int deadAnswers = 0;
  int questions = 0;
  int readyQuestions = 0;
  Reason deadReason = Reason::not_ready;
  std::optional<launcher::Place> askedAt;
  std::vector<std::string> nodeAddresses;
};

TEST_F(RecoveryTest, ReachesReadyAndIsMeasured) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_EQ(launcher.launched.size(), 1U);
  EXPECT_EQ(launcher.launched[0]->request.nodeName, "node-1");
  EXPECT_EQ(launcher.launched[0]->request.sandbox.pausePid, 4242);
  EXPECT_EQ(journalled(), 1U);
  const auto stamps = recoveries->incidents()[0].stamps;
  EXPECT_TRUE(stamps.verified && stamps.prepared && stamps.healthChecked && stamps.started && stamps.ready);
  EXPECT_TRUE(
      metric(R"(fallbackd_recovery_seconds_count{cause="unreachable",phase="total",workload="checkout"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_recoveries_begun_total{cause="unreachable",workload="checkout"} 1)"));
  EXPECT_TRUE(metric("fallbackd_journal_entries 1"));
  EXPECT_NE(metrics.serializeOpenMetrics().find("# {recovery=\"" + recoveries->incidents()[0].id + "\"}"),
            std::string::npos);
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 0)"));
  EXPECT_TRUE(metric("fallbackd_journal_entries 0"));
  EXPECT_TRUE(metric(R"(fallbackd_journal_operations_total{operation="remove",result="ok"} 1)"));
}

using config::RestartPolicy;

TEST_F(RecoveryTest, ExitCodeZeroCompletesAJobAndItIsNotRunAgain) {
  for (const auto policy : {RestartPolicy::on_failure, RestartPolicy::never}) {
    const auto before = launcher.launched.size();
    const std::string sandbox = policy == RestartPolicy::never ? "s2" : "s1";
    runtime.addSandbox(sandbox, "shop", "checkout");
    restartPolicy = policy;
    detect(sandbox);
    ASSERT_TRUE(reaches(State::ready));
    launcher.launched.back()->die(Kind::exited, 0);
    ASSERT_TRUE(reaches(State::completed));
    EXPECT_TRUE(launcher.launched.back()->stoppedWithGrace) << "its cgroup and logs are cleaned up";
    detect(sandbox);
    detect(sandbox);
    EXPECT_EQ(launcher.launched.size(), before + 1);
    EXPECT_EQ(recoveries->incidents().size(), before + 1) << "no recovery begins";
  }
  EXPECT_TRUE(metric(R"(outcome="completed",reason="",stage="",workload="checkout"} 2)"));
}

TEST_F(RecoveryTest, OnFailureRunsAgainAfterAFailureAndNeverDoesNot) {
  restartPolicy = RestartPolicy::on_failure;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[0]->die(Kind::exited, 1);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[1]->die(Kind::exited, 0);
  ASSERT_TRUE(reaches(State::completed));

  runtime.addSandbox("s2", "shop", "checkout");
  restartPolicy = RestartPolicy::never;
  detect("s2");
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[2]->die(Kind::signaled, 11);
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_EQ(recoveries->incidents()[0].error->reason, Reason::signaled);
  detect("s2");
  EXPECT_EQ(launcher.launched.size(), 3U);
}

TEST_F(RecoveryTest, TheNextDaemonDoesNotRunCompletedWork) {
  restartPolicy = RestartPolicy::on_failure;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[0]->die(Kind::exited, 0);
  ASSERT_TRUE(reaches(State::completed));
  Recoveries next(*services, makeConfig());
  boost::asio::co_spawn(loop, next.adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return !next.incidents().empty(); }));
  EXPECT_EQ(next.incidents()[0].state, State::completed);
  EXPECT_EQ(launcher.adoptions, 0);
  watcher::Detection detection;
  detection.sandbox = runtime.sandboxes["s1"].sandbox;
  const auto config = makeConfig();
  detection.workload = watcher::WorkloadPtr(config, &config->workloads[0]);
  next.detected(std::move(detection));
  EXPECT_EQ(next.incidents().size(), 1U);
  runtime.sandboxes.clear();  // the pod is deleted
  next.connection(true, "");
  EXPECT_TRUE(runUntil(loop, [&] { return journalled() == 0; })) << "the journal must not grow for ever";
  stop(next);
}

TEST_F(RecoveryTest, CompletedWorkIsForgottenWhenItsPodIsRemovedLater) {
  restartPolicy = RestartPolicy::never;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.launched[0]->die(Kind::exited, 0);
  ASSERT_TRUE(reaches(State::completed));
  runtime.sandboxes["s1"].sandbox.ready = false;
  const auto calls = runtime.calls;
  recoveries->sandboxGone("s1");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > calls; }));
  EXPECT_EQ(journalled(), 1U) << "it is still there";
  runtime.sandboxes.clear();
  EXPECT_TRUE(runUntil(loop, [&] { return journalled() == 0; }));
}

TEST_F(RecoveryTest, WorkThatMayHaveCompletedWithoutADaemonIsNotRunAgain) {
  restartPolicy = RestartPolicy::on_failure;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.adoptable = false;
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->workloads[0].restart.policy = restartPolicy;
  Recoveries next(*services, config);
  boost::asio::co_spawn(loop, next.adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return !next.incidents().empty(); }));
  EXPECT_EQ(next.incidents()[0].state, State::failed);
  EXPECT_TRUE(next.incidents()[0].neverAgain);
  ASSERT_EQ(journalled(), 1U) << "a third daemon must know it as well";
  EXPECT_TRUE(journal->read()->entries[0].incident.neverAgain);
  stop(next);
}

TEST_F(RecoveryTest, TheKnownSandboxStatusIsUsedForTheFirstLaunch) {
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
  deadAnswers = 2;  // not enough in a row
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_TRUE(runUntil(loop, [&] { return questions >= 4; }));
  EXPECT_EQ(launcher.launched.size(), 1U);
  deadAnswers = 3;
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 3s);
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(recoveries->incidents()[0].restarts, 1U);
}

TEST_F(RecoveryTest, UnjournaledLeavesAreCollectedAtTheStart) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  const auto id = recoveries->incidents()[0].id;
  Recoveries next(*services, makeConfig());
  bool adopted = false;
  boost::asio::co_spawn(loop, next.adopt(), [&](std::exception_ptr) { adopted = true; });
  ASSERT_TRUE(runUntil(loop, [&] { return adopted; }));
  ASSERT_TRUE(launcher.kept);
  ASSERT_EQ(launcher.kept->size(), 1U);
  EXPECT_EQ(launcher.kept->front().recoveryId, id);
  stop(next);
}

TEST(JournalLock, OnlyOneOfTwoDaemonsHasIt) {
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

TEST_F(RecoveryTest, ARuntimeThatGoesAwayOnlyDelaysTheLaunch) {
  runtime.down = true;
  launcher.refusals = 3;
  detect();
  const int before = runtime.calls;
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 3; }));
  runtime.down = false;
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(recoveries->incidents().size(), 1U);
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, OneContainerHasOneRecovery) {
  detect();
  detect();
  ASSERT_TRUE(reaches(State::ready));
  detect();
  EXPECT_EQ(recoveries->incidents().size(), 1U);
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, ConcurrentLaunchesAreLimitedAndNamespacesTakeTurns) {
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->launcher.maxConcurrentLaunches = 4;
  recoveries->reconfigure(config);
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

TEST_F(RecoveryTest, AWaitingLaunchEndsWithItsPod) {
  auto config = std::make_shared<config::Config>(*makeConfig());
  config->launcher.maxConcurrentLaunches = 1;
  recoveries->reconfigure(config);
  test::Gate gate(loop);
  launcher.launchGate = &gate;
  runtime.addSandbox("s2", "shop", "checkout");
  detect("s1");
  detect("s2");
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launching == 1; }));
  recoveries->sandboxGone("s2");
  ASSERT_TRUE(runUntil(loop, [&] {
    const auto all = recoveries->incidents();
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
  EXPECT_EQ(recoveries->incidents()[0].error->reason, Reason::digest_mismatch);
  EXPECT_TRUE(metric(R"(outcome="failed",reason="digest_mismatch",stage="admission")"));
}

TEST_F(RecoveryTest, AFailedRecoveryMayBeRetried) {
  launcher.refusal = Error{Stage::health_check, Reason::unhealthy, 0, "exit code 1"};
  detect();
  ASSERT_TRUE(reaches(State::failed));
  launcher.refusal.reset();
  detect();
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_EQ(recoveries->incidents().size(), 2U);
}

TEST_F(RecoveryTest, TheRealContainerTakesOver) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c0", "other");
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 50ms);
  EXPECT_EQ(journalled(), 0U);
  recoveries->containerStarted("c1", clock.now());
  EXPECT_TRUE(metric(R"(fallbackd_hand_back_gap_seconds_count{workload="checkout"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 0)"));
}

TEST_F(RecoveryTest, AContainerWithAnotherImageDoesNotEndTheFallback) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  runtime.references["sha256:tool"] = {"r/toolbox:latest", "elsewhere.example/r/checkout:1"};
  const int before = runtime.calls;
  kubeletMakes("c1", "main", "r/toolbox:latest", "sha256:tool");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before; }));
  clock.advance(loop, 1min);
  EXPECT_EQ(state(), State::ready);
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
}

TEST_F(RecoveryTest, AnImageIsRecognisedByItsIdOrDigest) {
  // A rollout: a version of the workload's image other than the one in this node's configuration.
  runtime.references["sha256:new"] = {"r/checkout:2", "r/checkout@sha256:" + std::string(64, '0')};
  detect();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c1", "main", "", "sha256:new");
  ASSERT_TRUE(reaches(State::handed_back));
  runtime.references["sha256:digest"] = {"r/checkout@sha256:" + std::string(64, '0')};
  detect();
  ASSERT_TRUE(reaches(State::ready));
  kubeletMakes("c2", "main", "", "sha256:digest");
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(RecoveryTest, AnUnansweredImageQueryIsRetried) {
  runtime.references["sha256:real"] = {"r/checkout:1"};
  detect();
  ASSERT_TRUE(reaches(State::ready));
  runtime.deafToReferences = true;
  const int before = runtime.calls;
  kubeletMakes("c1", "main", "");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 2; }));
  EXPECT_EQ(state(), State::ready);
  runtime.deafToReferences = false;
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(RecoveryTest, AContainerCreatedBeforeTheLaunchPreventsIt) {
  runtime.sandboxes["s1"].sandbox.ready = false;  // the launch waits for the sandbox
  detect();
  clock.advance(loop, 5ms);
  kubeletMakes("c1", "main");
  runtime.sandboxes["s1"].sandbox.ready = true;
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.launched.empty());
}

TEST_F(RecoveryTest, HandBackWhileNotYetReady) {
  test::Gate never(loop);
  readyGate = &never;
  detect();
  ASSERT_TRUE(reaches(State::started));
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.launched[0]->stoppedWithGrace);
}

TEST_F(RecoveryTest, TheEndOfThePodEndsItsFallback) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->sandboxGone("s1");
  ASSERT_TRUE(reaches(State::pod_gone));
  EXPECT_EQ(launcher.launched[0]->stoppedWithGrace, 3s);
}

TEST_F(RecoveryTest, AProcessThatDiesIsRestarted) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  for (std::size_t round = 0; round < 3; ++round) {
    launcher.launched[round]->die(Kind::signaled, 9);
    ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == round + 2; }));
    ASSERT_TRUE(reaches(State::ready));
  }
  EXPECT_EQ(recoveries->incidents().size(), 1U);
  EXPECT_EQ(recoveries->incidents()[0].restarts, 3U);
  EXPECT_EQ(launcher.launched.back()->request.restartCount, 3U);
  EXPECT_TRUE(metric(R"(fallbackd_fallback_exits_total{kind="signaled",workload="checkout"} 3)"));
}

TEST_F(RecoveryTest, AProcessThatDiesWithItsPodIsNotRestarted) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  runtime.sandboxes.erase("s1");  // kubelet kills the cgroup before the sandbox's exit is reported
  launcher.launched[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(reaches(State::pod_gone));
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, AProcessThatNeverBecomesReadyIsStopped) {
  readyResult = fail(Stage::readiness, Reason::not_ready, "port 8080");
  detect();
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_TRUE(launcher.launched[0]->stoppedWithGrace);
  EXPECT_TRUE(metric(R"(reason="not_ready",stage="readiness")"));
}

TEST_F(RecoveryTest, AnUnprobeableFallbackIsLeftAlone) {
  readyResult = fail(Stage::readiness, Reason::invalid, "the pod's address is not known");
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return readyQuestions >= 3; }));
  ASSERT_TRUE(reaches(State::started));
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
  ASSERT_TRUE(recoveries->incidents()[0].error) << "the status must show that readiness is unknown";
  EXPECT_EQ(recoveries->incidents()[0].error->message(),
            "readiness: invalid: the pod's address is not known");
  readyResult = {};
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_FALSE(recoveries->incidents()[0].error);
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(RecoveryTest, AnUnprobeableLivenessRestartsNothing) {
  liveness.emplace();
  liveness->interval = 1ms;
  liveness->failures = 2;
  deadReason = Reason::unavailable;
  deadAnswers = 10;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  ASSERT_TRUE(runUntil(loop, [&] { return questions >= 8; }));
  EXPECT_TRUE(recoveries->incidents()[0].error);
  EXPECT_EQ(launcher.launched.size(), 1U);
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace);
  ASSERT_TRUE(runUntil(loop, [&] { return !recoveries->incidents()[0].error; }));
}

TEST_F(RecoveryTest, APodOnTheHostsNetworkHasTheNodesNameAndAddress) {
  nodeAddresses = {"192.0.2.7", "2001:db8::7"};
  auto& status = runtime.sandboxes.at("s1");
  status.network = cri::NamespaceMode::node;
  status.ips.clear();
  status.hostname.clear();
  detect();
  ASSERT_TRUE(reaches(State::ready));
  const auto& sandbox = launcher.launched[0]->request.sandbox;
  EXPECT_EQ(sandbox.ips, nodeAddresses);
  EXPECT_EQ(sandbox.hostname, "node-1");
  ASSERT_TRUE(askedAt);
  EXPECT_EQ(askedAt->ip, "192.0.2.7");
  EXPECT_EQ(recoveries->incidents()[0].podIp, "192.0.2.7");
}

TEST_F(RecoveryTest, TheNextDaemonAdoptsRunningFallbacks) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  stop(*recoveries);
  EXPECT_FALSE(launcher.launched[0]->stoppedWithGrace) << "it keeps running";

  recoveries.emplace(*services, makeConfig());
  boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.adopted.size() == 1; }));
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_TRUE(recoveries->incidents()[0].adopted);
  EXPECT_TRUE(metric(R"(fallbackd_adoptions_total{result="adopted"} 1)"));
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 1)")) << "it is counted once";
  detect();
  EXPECT_EQ(launcher.launched.size(), 1U) << "nothing is started twice";
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.adopted[0]->stoppedWithGrace);
}

/// The next daemon and its Recoveries, with this configuration.
struct NextDaemonTest : RecoveryTest {
  void next(const config::ConfigPtr& config) {
    stop(*recoveries);
    launcher.kept.reset();
    recoveries.emplace(*services, config);
    bool adopted = false;
    boost::asio::co_spawn(loop, recoveries->adopt(), [&](std::exception_ptr) { adopted = true; });
    ASSERT_TRUE(runUntil(loop, [&] { return adopted; }));
  }
  /// A fallback that was chosen only by its pod's annotations.
  void detectAnnotated() {
    annotated = std::make_shared<config::Config>();
    annotated->podAnnotations.namespaces = {"shop"};
    auto& sandbox = runtime.sandboxes.at("s1").sandbox;
    sandbox.annotations = {{"fallbackd.io/binary.main", "web@2.0.0"}, {"fallbackd.io/image.main", "r/web:2"}};
    watcher::Detection detection;
    detection.sandbox = sandbox;
    detection.workload = watcher::workloadsFor(annotated, sandbox, nullptr).workloads.at(0);
    detection.waitingSince = detection.failureKnown = clock.now();
    recoveries->detected(std::move(detection));
    ASSERT_TRUE(reaches(State::ready));
  }
  /// As a daemon of version 0.1 wrote it.
  void forgetWhatChoseTheWorkload() {
    auto entry = journal->read()->entries.at(0);
    entry.pod.reset();
    ASSERT_TRUE(journal->write(entry));
  }
  std::shared_ptr<config::Config> annotated;
};

TEST_F(NextDaemonTest, KeepsAnnotatedFallbacksWhileContainerdIsDown) {
  detectAnnotated();
  runtime.down = true;
  next(annotated);
  ASSERT_TRUE(reaches(State::ready));
  EXPECT_FALSE(launcher.adopted.at(0)->stoppedWithGrace);
  EXPECT_EQ(journalled(), 1U);
  runtime.down = false;
  launcher.adopted[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[1]->request.workload.binary.toString(), "web@2.0.0");
  EXPECT_EQ(launcher.launched[1]->request.workload.image, "r/web:2");
}

TEST_F(NextDaemonTest, AnOlderJournalIsKeptUntilContainerdRevealsTheWorkloadsOrigin) {
  detectAnnotated();
  forgetWhatChoseTheWorkload();
  runtime.down = true;
  next(annotated);
  const int before = runtime.calls;
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 2; }));
  EXPECT_EQ(state(), State::ready);
  EXPECT_FALSE(launcher.adopted.at(0)->stoppedWithGrace);
  // It dies before the workload's origin is known: it is restarted once that is known.
  launcher.adopted[0]->die(Kind::signaled, 9);
  clock.advance(loop, 50ms);
  EXPECT_EQ(launcher.launched.size(), 1U);
  runtime.down = false;
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[1]->request.workload.binary.toString(), "web@2.0.0");
}

TEST_F(NextDaemonTest, OnceContainerdAnswersTheConfigurationDecides) {
  detectAnnotated();
  forgetWhatChoseTheWorkload();
  runtime.down = true;
  next(annotated);
  EXPECT_FALSE(launcher.adopted.at(0)->stoppedWithGrace);
  runtime.sandboxes.at("s1").sandbox.annotations.clear();
  runtime.down = false;
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_TRUE(launcher.adopted[0]->stoppedWithGrace);
  EXPECT_EQ(recoveries->incidents()[0].error->context, "its workload is not configured any more");
}

TEST_F(NextDaemonTest, ANamespaceThatMayNoLongerChooseLosesItsFallback) {
  detectAnnotated();
  runtime.down = true;
  next(std::make_shared<config::Config>());
  ASSERT_TRUE(reaches(State::failed));
  EXPECT_TRUE(launcher.adopted.at(0)->stoppedWithGrace);
}

TEST_F(NextDaemonTest, AnUninspectableProcessIsLeftAloneAndRetried) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  launcher.blindTo = 3;
  next(makeConfig());
  ASSERT_EQ(launcher.kept->size(), 1U) << "its leaf must not be collected";
  EXPECT_EQ(journalled(), 1U);
  detect();
  EXPECT_EQ(launcher.launched.size(), 1U) << "nothing is started beside it";
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.adopted.size() == 1; }));
  ASSERT_TRUE(reaches(State::ready));
  detect();
  EXPECT_EQ(launcher.launched.size(), 1U);
}

TEST_F(NextDaemonTest, APodDeletedWhileContainerdWasSilentIsNoticedLater) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  next(makeConfig());
  runtime.down = true;
  recoveries->connection(true, "");
  const int before = runtime.calls;
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 2; }));
  EXPECT_EQ(state(), State::ready);
  runtime.sandboxes.clear();
  runtime.down = false;
  ASSERT_TRUE(reaches(State::pod_gone));
}

launcher::Unclaimed unclaimed() {
  launcher::Unclaimed one;
  one.record.recoveryId = "0123456789ab";
  one.record.pid = 77;
  one.podUid = "uid-s1";
  one.container = "main";
  one.binary = BinaryRef{"checkout", "1.8.2"};
  return one;
}

TEST_F(NextDaemonTest, UnjournaledFallbacksAreAdoptedFromTheirCgroup) {
  launcher.unclaimed = {unclaimed()};
  launcher.restartsInLogs = 3;
  runtime.down = true;
  next(makeConfig());
  const int before = runtime.calls;
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 2; }));
  EXPECT_TRUE(launcher.discarded.empty()) << "it is unknown whether its pod is gone";
  detect();
  EXPECT_TRUE(launcher.launched.empty()) << "its leaf is taken";
  runtime.down = false;
  ASSERT_TRUE(reaches(State::ready));
  const auto incident = recoveries->incidents()[0];
  EXPECT_EQ(incident.id, "0123456789ab");
  EXPECT_EQ(incident.workload, "checkout");
  EXPECT_EQ(incident.binary.toString(), "checkout@1.8.2") << "the running version, not the configured one";
  EXPECT_TRUE(incident.adopted);
  EXPECT_EQ(incident.restarts, 3U);
  EXPECT_EQ(journalled(), 1U) << "the next daemon finds it in the journal";
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(NextDaemonTest, ARealContainerCreatedBeforeTheAdoptionTakesOver) {
  launcher.unclaimed = {unclaimed()};
  runtime.addContainer("c1", "s1", "main").image = "r/checkout:1";
  next(makeConfig());
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(NextDaemonTest, ASandboxThatStoppedMeanwhileEndsItsFallback) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  next(makeConfig());
  ASSERT_TRUE(reaches(State::ready));
  runtime.stopSandbox("s1");  // CRI still lists it, and kubelet removes it when it likes
  recoveries->connection(true, "");
  EXPECT_TRUE(reaches(State::pod_gone));
}

TEST_F(NextDaemonTest, UnownedFallbacksAreEnded) {
  auto other = unclaimed();
  other.container = "sidecar";
  other.record.pid = 78;
  auto gone = unclaimed();
  gone.podUid = "uid-gone";
  gone.record.pid = 79;
  launcher.unclaimed = {other, gone};
  next(makeConfig());
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.discarded.size() == 2; }));
  EXPECT_TRUE(recoveries->incidents().empty());
  launcher.unclaimed = {unclaimed()};
  launcher.inSandbox = false;
  next(makeConfig());
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.discarded.size() == 3; }));
}

TEST_F(NextDaemonTest, UninspectableFallbacksAreLeftAlone) {
  auto blind = unclaimed();
  blind.record.pid = 0;
  blind.why = "what runs in /a cannot be looked at";
  launcher.unclaimed = {blind};
  next(makeConfig());
  clock.advance(loop, 1min);
  EXPECT_TRUE(launcher.discarded.empty());
  detect();
  EXPECT_TRUE(launcher.launched.empty());
}

TEST_F(RecoveryTest, AFallbackThatDiedMeanwhileIsForgotten) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  stop(*recoveries);
  launcher.adoptable = false;
  recoveries.emplace(*services, makeConfig());
  boost::asio::co_spawn(loop, recoveries->adopt(), boost::asio::detached);
  ASSERT_TRUE(runUntil(loop, [&] { return journalled() == 0; }));
  EXPECT_TRUE(recoveries->incidents().empty());
}

TEST_F(RecoveryTest, ARecoveryIsWithdrawnOnceKubeletIsNoLongerHeldUp) {
  cause = Cause::not_started;
  runtime.sandboxes["s1"].sandbox.ready = false;  // so that it waits
  detect();
  ASSERT_TRUE(reaches(State::verified));
  recoveries->noLongerHeldUp("s1", "main");
  ASSERT_TRUE(reaches(State::withdrawn));
  EXPECT_TRUE(launcher.launched.empty());
  EXPECT_EQ(journalled(), 0U);
  EXPECT_TRUE(metric("cause=\"not_started\",outcome=\"withdrawn\""));
  runtime.sandboxes["s1"].sandbox.ready = true;
  detect();
  ASSERT_TRUE(reaches(State::ready)) << "it may be held up again";
}

TEST_F(RecoveryTest, ARunningFallbackIsNotWithdrawnAndEndsWithTheContainer) {
  cause = Cause::not_started;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->noLongerHeldUp("s1", "main");
  clock.advance(loop, 1s);
  EXPECT_EQ(state(), State::ready);
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(RecoveryTest, OtherCausesAreNotWithdrawn) {
  runtime.sandboxes["s1"].sandbox.ready = false;
  detect();
  ASSERT_TRUE(reaches(State::verified));
  recoveries->noLongerHeldUp("s1", "main");
  runtime.sandboxes["s1"].sandbox.ready = true;
  ASSERT_TRUE(reaches(State::ready));
}

/// The image was present from the beginning, so its arrival says nothing about the container.
TEST_F(RecoveryTest, AnImageDoesNotEndANotStartedRecovery) {
  cause = Cause::not_started;
  handBackOn = config::HandBackOn::image;
  detect();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->imageArrived("r/checkout:1");
  clock.advance(loop, 1s);
  EXPECT_EQ(state(), State::ready);
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
}

config::Pause pauseOf(const std::string& namespaceName) {
  config::Pause pause;
  pause.namespaces[namespaceName] = {{}, "a bad day"};
  return pause;
}

TEST_F(RecoveryTest, APauseStartsNothingNewAndLetsRunningOnesGoOn) {
  runtime.addSandbox("s2", "shop", "cart");
  detect();
  ASSERT_TRUE(reaches(State::ready));
  recoveries->pause(pauseOf("shop"));
  detect("s2");
  detect("s2");
  launcher.launched[0]->die(Kind::exited, 1);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; })) << "the running one restarts";
  ASSERT_EQ(recoveries->withholding().all().size(), 1U);
  const auto one = recoveries->withholding().all()[0];
  EXPECT_EQ(one.by, Withheld::By::pause);
  EXPECT_EQ(one.target.sandboxId, "s2");
  EXPECT_EQ(recoveries->incidents().size(), 1U);

  recoveries->pause({});
  EXPECT_TRUE(recoveries->withholding().all().empty());
  detect("s2");
  EXPECT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 3; }));
}

TEST_F(RecoveryTest, APauseOfAnotherNamespaceDoesNotCount) {
  recoveries->pause(pauseOf("bank"));
  detect();
  EXPECT_TRUE(reaches(State::ready));
}

TEST_F(RecoveryTest, APauseOfTheNodeCountsEverywhere) {
  config::Pause pause;
  pause.node = config::Pause::Order{{}, "maintenance"};
  recoveries->pause(pause);
  detect();
  EXPECT_EQ(recoveries->withholding().all().size(), 1U);
  EXPECT_TRUE(recoveries->incidents().empty());
}

TEST_F(RecoveryTest, ObservingDecidesAndStartsNothing) {
  mode = config::Mode::observe;
  detect();
  ASSERT_TRUE(
      runUntil(loop, [&] { return recoveries->withholding().all().at(0).wouldStartAfter.has_value(); }));
  const auto one = recoveries->withholding().all()[0];
  EXPECT_EQ(one.by, Withheld::By::observe);
  EXPECT_EQ(one.binary.toString(), "checkout@1.8.3");
  EXPECT_TRUE(launcher.launched.empty());
  EXPECT_TRUE(recoveries->incidents().empty());
  EXPECT_EQ(journalled(), 0U);
  kubeletMakes("c1", "main");
  EXPECT_TRUE(recoveries->withholding().all().empty());
}

TEST_F(RecoveryTest, ObservingTellsWhyNothingWouldHaveStarted) {
  mode = config::Mode::observe;
  binaries.refusal = Error{Stage::admission, Reason::expired, 0, "it expired"};
  detect();
  ASSERT_TRUE(runUntil(loop, [&] { return recoveries->withholding().all().at(0).refused.has_value(); }));
  EXPECT_FALSE(recoveries->withholding().all()[0].wouldStartAfter);
  binaries.refusal.reset();
  detect();
  EXPECT_TRUE(runUntil(loop, [&] {
    return recoveries->withholding().all().at(0).wouldStartAfter.has_value();
  })) << "a binary that was installed meanwhile counts";
  EXPECT_FALSE(recoveries->withholding().all()[0].refused);
  recoveries->sandboxGone("s1");
  EXPECT_TRUE(recoveries->withholding().all().empty());
}

}  // namespace
}  // namespace fallbackd::recovery
