// SPDX-License-Identifier: Apache-2.0
// The rules of the tests' kubelet, on a real containerd: pulls, restarts, probes, ends. Each rule has its
// line in docs/kubelet.md.
#include "content_of.hpp"
#include "fault_registry.hpp"
#include "http.hpp"
#include "kubelet/back_off.hpp"
#include "kubelet_fixture.hpp"
#include "request_load.hpp"
#include "router.hpp"
#include "wait.hpp"

#include <csignal>
#include <filesystem>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using model::PodStatus;
using model::Probe;
using model::RestartPolicy;
using model::Role;
using test::contentOf;
using testing::ElementsAre;
using testing::HasSubstr;

class KubeletModel : public ModelTest {
 protected:
  std::unique_ptr<Router> router_;  // the model ends before it
};

/// Measured on kubelet: attempts at 0, 10, 30, 70, 150, 310 s.
TEST(KubeletRules, TheBackOffDoublesToItsMaximumAndIsForgotten) {
  const Stamp begin{1h};
  const model::Times times;
  model::BackOff backOff(times.pullBackOff, times.maxBackOff);
  std::vector<long> attempts;
  for (auto second = 0s; second < 700s; ++second) {
    if (backOff.active("pod", begin + second)) continue;
    attempts.push_back(second.count());
    backOff.next("pod", begin + second);
  }
  EXPECT_THAT(attempts, ElementsAre(0, 10, 30, 70, 150, 310, 610));
  EXPECT_FALSE(backOff.active("other", begin));
  backOff.next("pod", begin + 700s + 2 * 300s);
  EXPECT_EQ(backOff.length("pod"), 10s);
}

TEST_F(KubeletModel, APodWithoutItsImageWaitsAndBacksOff) {
  start();
  auto definition = pod("web-0");
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  ASSERT_TRUE(shows("web-0", "0/1 ErrImagePull, restarts 0"));
  ASSERT_TRUE(shows("web-0", "0/1 ImagePullBackOff, restarts 0"));
  ASSERT_TRUE(model_->events().waitForCount("web-0", "Pulling", 3, kModelCeiling));
  const auto pulls = model_->events().of("web-0", "Pulling");
  EXPECT_GE(pulls[1].at - pulls[0].at, options_.times.pullBackOff);
  EXPECT_GE(pulls[2].at - pulls[1].at, 2 * options_.times.pullBackOff);
  const auto status = model_->status("web-0");
  EXPECT_EQ(status->phase, model::Phase::pending);
  EXPECT_FALSE(status->ready);
  EXPECT_FALSE(status->ip.empty());
  EXPECT_EQ(status->containers[0].containerId, "");
  EXPECT_THAT(status->containers[0].state.message,
              testing::AnyOf(HasSubstr("refused"), HasSubstr("Back-off")));
}

/// Whatever the back-off, the next sync looks for the image first. With policy Always that does not help.
TEST_F(KubeletModel, AnImageThatAppearsIsStartedAtTheNextSync) {
  options_.times.pullBackOff = 1h;
  start();
  auto definition = pod("web-0");
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  importShop(kAbsent);
  ASSERT_TRUE(becomesReady("web-0"));
  const auto status = model_->status("web-0");
  const auto& app = status->containers[0];
  EXPECT_EQ(app.image, kAbsent);
  EXPECT_THAT(app.imageId, testing::StartsWith("sha256:"));
  EXPECT_EQ(model_->events().of("web-0", "Pulling").size(), 1U);
  // Where kubectl logs and log collectors look.
  EXPECT_THAT(contentOf(stuck_.logDirectory / "app" / "0.log"), HasSubstr("stdout F "));
  const auto link = model_->logLinks() / ("web-0_shop_app-" + app.containerId + ".log");
  EXPECT_EQ(fs::read_symlink(link), stuck_.logDirectory / "app" / "0.log");

  auto always = pod("web-1");
  always.containers[0].pull = model::PullPolicy::always;
  ASSERT_NO_FATAL_FAILURE(addStuck(always));
  model_->wake("web-1");
  ASSERT_TRUE(happens("web-1", "BackOff"));
  EXPECT_FALSE(model_->status("web-1")->ready);
  EXPECT_EQ(model_->events().of("web-1", "Started").size(), 0U);
}

TEST_F(KubeletModel, AHungPullHoldsUpOthersUnlessPullsAreParallel) {
  const Image image{.reference = "shop/image:1",
                    .files = {{"bin/shop", testProgram("shop-httpd-1.8.3")}},
                    .entrypoint = {"/bin/shop"},
                    .env = {}};
  E2E_TRY(const auto silent, FaultRegistry::start(image, {.silent = true}));
  E2E_TRY(const auto well, FaultRegistry::start(image, {}));
  for (const auto& host : {silent->address(), well->address()}) E2E_CHECK(node_->speak("http", host));
  for (const auto pulls : {model::Pulls::serialized, model::Pulls::parallel}) {
    options_.pulls = pulls;
    start();
    const auto number = std::to_string(static_cast<int>(pulls));
    const auto hung = "hung-" + number;
    const auto neighbour = "well-" + number;
    model_->add(pod(hung, silent->address() + "/shop/a:" + number));
    ASSERT_TRUE(happens(hung, "Pulling"));
    model_->add(pod(neighbour, well->address() + "/shop/b:" + number));
    ASSERT_TRUE(happens(neighbour, "Pulling"));
    if (pulls == model::Pulls::serialized) {
      ASSERT_TRUE(model_->waitForRelist(kModelCeiling));
      ASSERT_TRUE(model_->waitForRelist(kModelCeiling));
      EXPECT_EQ(model_->status(neighbour)->text(), "0/1 ContainerCreating, restarts 0");
      EXPECT_EQ(model_->status(hung)->text(), "0/1 ContainerCreating, restarts 0");
      EXPECT_EQ(model_->status(hung)->ip, "");
      // Its deletion ends the pull, and the queue moves on.
      model_->remove(hung);
    }
    EXPECT_TRUE(becomesReady(neighbour));
    model_.reset();
  }
}

TEST_F(KubeletModel, AContainerThatFailsIsRestartedWithABackOff) {
  importShop();
  start();
  auto definition = pod("web-0", kShop);
  definition.containers[0].spec.args = {"--no-such-option"};
  definition = model_->add(definition);
  ASSERT_TRUE(model_->events().waitForCount("web-0", "Started", 3, kModelCeiling));
  const auto made = model_->events().of("web-0", "Created");
  EXPECT_GE(made[2].at - made[1].at, options_.times.crashBackOff);
  ASSERT_TRUE(shows("web-0", "0/1 CrashLoopBackOff, restarts 2"));
  const auto app = model_->status("web-0")->containers[0];
  ASSERT_TRUE(app.last);
  EXPECT_EQ(app.last->reason, "Error");
  EXPECT_EQ(app.last->exitCode, 2);
  E2E_TRY(const auto running, kubelet_->podOf(definition.pod.uid));
  EXPECT_TRUE(fs::exists(running.logDirectory / "app" / "2.log"));
  // All ended containers except the newest are garbage, with their logs and links.
  EXPECT_GE(model_->collectContainers(), 1);
  EXPECT_FALSE(fs::exists(running.logDirectory / "app" / "0.log"));
}

TEST_F(KubeletModel, InitContainersRunInOrderAndSidecarsStay) {
  importShop();
  start();
  auto definition = pod("web-0", kShop);
  auto first = container("first", kShop, {"--version"});
  first.role = Role::init;
  auto sidecar = container("sidecar", kShop, {"--port=8081"});
  sidecar.role = Role::sidecar;
  sidecar.startup = Probe{.port = 8081, .period = 50ms, .failureThreshold = 1000};
  auto second = container("second", kShop, {"--version"});
  second.role = Role::init;
  definition.containers = {first, sidecar, second, definition.containers[0]};
  definition = model_->add(definition);
  ASSERT_TRUE(becomesReady("web-0"));
  std::vector<std::string> started;
  for (const auto& one : model_->events().of("web-0", "Started")) started.push_back(one.container);
  EXPECT_THAT(started, ElementsAre("first", "sidecar", "second", "app"));
  const auto status = model_->status("web-0");
  EXPECT_EQ(status->container("first")->state.reason, "Completed");
  EXPECT_TRUE(status->container("sidecar")->ready);
}

TEST_F(KubeletModel, PodsOfJobsEnd) {
  importShop();
  start();
  auto good = pod("good-0", kShop);
  good.containers[0].spec.args = {"--version"};
  good.restart = RestartPolicy::on_failure;
  auto bad = pod("bad-0", kShop);
  bad.containers[0].spec.args = {"--no-such-option"};
  bad.restart = RestartPolicy::never;
  for (const auto& one : {good, bad}) model_->add(one);
  ASSERT_TRUE(becomes("good-0", [](const PodStatus& one) { return one.phase == model::Phase::succeeded; }));
  ASSERT_TRUE(becomes("bad-0", [](const PodStatus& one) { return one.phase == model::Phase::failed; }));
  EXPECT_EQ(model_->status("bad-0")->containers[0].state.exitCode, 2);
  ASSERT_TRUE(happens("good-0", "StoppingSandbox"));
  EXPECT_EQ(model_->events().of("good-0", "Started").size(), 1U);
  EXPECT_EQ(model_->events().of("bad-0", "Started").size(), 1U);
}

TEST_F(KubeletModel, ProbesDecideReadinessAndRestarts) {
  importShop();
  start();
  auto definition = pod("web-0", kShop);
  auto& app = definition.containers[0];
  app.readiness = Probe{.kind = Probe::Kind::http, .port = 8080, .path = "/healthz", .period = 50ms};
  definition = model_->add(definition);
  ASSERT_TRUE(becomesReady("web-0"));

  // No such page: a failure for liveness.
  auto dying = pod("web-1", kShop);
  dying.containers[0].liveness =
      Probe{.kind = Probe::Kind::http, .port = 8080, .path = "/none", .period = 50ms, .failureThreshold = 2};
  model_->add(dying);
  ASSERT_TRUE(killed("app", "Container app failed liveness probe, will be restarted"));
  ASSERT_TRUE(model_->events().waitForCount("web-1", "Started", 2, kModelCeiling));

  // The program does not exist: no answer at all, which neither makes the pod ready nor kills the container.
  auto errored = pod("web-2", kShop);
  const Probe exec{.kind = Probe::Kind::exec, .command = {"/no/such/program"}, .period = 50ms};
  errored.containers[0].readiness = exec;
  errored.containers[0].liveness = exec;
  model_->add(errored);
  ASSERT_TRUE(model_->events().waitForCount("web-2", "Unhealthy", 10, kModelCeiling));
  EXPECT_FALSE(model_->status("web-2")->ready);
  EXPECT_EQ(model_->events().of("web-2", "Killing").size(), 0U);
  EXPECT_THAT(model_->events().of("web-2", "Unhealthy")[0].message, HasSubstr("probe errored"));

  // The program exists, inside the container.
  auto inside = pod("web-3", kShop);
  inside.containers[0].readiness =
      Probe{.kind = Probe::Kind::exec, .command = {"/bin/shop", "--health-check"}, .period = 50ms};
  model_->add(inside);
  ASSERT_TRUE(becomesReady("web-3"));
}

TEST_F(KubeletModel, DeletionGivesGraceToContainersAlone) {
  importShop();
  start();
  auto running = pod("web-0", kShop);
  running.containers[0].preStop = {"/no/such/program"};
  running = model_->add(running);
  ASSERT_TRUE(becomesReady("web-0"));
  auto stuck = pod("web-1");
  ASSERT_NO_FATAL_FAILURE(addStuck(stuck));
  // A foreign process in the pod's cgroup.
  E2E_TRY(auto stranger, ChildProcess::start({.argv = {"sleep", "1000"}, .env = {}, .output = {}}));
  E2E_TRY(const auto hierarchies, cgroupHierarchies());
  for (std::size_t index = 0; index < hierarchies.size(); ++index) {
    const fs::path leaf = stuck_.cgroups.at(index) / "stranger";
    E2E_CHECK(makeCgroup(hierarchies[index], leaf));
    E2E_CHECK(writeCgroupFile(leaf / "cgroup.procs", std::to_string(stranger.pid())));
  }
  for (const char* const name : {"web-0", "web-1"}) model_->remove(name);
  for (const char* const name : {"web-0", "web-1"})
    ASSERT_TRUE(model_->waitUntilGone(name, kModelCeiling)) << name;
  const auto& events = model_->events();
  ASSERT_EQ(events.of("web-0", "Killing").size(), 1U);
  EXPECT_EQ(events.of("web-0", "Killing")[0].message, "Stopping container app");
  EXPECT_EQ(events.of("web-0", "FailedPreStopHook").size(), 1U);
  EXPECT_LT(events.of("web-0", "Killing")[0].at, events.of("web-0", "StoppingSandbox").at(0).at);
  EXPECT_EQ(events.of("web-1", "Killing").size(), 0U) << "its sandbox is stopped at once";
  E2E_TRY(const auto code, stranger.wait(10s));
  EXPECT_EQ(code, 128 + SIGKILL);
  EXPECT_FALSE(fs::exists(stuck_.folder));
  EXPECT_TRUE(fs::is_empty(model_->logLinks()));
}

/// The pod gets no new connections while its program keeps serving: no request is cut off.
TEST_F(KubeletModel, ADrainWithinTheGraceCutsNoRequest) {
  importShop();
  start();
  E2E_TRY(router_, Router::start(8080, 100ms));
  model_->subscribe([this](const PodStatus& one) { router_->update(one); });
  for (const char* const name : {"web-0", "web-1"}) {
    auto definition = pod(name, kShop);
    definition.containers[0].spec.args = {"--drain=2"};
    definition.containers[0].readiness = Probe{.port = 8080, .period = 50ms};
    definition.grace = 20s;
    model_->add(definition);
  }
  ASSERT_TRUE(router_->waitForEndpoints(2, kModelCeiling));
  RequestLoad load(router_->port(), 100);
  ASSERT_TRUE(load.waitForAnswers(20, "standalone", kModelCeiling));
  model_->remove("web-0");
  ASSERT_TRUE(model_->waitUntilGone("web-0", kModelCeiling));
  const auto counts = load.finish();
  EXPECT_EQ(counts.lost, 0U) << (counts.reasons.empty() ? "" : counts.reasons.begin()->first);
  EXPECT_EQ(router_->endpoints(), 1U);
}

TEST_F(KubeletModel, ASandboxThatEndsIsReplaced) {
  importShop();
  start();
  const auto definition = model_->add(pod("web-0", kShop));
  ASSERT_TRUE(becomesReady("web-0"));
  E2E_TRY(const auto before, kubelet_->podOf(definition.pod.uid));
  ASSERT_EQ(::kill(before.pausePid, SIGKILL), 0);
  ASSERT_TRUE(model_->events().waitForCount("web-0", "Started", 2, kModelCeiling));
  ASSERT_TRUE(becomes("web-0", [&](const PodStatus& one) { return one.ready && one.ip != before.ip; }));
  E2E_TRY(const auto after, kubelet_->podOf(definition.pod.uid));
  EXPECT_EQ(after.spec.attempt, 1U);
}

TEST_F(KubeletModel, LogsOfEveryContainerAreRotated) {
  start();
  auto definition = pod("web-0");
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  importShop();
  auto spec = standIn(definition.containers[0]);
  spec.image = kShop;
  spec.args = {"--port=8080"};
  ASSERT_NO_FATAL_FAILURE(make(spec));
  ASSERT_TRUE(becomesReady("web-0"));
  const auto log = stuck_.logDirectory / spec.logPath;
  ASSERT_TRUE(
      waitUntil(kModelCeiling, [&] { return contentOf(log).find("listening") != std::string::npos; }));
  EXPECT_EQ(model_->rotateLogs(1 << 20), 0);
  EXPECT_EQ(model_->rotateLogs(10), 1);
  ASSERT_TRUE(httpGetOk(stuck_.ip, 8080, "/"));
  ASSERT_TRUE(waitUntil(kModelCeiling, [&] { return contentOf(log).find("GET /") != std::string::npos; }));
  EXPECT_THAT(contentOf(log), testing::Not(HasSubstr("listening")));
  EXPECT_TRUE(fs::is_empty(model_->logLinks())) << "kubelet creates links only for what it starts";
}

TEST_F(KubeletModel, ImagesInUseAreKept) {
  importShop();
  importShop("localhost/shop/other:1");  // the same image: one id
  start();
  model_->add(pod("web-0", kShop));
  ASSERT_TRUE(becomesReady("web-0"));
  EXPECT_EQ(model_->collectImages(), 0);
  model_->remove("web-0");
  ASSERT_TRUE(model_->waitUntilGone("web-0", kModelCeiling));
  EXPECT_EQ(model_->collectImages(), 1);
  for (const char* const name : {kShop, "localhost/shop/other:1"}) {
    E2E_TRY(const bool there, kubelet_->imagePresent(name));
    EXPECT_FALSE(there) << "an image is removed with all of its names: " << name;
  }
  E2E_TRY(const bool pause, kubelet_->imagePresent(kSandboxImage));
  EXPECT_TRUE(pause);
}

}  // namespace
}  // namespace fallbackd::e2e
