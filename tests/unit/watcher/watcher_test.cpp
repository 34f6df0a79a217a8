// SPDX-License-Identifier: Apache-2.0
#include "watcher/watcher.hpp"

#include "fake_runtime.hpp"
#include "fake_traffic.hpp"
#include "recording_listener.hpp"
#include "sys/file.hpp"
#include "temp_folder.hpp"

#include <algorithm>

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

using namespace std::chrono_literals;
using Kind = cri::Event::Kind;
using test::runUntil;

config::ConfigPtr makeConfig() {
  auto config = std::make_shared<config::Config>();
  config->detection.reprobeInterval = 20ms;
  config->containerd.resyncInterval = 20ms;
  config::Workload workload;
  workload.name = "checkout";
  workload.match = {"shop", {{"app", "checkout"}}, "main"};
  workload.image = "r.x/checkout:1";
  workload.binary = {"checkout", "1.8.3"};
  config->workloads.push_back(workload);
  return config;
}

struct WatcherTest : testing::Test {
  ~WatcherTest() override {
    tasks.cancelAll();
    runUntil(loop, [&] { return tasks.empty(); });
  }
  void start() {
    tasks.spawn(watcher.run());
    ASSERT_TRUE(runUntil(loop, [&] { return seen.up; }));
  }
  /// Lets the loop go through several intervals of probing and listing.
  void settle() {
    const int before = runtime.calls;
    runUntil(loop, [&] { return runtime.calls >= before + 8; });
  }

  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::FakeRuntime runtime;
  test::FakeEvents events{loop};
  test::FakeTraffic traffic;
  test::RecordingListener seen;
  config::ConfigPtr config = makeConfig();
  Watcher watcher{loop.get_executor(), runtime, events, traffic, seen, config};
  TaskGroup tasks{loop.get_executor()};
};

TEST_F(WatcherTest, APodThatWasThereBeforeIsFound) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_EQ(seen.detections[0].sandbox.id, "s1");
  EXPECT_EQ(seen.detections[0].cause, Cause::unreachable);
  EXPECT_EQ(seen.detections[0].workload->name, "checkout");
}

TEST_F(WatcherTest, ADetectionBringsTheStatusOfTheSandboxOnceItIsReady) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty() && seen.detections.back().status; }));
  EXPECT_EQ(seen.detections.back().status->pausePid, runtime.sandboxes.at("s1").pausePid);
}

TEST_F(WatcherTest, RunningContainersAreCountedByTheVersionInTheirImagesTag) {
  int number = 0;
  const auto run = [&](const char* app, const char* image, cri::Container::State state) {
    const std::string id = "s" + std::to_string(++number);
    runtime.addSandbox(id, "shop", app);
    runtime.addContainer("c" + id, id, "main");
    runtime.containers.back().state = state;
    runtime.containers.back().image = image;
  };
  using Life = cri::Container::State;
  run("checkout", "r.x/checkout:1.8.3", Life::running);
  run("checkout", "r.x/checkout:1.8.2", Life::running);
  run("checkout", "r.x/checkout:v1.9.0", Life::running);
  run("checkout", "", Life::running);
  run("checkout", "r.x/checkout:1.8.2", Life::exited);
  run("cart", "r.x/cart:1.8.2", Life::running);
  start();
  ASSERT_EQ(watcher.runningContainers().size(), 1U);
  const auto& skew = watcher.runningContainers().at("checkout");
  EXPECT_EQ(skew.same, 1U);
  EXPECT_EQ(skew.other, 2U);
  EXPECT_EQ(skew.unknown, 1U);
}

TEST_F(WatcherTest, AnImageThatIsKnownByItsIdOnlyIsNamedByItsTags) {
  int number = 0;
  const auto run = [&](const char* id) {
    const std::string sandbox = "s" + std::to_string(++number);
    runtime.addSandbox(sandbox, "shop", "checkout");
    runtime.addContainer("c" + sandbox, sandbox, "main");
    runtime.containers.back().state = cri::Container::State::running;
    runtime.containers.back().imageId = id;
  };
  runtime.tags = {{"sha256:same", {"r.x/checkout:latest", "r.x/checkout:1.8.3", "r.x/other:1.0.0"}},
                  {"sha256:old", {"r.x/checkout:1.8.2"}},
                  {"sha256:foreign", {"r.x/other:1.8.3"}}};
  for (const char* id : {"sha256:same", "sha256:same", "sha256:old", "sha256:foreign", "sha256:untagged"})
    run(id);
  start();
  settle();
  const auto& skew = watcher.runningContainers().at("checkout");
  EXPECT_EQ(skew.same, 2U);
  EXPECT_EQ(skew.other, 1U);
  EXPECT_EQ(skew.unknown, 2U);
  EXPECT_EQ(runtime.tagQuestions, 4) << "once for each image";
}

TEST_F(WatcherTest, ANewSandboxIsFoundByItsEvent) {
  start();
  runtime.addSandbox("s1", "shop", "checkout");
  events.send(Kind::task_started, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_EQ(seen.detections[0].sandbox.podUid, "uid-s1");
}

TEST_F(WatcherTest, ASandboxIsProbedForWhileItStillStarts) {
  start();
  runtime.addSandbox("s1", "shop", "checkout");
  events.send(Kind::container_created, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  events.send(Kind::task_started, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.startedSandboxes.empty(); }));
  EXPECT_EQ(seen.startedSandboxes, std::vector<std::string>{"s1"});
}

TEST_F(WatcherTest, PodsThatNoWorkloadCoversAreLeftAlone) {
  runtime.addSandbox("s1", "other", "checkout");
  runtime.addSandbox("s2", "shop", "cart");
  start();
  settle();
  EXPECT_TRUE(runtime.pulls.empty());
  EXPECT_EQ(watcher.waiting(), 0U);
}

TEST_F(WatcherTest, AWrongTagOrAMissingSecretStartsNothing) {
  runtime.addSandbox("s1", "shop", "checkout");
  for (const auto* text :
       {"r.x/checkout:1: not found", "failed with status code [manifests 1]: 401 Unauthorized"}) {
    runtime.pullOutcome = {cri::PullOutcome::Kind::failed, 2, text};
    const int before = seen.probes;
    if (!seen.up) start();
    ASSERT_TRUE(runUntil(loop, [&] { return seen.probes >= before + 2; }));
  }
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, APresentImageIsNotProbed) {
  runtime.images.insert("r.x/checkout:1");
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  settle();
  EXPECT_TRUE(runtime.pulls.empty());
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, TheRealContainerEndsTheWait) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.addContainer("c1", "s1", "main");
  events.send(Kind::container_created, "c1");
  events.send(Kind::task_started, "c1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.started.empty(); }));
  EXPECT_EQ(seen.created, std::vector<std::string>{"uid-s1/main"});
  EXPECT_EQ(seen.started, std::vector<std::string>{"c1"});
  EXPECT_EQ(watcher.waiting(), 0U);
  settle();
  EXPECT_EQ(seen.created.size(), 1U) << "the resync must not report it again";
}

TEST_F(WatcherTest, AMissedContainerEventIsFoundByTheResync) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.addContainer("c1", "s1", "main");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.created.empty(); }));
}

TEST_F(WatcherTest, AContainerThatSomebodyElseMadeDoesNotEndTheWait) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.addForeignContainer("debug", "s1", "main");
  events.send(Kind::container_created, "debug");
  events.send(Kind::task_started, "debug");
  // Kubelet's labels alone are copied easily; without its hash kubelet would not take it for its own either.
  auto& copied = runtime.addContainer("copied", "s1", "main");
  copied.annotations.clear();
  events.send(Kind::container_created, "copied");
  settle();
  EXPECT_TRUE(seen.created.empty()) << seen.created.front();
  EXPECT_EQ(watcher.waiting(), 1U);
  auto& other = runtime.addContainer("c1", "s1", "main");
  other.labels["io.kubernetes.pod.uid"] = "uid-other";
  settle();
  EXPECT_TRUE(seen.created.empty()) << "its labels name another pod";
  runtime.addContainer("c2", "s1", "main");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.created.empty(); }));
  EXPECT_EQ(watcher.waiting(), 0U);
}

TEST_F(WatcherTest, APodThatGoesIsReportedOnceByEventOrResync) {
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.addSandbox("s2", "shop", "checkout");
  start();
  runtime.sandboxes.erase("s1");
  events.send(Kind::task_exited, "s1");
  ASSERT_TRUE(runUntil(loop, [&] { return seen.gone.size() == 1; }));
  runtime.sandboxes.erase("s2");
  ASSERT_TRUE(runUntil(loop, [&] { return seen.gone.size() == 2; }));
  settle();
  EXPECT_EQ(seen.gone, (std::vector<std::string>{"s1", "s2"}));
  EXPECT_EQ(watcher.waiting(), 0U);
}

TEST_F(WatcherTest, ABrokenStreamIsReplacedAndNothingIsLost) {
  start();
  runtime.down = true;
  events.breakStream();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.up; }));
  runtime.addSandbox("s1", "shop", "checkout");  // its event is lost
  runtime.down = false;
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_TRUE(seen.up);
  EXPECT_GE(events.subscriptions, 2);
}

TEST_F(WatcherTest, ContainerdBeingAwaySaysNothingAboutTheRegistry) {
  runtime.pullOutcome = {cri::PullOutcome::Kind::failed, 14, "Socket closed"};
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.probes >= 2; }));
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, TheEndOfTheOutageBringsTheImage) {
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.images.contains("r.x/checkout:1"); }));
  const auto pulls = runtime.pulls["r.x/checkout:1"];
  settle();
  EXPECT_EQ(runtime.pulls["r.x/checkout:1"], pulls) << "what is there is not pulled again";
}

TEST_F(WatcherTest, ANewConfigurationCoversPodsThatAlreadyWait) {
  runtime.addSandbox("s1", "shop", "cart");
  start();
  settle();
  ASSERT_TRUE(seen.detections.empty());
  auto changed = std::make_shared<config::Config>(*config);
  changed->workloads[0].match.labels = {{"app", "cart"}};
  watcher.reconfigure(changed);
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(WatcherTest, AnImageThatIsNeverPulledIsNeverProbed) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->workloads[0].detection.pullPolicy = config::PullPolicy::never;
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  settle();
  EXPECT_TRUE(runtime.pulls.empty());
  ASSERT_EQ(watcher.waitingContainers().size(), 1U);
  EXPECT_EQ(watcher.waitingContainers()[0].state, Waiting::State::never_pulled);
}

TEST_F(WatcherTest, AlwaysAsksThoughTheImageIsThere) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->workloads[0].detection.pullPolicy = config::PullPolicy::always;
  watcher.reconfigure(changed);
  runtime.images.insert("r.x/checkout:1");
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(WatcherTest, TheTagLatestMeansAlwaysUnlessThePolicyIsSaid) {
  for (const std::string image : {"r.x/checkout:latest", "r.x/checkout"}) {
    auto changed = std::make_shared<config::Config>(*config);
    changed->workloads[0].image = image;
    EXPECT_EQ(config::pullPolicyOf(changed->workloads[0]), config::PullPolicy::always) << image;
    changed->workloads[0].detection.pullPolicy = config::PullPolicy::if_not_present;
    EXPECT_EQ(config::pullPolicyOf(changed->workloads[0]), config::PullPolicy::if_not_present) << image;
  }
  auto changed = std::make_shared<config::Config>(*config);
  EXPECT_EQ(config::pullPolicyOf(changed->workloads[0]), config::PullPolicy::if_not_present);
  changed->workloads[0].image = "r.x/checkout";
  watcher.reconfigure(changed);
  runtime.images.insert("r.x/checkout:latest");
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  EXPECT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(WatcherTest, AFallbackWaitsForTheInitContainers) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->detection.reprobeInterval = 1h;  // only events wake it
  changed->workloads[0].startAfter = {"migrate"};
  watcher.reconfigure(changed);
  start();
  runtime.addSandbox("s1", "shop", "checkout");
  events.send(Kind::task_started, "s1");
  runtime.addContainer("c1", "s1", "migrate");
  events.send(Kind::container_created, "c1");
  events.send(Kind::task_started, "c1");
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.started.empty(); }));
  EXPECT_TRUE(runtime.pulls.empty());
  events.send(Kind::task_exited, "c1", 1);  // kubelet will try it again
  runtime.addContainer("c2", "s1", "migrate");
  events.send(Kind::container_created, "c2");
  ASSERT_TRUE(runUntil(loop, [&] { return seen.created.size() == 2; }));
  EXPECT_TRUE(seen.detections.empty());
  events.send(Kind::task_exited, "c2", 0);
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(WatcherTest, InitContainersThatEndedBeforeTheDaemonCame) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->workloads[0].startAfter = {"migrate"};
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.addContainer("c1", "s1", "migrate");
  runtime.exitCodes["c1"] = 0;
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
}

TEST_F(WatcherTest, WithoutAPasswordA401IsUndecidedAndSeen) {
  runtime.pullOutcome = {cri::PullOutcome::Kind::failed, 2,
                         "unexpected status from HEAD request: 401 Unauthorized"};
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(runUntil(loop, [&] {
    const auto waiting = watcher.waitingContainers();
    return !waiting.empty() && waiting[0].state == Waiting::State::undecided;
  }));
  EXPECT_EQ(watcher.waitingContainers()[0].cause, Cause::unauthorized);
  EXPECT_TRUE(seen.detections.empty());
}

TEST_F(WatcherTest, AMissingPauseImageIsReported) {
  runtime.pauseImage = "registry.k8s.io/pause:3.6";
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.pauseImages.empty(); }));
  EXPECT_EQ(seen.pauseImages[0], "registry.k8s.io/pause:3.6 missing");
}

TEST_F(WatcherTest, PodsChooseTheirBinaryWhereTheyMay) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->podAnnotations.namespaces = {"shop"};
  watcher.reconfigure(changed);
  start();
  for (const auto* id : {"s1", "s2", "s3"}) runtime.addSandbox(id, "shop", "other");
  runtime.addSandbox("s4", "elsewhere", "other");
  for (const auto* id : {"s1", "s4"}) {
    runtime.sandboxes[id].sandbox.annotations = {{"fallbackd.io/binary.web", "web@2.0.0"},
                                                 {"fallbackd.io/image.web", "r.x/web:2"}};
  }
  runtime.sandboxes["s2"].sandbox.annotations = {{"fallbackd.io/binary.web", "web"}};
  runtime.sandboxes["s3"].sandbox.annotations = {{"fallbackd.io/binary.web", "web@2.0.0"}};
  for (const auto* id : {"s1", "s2", "s3", "s4"}) events.send(Kind::task_started, id);
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty() && seen.troubles.size() >= 2; }));
  settle();
  for (const auto& detection : seen.detections) {
    EXPECT_EQ(detection.sandbox.id, "s1");
    EXPECT_EQ(detection.workload->binary.toString(), "web@2.0.0");
    EXPECT_EQ(detection.workload->image, "r.x/web:2");
  }
}

TEST_F(WatcherTest, AnAnnotationReplacesTheVersionOfTheWorkload) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->podAnnotations.namespaces = {"shop"};
  changed->workloads[0].args = {"--port=8080"};
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.sandboxes["s1"].sandbox.annotations = {{"fallbackd.io/binary.main", "checkout@1.9.0"},
                                                 {"fallbackd.io/image.main", "r.x/checkout:9"}};
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  EXPECT_EQ(seen.detections[0].workload->binary.version, "1.9.0");
  EXPECT_EQ(seen.detections[0].workload->image, "r.x/checkout:9");
  EXPECT_EQ(seen.detections[0].workload->args, std::vector<std::string>{"--port=8080"});
}

TEST_F(WatcherTest, TheEndOfAnOutageWakesAllPodsOfTheRegistry) {
  auto changed = std::make_shared<config::Config>(*config);
  changed->detection.reprobeInterval = 50ms;
  auto second = changed->workloads[0];
  second.name = "cart";
  second.match.labels = {{"app", "cart"}};
  second.image = "r.x/cart:1";
  changed->workloads.push_back(second);
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  runtime.addSandbox("s2", "shop", "cart");
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.detections.size() >= 2; }));
  EXPECT_EQ(watcher.registries().at(0).state, Circuits::State::open);
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.images.size() == 2; }));
  EXPECT_EQ(watcher.registries().at(0).state, Circuits::State::closed);
}

/// A node whose pods of "shop" and "evil" may choose, with a password for r.x.
struct ChoosingTest : WatcherTest {
  ChoosingTest() {
    changed = std::make_shared<config::Config>(*config);
    changed->podAnnotations.namespaces = {"shop", "evil"};
    config::Registry registry;
    registry.host = "r.x";
    registry.dockerConfig = folder.write("auth.json", R"({"auths": {"r.x": {"password": "p"}}})");
    changed->registries = {registry};
  }
  void addChoosing(const std::string& id, const std::string& podNamespace, const cri::Labels& annotations) {
    runtime.addSandbox(id, podNamespace, "own");
    runtime.sandboxes[id].sandbox.annotations = annotations;
  }
  static cri::Labels choice(const std::string& image) {
    return {{"fallbackd.io/binary.web", "web@2.0.0"}, {"fallbackd.io/image.web", image}};
  }
  bool pulled(const std::string& image) {
    return runUntil(loop, [&] { return runtime.pulls.contains(image); });
  }

  test::TempFolder folder;
  std::shared_ptr<config::Config> changed;
};

TEST_F(ChoosingTest, ThePasswordGoesWithWhatTheConfigurationNames) {
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  EXPECT_TRUE(runtime.lastCredentials);
}

TEST_F(ChoosingTest, APodBorrowsNoPassword) {
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/secret:1"));
  start();
  ASSERT_TRUE(pulled("r.x/secret:1"));
  EXPECT_FALSE(runtime.lastCredentials);
}

TEST_F(ChoosingTest, APodBorrowsNoPasswordForAnImageOfAnotherWorkload) {
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/checkout:1"));
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  EXPECT_FALSE(runtime.lastCredentials);
}

/// The same node with a credential provider for r.x, and no file.
struct ProviderTest : ChoosingTest {
  ProviderTest() {
    changed->registries.clear();
    changed->credentialProviders = {"/providers.yaml", "/bin"};
    watcher.credentials().readFilesWith([](std::string) -> cri::Awaitable<Result<std::string>> {
      co_return std::string(
          "{apiVersion: kubelet.config.k8s.io/v1, kind: CredentialProviderConfig, providers: [{name: p, "
          "matchImages: [r.x], defaultCacheDuration: 1h, apiVersion: "
          "credentialprovider.kubelet.k8s.io/v1}]}");
    });
    watcher.credentials().runProgramsWith([this](ProviderProgram) -> cri::Awaitable<Result<std::string>> {
      ++runs;
      if (fails) co_return fail(Stage::detection, Reason::exited, "p exited with 1");
      co_return std::string(
          R"({"kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
              "cacheKeyType": "Registry", "auth": {"r.x": {"username": "u", "password": "given"}}})");
    });
  }
  int runs = 0;
  bool fails = false;
};

TEST_F(ProviderTest, AProviderGivesThePasswordOfWhatTheConfigurationNames) {
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  ASSERT_TRUE(runtime.lastCredentials);
  EXPECT_EQ(runtime.lastCredentials->password, "given");
  EXPECT_EQ(runs, 1);
}

TEST_F(ProviderTest, AFileGoesFirst) {
  changed->workloads[0].dockerConfig =
      folder.write("own.json", R"({"auths": {"r.x": {"username": "u", "password": "own"}}})");
  watcher.credentials().readFilesWith([](std::string path) -> cri::Awaitable<Result<std::string>> {
    co_return sys::readFile(Stage::detection, path, 4096);
  });
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  ASSERT_TRUE(runtime.lastCredentials);
  EXPECT_EQ(runtime.lastCredentials->password, "own");
  EXPECT_EQ(runs, 0);
}

TEST_F(ProviderTest, NoProviderIsAskedForWhatOnlyAnAnnotationNames) {
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/secret:1"));
  addChoosing("s2", "evil", choice("r.x/checkout:1"));
  start();
  ASSERT_TRUE(pulled("r.x/secret:1"));
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  EXPECT_FALSE(runtime.lastCredentials);
  EXPECT_EQ(runs, 0);
}

TEST_F(ProviderTest, A401WithoutThePasswordSpeaksForTheNamespaceAlone) {
  runtime.pullOutcome = {cri::PullOutcome::Kind::failed, 2,
                         "failed to resolve reference \"r.x/checkout:1\": unexpected status from HEAD "
                         "request to https://r.x/v2/checkout/manifests/1: 401 Unauthorized"};
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/checkout:1"));
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  settle();
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  runtime.addSandbox("s2", "shop", "checkout");
  events.send(Kind::task_started, "s2");
  ASSERT_TRUE(runUntil(loop, [&] { return runtime.images.contains("r.x/checkout:1"); }));
  EXPECT_EQ(runtime.lastCredentials->password, "given") << "it asked for itself, with the password";
}

TEST_F(ProviderTest, WhatIsWrongWithOneIsReportedAndShown) {
  fails = true;
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  start();
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); })) << "an outage is still one";
  ASSERT_FALSE(seen.troubles.empty());
  EXPECT_EQ(seen.troubles[0], "credentials of workload checkout: credential provider \"p\": p exited with 1");
  EXPECT_EQ(watcher.waitingContainers().at(0).trouble, "credential provider \"p\": p exited with 1");
}

TEST_F(ChoosingTest, WhatTheEntryGivesAwayIsForAll) {
  changed->registries[0].repositories = {"public"};
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/public/a:1"));
  start();
  ASSERT_TRUE(pulled("r.x/public/a:1"));
  EXPECT_TRUE(runtime.lastCredentials);
}

TEST_F(ChoosingTest, AMalformedReferenceIsNeverProbedAndReportedOnce) {
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/a: failed to pull: connect: connection refused"));
  start();
  settle();
  EXPECT_TRUE(runtime.pulls.empty());
  EXPECT_EQ(watcher.waiting(), 0U);
  ASSERT_EQ(seen.troubles.size(), 1U);
  EXPECT_NE(seen.troubles[0].find("pod evil/pod-s1: annotation \"fallbackd.io/image.web\""),
            std::string::npos);
  EXPECT_EQ(watcher.ignoredAnnotations().refused, 1U);
}

TEST_F(ChoosingTest, WhatIsLearnedOfAnAnnotatedImageStartsNothingElsewhere) {
  runtime.outcomeOf["r.x/checkout:1"] = {cri::PullOutcome::Kind::pulled, 0, ""};
  watcher.reconfigure(changed);
  addChoosing("s1", "evil", choice("r.x/broken:1"));
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return !seen.detections.empty(); }));
  runtime.addSandbox("s2", "shop", "checkout");
  events.send(Kind::task_started, "s2");
  ASSERT_TRUE(pulled("r.x/checkout:1")) << "it is asked, not known to fail";
  settle();
  for (const auto& detection : seen.detections) EXPECT_EQ(detection.sandbox.id, "s1");
}

/// A registry may refuse requests without a password, and still serve the node.
TEST_F(ChoosingTest, WhatIsSeenWithoutThePasswordDecidesNothingForThoseThatHaveIt) {
  config::Workload cart;
  cart.name = "cart";
  cart.match = {"shop", {{"app", "cart"}}, "main"};
  cart.image = "r.x/cart:1";
  cart.binary = {"cart", "1.0.0"};
  changed->workloads.push_back(cart);
  watcher.reconfigure(changed);
  const cri::PullOutcome refused{
      cri::PullOutcome::Kind::failed, 2,
      "failed to pull and unpack image \"r.x/a:1\": failed to resolve reference \"r.x/a:1\": unexpected "
      "status from HEAD request to https://r.x/v2/a/manifests/1: 429 Too Many Requests"};
  runtime.outcomeOf["r.x/checkout:1"] = runtime.outcomeOf["r.x/cart:1"] = refused;
  auto both = choice("r.x/checkout:1");
  both.insert({{"fallbackd.io/binary.other", "web@2.0.0"}, {"fallbackd.io/image.other", "r.x/cart:1"}});
  addChoosing("s1", "evil", both);
  start();
  ASSERT_TRUE(runUntil(loop, [&] { return seen.detections.size() >= 2; }));
  EXPECT_FALSE(runtime.lastCredentials);
  EXPECT_EQ(watcher.registries().at(0).state, Circuits::State::closed)
      << "a pod without a password opened the circuit of those that have it";
  runtime.outcomeOf.clear();
  runtime.pullOutcome = {cri::PullOutcome::Kind::pulled, 0, ""};
  runtime.pulls.clear();
  runtime.addSandbox("s2", "shop", "checkout");
  events.send(Kind::task_started, "s2");
  ASSERT_TRUE(pulled("r.x/checkout:1"));
  settle();
  for (const auto& detection : seen.detections) EXPECT_EQ(detection.sandbox.id, "s1");
}

TEST_F(ChoosingTest, OfAThousandNamesAFewWait) {
  watcher.reconfigure(changed);
  cri::Labels annotations;
  for (int i = 0; i < 1000; ++i) {
    annotations["fallbackd.io/binary.c" + std::to_string(i)] = "web@2.0.0";
    annotations["fallbackd.io/image.c" + std::to_string(i)] = "r.x/c" + std::to_string(i);
  }
  addChoosing("s1", "evil", annotations);
  start();
  EXPECT_EQ(watcher.waiting(), kMaxChosenContainers);
  EXPECT_EQ(watcher.ignoredAnnotations().cutOff, 1000U - kMaxChosenContainers);
  EXPECT_TRUE(watcher.pods().at(0).sandbox.annotations.empty()) << "they are not kept";
}

TEST_F(ChoosingTest, ANamespaceHasALimitOverAllItsPodsAndGetsTheRoomBack) {
  watcher.reconfigure(changed);
  cri::Labels annotations;
  for (int i = 0; i < 16; ++i) {
    annotations["fallbackd.io/binary.c" + std::to_string(i)] = "web@2.0.0";
    annotations["fallbackd.io/image.c" + std::to_string(i)] = "r.x/c" + std::to_string(i);
  }
  for (int pod = 0; pod < 17; ++pod) addChoosing("s" + std::to_string(100 + pod), "evil", annotations);
  addChoosing("t1", "shop", choice("r.x/web:2"));
  start();
  EXPECT_EQ(watcher.waiting(), 256U + 1U);
  EXPECT_EQ(watcher.ignoredAnnotations().cutOff, 16U);
  ASSERT_FALSE(seen.troubles.empty());
  EXPECT_NE(seen.troubles.back().find("pod evil/pod-s116: so many containers of its namespace"),
            std::string::npos);
  runtime.sandboxes.erase("s100");
  ASSERT_TRUE(runUntil(loop, [&] { return watcher.ignoredAnnotations().cutOff == 0; }));
  EXPECT_EQ(watcher.waiting(), 256U + 1U);
}

TEST_F(ChoosingTest, MoreLabelsThanThereIsMemoryForAreNotKept) {
  watcher.reconfigure(changed);
  runtime.addSandbox("s1", "shop", "checkout");
  for (int i = 0; i < 1000; ++i) {
    runtime.sandboxes["s1"].sandbox.labels["label" + std::to_string(i)] = std::string(60, 'x');
  }
  start();
  EXPECT_EQ(watcher.waiting(), 1U) << "those that workloads choose by are";
  EXPECT_EQ(watcher.pods().at(0).sandbox.labels, (cri::Labels{{"app", "checkout"}}));
}

}  // namespace
}  // namespace fallbackd::watcher
