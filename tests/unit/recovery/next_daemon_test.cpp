// SPDX-License-Identifier: Apache-2.0
// How the next daemon treats the fallbacks that it finds.
#include "config/drill.hpp"
#include "recovery_fixture.hpp"

namespace fallbackd::recovery {
namespace {

using test::runUntil;

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
  EXPECT_TRUE(metric(R"(fallbackd_active_fallbacks{workload="checkout"} 1)"))
      << "the fallback is counted once";
  detect();
  EXPECT_EQ(launcher.launched.size(), 1U) << "nothing is started twice";
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
  EXPECT_TRUE(launcher.adopted[0]->stoppedWithGrace);
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

/// Starts the next daemon's Recoveries with a given configuration.
struct NextDaemonTest : RecoveryTest {
  void next(const config::ConfigPtr& config) {
    stop(*recoveries);
    launcher.kept.reset();
    recoveries.emplace(*services, config);
    bool adopted = false;
    boost::asio::co_spawn(loop, recoveries->adopt(), [&](std::exception_ptr) { adopted = true; });
    ASSERT_TRUE(runUntil(loop, [&] { return adopted; }));
  }
  /// Starts the fallback that the configuration has for the sandbox.
  void detectBy(const config::ConfigPtr& config) {
    const auto& sandbox = runtime.sandboxes.at("s1").sandbox;
    watcher::Detection detection;
    detection.sandbox = sandbox;
    detection.workload = watcher::workloadsFor(config, sandbox, nullptr).workloads.at(0);
    detection.waitingSince = detection.failureKnown = clock.now();
    recoveries->detected(std::move(detection));
    ASSERT_TRUE(reaches(State::ready));
  }
  /// Starts a fallback that only its pod's annotations choose.
  void detectAnnotated() {
    annotated = std::make_shared<config::Config>();
    annotated->podAnnotations.namespaces = {"shop"};
    auto& sandbox = runtime.sandboxes.at("s1").sandbox;
    sandbox.annotations = {{"fallbackd.io/binary.main", "web@2.0.0"}, {"fallbackd.io/image.main", "r/web:2"}};
    ASSERT_NO_FATAL_FAILURE(detectBy(annotated));
  }
  /// Makes the journal entry look as if a daemon of version 0.1 wrote it.
  void removeThePodFromTheJournal() {
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
  removeThePodFromTheJournal();
  runtime.down = true;
  next(annotated);
  const int before = runtime.calls;
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.calls > before + 2; }));
  EXPECT_EQ(state(), State::ready);
  EXPECT_FALSE(launcher.adopted.at(0)->stoppedWithGrace);
  // The fallback dies before the workload's origin is known: it is restarted once that is known.
  launcher.adopted[0]->die(Kind::signaled, 9);
  clock.advance(loop, 50ms);
  EXPECT_EQ(launcher.launched.size(), 1U);
  runtime.down = false;
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[1]->request.workload.binary.toString(), "web@2.0.0");
}

TEST_F(NextDaemonTest, OnceContainerdAnswersTheConfigurationDecides) {
  detectAnnotated();
  removeThePodFromTheJournal();
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
  EXPECT_TRUE(launcher.discarded.empty()) << "it is unknown whether its pod still exists";
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
  runtime.stopSandbox("s1");  // CRI still lists it until kubelet removes it
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

/// A drill's fallback in the pod "checkout", which has the drill's label.
struct NextDaemonAfterADrill : NextDaemonTest {
  NextDaemonAfterADrill() { runtime.sandboxes.at("s1").sandbox.podName = "checkout"; }
  /// The configuration's workload is for other pods.
  static std::shared_ptr<config::Config> others() {
    auto config = std::make_shared<config::Config>(*makeConfig());
    config->workloads[0].match.labels = {{"app", "checkout"}};
    return config;
  }
  void rehearse(const config::ConfigPtr& config) {
    auto& sandbox = runtime.sandboxes.at("s1").sandbox;
    sandbox.labels = {{std::string(config::kDrillLabel), "checkout"}};
    const auto drilled = config::withDrill(config, {"checkout", "shop", "checkout"}).value();
    ASSERT_NO_FATAL_FAILURE(detectBy(drilled));
    ASSERT_EQ(recoveries->incidents()[0].workload, config::kDrillWorkload);
  }
  /// Expects that the fallback runs on unchanged.
  void expectKept() {
    ASSERT_EQ(launcher.adopted.size(), 1U);
    clock.advance(loop, 1min);
    EXPECT_EQ(state(), State::ready);
    EXPECT_FALSE(launcher.adopted[0]->stoppedWithGrace);
    EXPECT_EQ(recoveries->incidents()[0].workload, config::kDrillWorkload);
    ASSERT_EQ(journalled(), 1U);
    EXPECT_EQ(journal->read()->entries[0].pod->labels.count(std::string(config::kDrillLabel)), 1U)
        << "the daemon after the next one must know about the drill, too";
  }
  /// Expects that no fallback is started in its pod after this one.
  void expectNothingAfterIt() {
    launcher.adopted.at(0)->die(Kind::signaled, 9);
    ASSERT_TRUE(reaches(State::failed));
    EXPECT_EQ(launcher.launched.size(), 1U);
    EXPECT_NE(recoveries->incidents()[0].error->context.find("its drill is over"), std::string::npos)
        << recoveries->incidents()[0].error->context;
  }
};

TEST_F(NextDaemonAfterADrill, ItsFallbackGoesOnUntilItsPodGoes) {
  rehearse(others());
  next(others());
  expectKept();
  recoveries->sandboxGone("s1");
  ASSERT_TRUE(reaches(State::pod_gone));
}

TEST_F(NextDaemonAfterADrill, ItsFallbackIsHandedBack) {
  rehearse(others());
  next(others());
  expectKept();
  kubeletMakes("c1", "main");
  ASSERT_TRUE(reaches(State::handed_back));
}

TEST_F(NextDaemonAfterADrill, AnotherDrillDoesNotTakeItsFallback) {
  rehearse(others());
  auto config = others();
  auto cart = config->workloads[0];
  cart.name = "cart";
  cart.binary = {"cart", "9.0.0"};
  config->workloads.push_back(cart);
  next(config::withDrill(config, {"cart", "shop", "cart-drill"}).value());
  expectKept();
  expectNothingAfterIt();
}

TEST_F(NextDaemonAfterADrill, AWorkloadOfEachPodDoesNotTakeItsFallback) {
  rehearse(makeConfig());
  next(makeConfig());
  expectKept();
  expectNothingAfterIt();
}

TEST_F(NextDaemonAfterADrill, TheSameDrillGoesOn) {
  rehearse(others());
  next(config::withDrill(others(), {"checkout", "shop", "checkout"}).value());
  expectKept();
  launcher.adopted[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[1]->request.workload.name, config::kDrillWorkload);
}

TEST_F(NextDaemonAfterADrill, ADrillDoesNotTakeAnOrdinaryFallback) {
  detect();
  ASSERT_TRUE(reaches(State::ready));
  auto entry = journal->read()->entries.at(0);
  entry.pod->labels = {{std::string(config::kDrillLabel), "checkout"}};
  ASSERT_TRUE(journal->write(entry));
  next(config::withDrill(makeConfig(), {"checkout", "shop", "checkout"}).value());
  ASSERT_EQ(launcher.adopted.size(), 1U);
  launcher.adopted[0]->die(Kind::signaled, 9);
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.launched.size() == 2; }));
  EXPECT_EQ(launcher.launched[1]->request.workload.name, "checkout");
}

TEST_F(NextDaemonAfterADrill, AFallbackThatDiedMeanwhileIsForgotten) {
  rehearse(others());
  launcher.adoptable = false;
  next(others());
  ASSERT_TRUE(runUntil(loop, [&] { return journalled() == 0; }));
  EXPECT_TRUE(recoveries->incidents().empty());
}

TEST_F(NextDaemonAfterADrill, WithoutAJournalItsLabelTells) {
  runtime.sandboxes.at("s1").sandbox.labels = {{std::string(config::kDrillLabel), "checkout"}};
  launcher.unclaimed = {unclaimed()};
  next(makeConfig());
  ASSERT_TRUE(runUntil(loop, [&] { return launcher.adopted.size() == 1; }));
  clock.advance(loop, 1min);
  EXPECT_TRUE(launcher.discarded.empty());
  EXPECT_EQ(recoveries->incidents().at(0).workload, config::kDrillWorkload);
  recoveries->sandboxGone("s1");
  ASSERT_TRUE(reaches(State::pod_gone));
}

}  // namespace
}  // namespace fallbackd::recovery
