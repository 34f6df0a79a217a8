// SPDX-License-Identifier: Apache-2.0
// How the tests' kubelet treats containers that it did not make: the facts that stand-ins rely on, each
// measured on a real kubelet (docs/kubelet.md). Also what a user sees without stand-ins.
#include "kubelet_fixture.hpp"
#include "request_load.hpp"
#include "router.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using model::PodStatus;
using model::Probe;
using model::Version;
using testing::HasSubstr;

class KubeletAdoption : public ModelTest {
 protected:
  std::unique_ptr<Router> router_;  // the model ends before it
};

/// Measured from 1.31 to 1.36.
TEST(KubeletRules, TheHashIsThatOfNameAndImage) {
  ContainerSpec spec;
  spec.name = "app";
  spec.image = "127.0.0.1:5999/shop/checkout:1.8.3";
  EXPECT_EQ(model::containerHash(Version::v1_31, spec), "774ada0b");
  EXPECT_EQ(model::containerHash(Version::v1_36, spec), "774ada0b");
  const auto whole = model::containerHash(Version::v1_30, spec);
  spec.args = {"--port=8080"};
  EXPECT_EQ(model::containerHash(Version::v1_36, spec), "774ada0b");
  EXPECT_NE(model::containerHash(Version::v1_30, spec), whole) << "up to 1.30 everything counts";
}

/// A container that kubelet saw running and that the runtime no longer knows.
TEST(KubeletRules, AVanishedContainerIsUnknownAndCountsAsARestartOn136) {
  model::PodDefinition pod;
  pod.containers.resize(1);
  pod.containers[0].spec.name = "app";
  model::SeenContainer running;
  running.id = "1";
  running.state = model::RunState::running;
  running.labels = {{"io.kubernetes.container.name", "app"}};
  running.annotations = {{"io.kubernetes.container.restartCount", "0"}};
  for (const auto version : {Version::v1_33, Version::v1_36}) {
    const auto before = model::statusOf(pod, {{}, {running}}, {}, std::nullopt, version);
    EXPECT_TRUE(before.containers[0].running());
    const auto after = model::statusOf(pod, {}, {}, before, version);
    EXPECT_EQ(after.containers[0].restartCount, version == Version::v1_36 ? 1 : 0);
    ASSERT_TRUE(after.containers[0].last);
    EXPECT_EQ(after.containers[0].last->reason, "ContainerStatusUnknown");
    EXPECT_EQ(after.containers[0].last->exitCode, 137);
    EXPECT_EQ(after.phase, model::Phase::running);
  }
}

TEST_F(KubeletAdoption, AContainerWithNameUidAndHashMakesThePodReady) {
  start();
  auto definition = pod("web-0");
  definition.containers[0].readiness = Probe{.port = 8080, .period = 50ms};
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  ASSERT_NO_FATAL_FAILURE(serve(stuck_));
  E2E_TRY(router_, Router::start(8080, 100ms));
  model_->subscribe([this](const PodStatus& one) { router_->update(one); });
  EXPECT_EQ(router_->endpoints(), 0U);

  std::string id;
  ASSERT_NO_FATAL_FAILURE(make(standIn(definition.containers[0]), &id));
  ASSERT_TRUE(becomesReady("web-0"));
  const auto status = model_->status("web-0");
  EXPECT_EQ(status->text(), "1/1 Running, restarts 0");
  EXPECT_EQ(status->containers[0].containerId, id);
  EXPECT_EQ(status->containers[0].image, kSandboxImage);
  ASSERT_TRUE(router_->waitForEndpoints(1, kModelCeiling));
  RequestLoad load(router_->port(), 100);
  ASSERT_TRUE(load.waitForAnswers(20, "fallback", kModelCeiling));
  const auto counts = load.finish();
  EXPECT_EQ(counts.lost, 0U);
  EXPECT_EQ(counts.answered, counts.sent);

  // kubelet does not pull while the container runs.
  const auto pulls = model_->events().of("web-0", "Pulling").size();
  for (int relists = 0; relists < 3; ++relists) {
    model_->wake("web-0");
    ASSERT_TRUE(model_->waitForRelist(kModelCeiling));
  }
  EXPECT_EQ(model_->events().of("web-0", "Pulling").size(), pulls);
  EXPECT_EQ(model_->events().of("web-0", "Killing").size(), 0U);

  model_->remove("web-0");
  ASSERT_TRUE(router_->waitForEndpoints(0, kModelCeiling));
  EXPECT_TRUE(killed("app", "Stopping container app"));
  ASSERT_TRUE(model_->waitUntilGone("web-0", kModelCeiling));
}

TEST_F(KubeletAdoption, AWrongHashOrUidIsKilledAndAnUnknownNameIgnored) {
  start();
  auto definition = pod("web-0");
  definition.restart = model::RestartPolicy::never;  // whatever the policy
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  auto spec = standIn(definition.containers[0]);
  spec.annotations["io.kubernetes.container.hash"] = "1";
  ASSERT_NO_FATAL_FAILURE(make(spec));
  ASSERT_TRUE(killed("app", "Container app definition changed, will be restarted"));

  auto other = pod("web-1");
  ASSERT_NO_FATAL_FAILURE(addStuck(other));
  auto noHash = standIn(other.containers[0]);
  noHash.annotations["io.kubernetes.container.hash"] = "";
  ASSERT_NO_FATAL_FAILURE(make(noHash));
  ASSERT_TRUE(happens("web-1", "Killing"));

  auto third = pod("web-2");
  ASSERT_NO_FATAL_FAILURE(addStuck(third));
  auto noUid = standIn(third.containers[0]);
  noUid.labels["io.kubernetes.pod.uid"] = "";
  ASSERT_NO_FATAL_FAILURE(make(noUid));
  ASSERT_TRUE(killed("app", "a container of an unknown pod"));

  auto unknown = standIn(third.containers[0]);
  unknown.name = "nobody";
  std::string id;
  ASSERT_NO_FATAL_FAILURE(make(unknown, &id));
  for (int relists = 0; relists < 3; ++relists) ASSERT_TRUE(model_->waitForRelist(kModelCeiling));
  EXPECT_FALSE(model_->status("web-2")->ready);
  EXPECT_EQ(model_->events().of("web-2", "Killing").size(), 0U);
  model_->remove("web-2");
  ASSERT_TRUE(model_->waitUntilGone("web-2", kModelCeiling));
  EXPECT_THAT(model_->events().of("web-2", "FailedKillPod").at(0).message, HasSubstr("containerSpec"));
}

TEST_F(KubeletAdoption, UpTo130AStandInIsRejected) {
  options_.version = Version::v1_30;
  start();
  auto definition = pod("web-0");
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  ASSERT_NO_FATAL_FAILURE(make(standIn(definition.containers[0])));
  EXPECT_TRUE(killed("app", "Container app definition changed, will be restarted"));
}

/// Attempt 0 is kubelet's own: its CreateContainer fails while another container has the name.
TEST_F(KubeletAdoption, TheAttemptOfAnotherContainerIsTaken) {
  start();
  auto definition = pod("web-0");
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  auto spec = standIn(definition.containers[0]);
  spec.attempt = 0;
  spec.labels["io.kubernetes.container.name"] = "somebody";
  ASSERT_NO_FATAL_FAILURE(make(spec));
  importShop(kAbsent);
  const auto failed = model_->events().waitFor(
      [](const model::Event& one) { return one.message.find("reserve container name") != std::string::npos; },
      kModelCeiling);
  EXPECT_TRUE(failed);
  EXPECT_TRUE(shows("web-0", "0/1 CreateContainerError, restarts 0"));
}

TEST_F(KubeletAdoption, From133ThePodsLimitsAreAppliedOrTheContainerIsKilled) {
  for (const auto version : {Version::v1_31, Version::v1_33}) {
    options_.version = version;
    start();
    const auto name = "web-" + std::to_string(static_cast<int>(version));
    auto definition = pod(name);
    definition.containers[0].spec.memoryBytes = 64 << 20;
    ASSERT_NO_FATAL_FAILURE(addStuck(definition));
    ASSERT_NO_FATAL_FAILURE(make(standIn(definition.containers[0], version)));
    ASSERT_TRUE(becomesReady(name));
    if (version == Version::v1_33) {
      EXPECT_TRUE(happens(name, "Resized"));
    } else {
      EXPECT_EQ(model_->events().of(name, "Resized").size(), 0U);
    }
  }
  auto picky = pod("picky");
  picky.containers[0].spec.memoryBytes = 64 << 20;
  picky.containers[0].resize = model::ResizePolicy::restart_container;
  ASSERT_NO_FATAL_FAILURE(addStuck(picky));
  ASSERT_NO_FATAL_FAILURE(make(standIn(picky.containers[0])));
  EXPECT_TRUE(killed("app", "Container app resize requires restart, will be restarted"));
}

TEST_F(KubeletAdoption, ARegularContainerMakesThePodInitialised) {
  start();
  auto definition = pod("web-0");
  auto init = container("init", kAbsent);
  init.role = model::Role::init;
  definition.containers.insert(definition.containers.begin(), init);
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  EXPECT_TRUE(shows("web-0", "0/1 PodInitializing, restarts 0"));
  ASSERT_NO_FATAL_FAILURE(make(standIn(definition.containers[1])));
  ASSERT_TRUE(becomes("web-0", [](const PodStatus& one) { return one.containers[1].ready; }));
  const auto pulls = model_->events().of("web-0", "Pulling").size();
  model_->wake("web-0");
  ASSERT_TRUE(model_->waitForRelist(kModelCeiling));
  ASSERT_TRUE(model_->waitForRelist(kModelCeiling));
  EXPECT_EQ(model_->events().of("web-0", "Pulling").size(), pulls) << "the init container is given up";
}

/// Like a hand-back: the container is stopped and removed, counts as lost, and kubelet pulls again.
TEST_F(KubeletAdoption, ARemovedContainerIsUnknownAndTheNextOneStarts) {
  options_.times.pullBackOff = 1h;
  start();
  auto definition = pod("web-0");
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  std::string id;
  ASSERT_NO_FATAL_FAILURE(make(standIn(definition.containers[0]), &id));
  ASSERT_TRUE(becomesReady("web-0"));
  importShop(kAbsent);
  E2E_CHECK(kubelet_->stopContainer(id));
  E2E_CHECK(kubelet_->removeContainer(id));
  ASSERT_TRUE(becomes(
      "web-0", [&](const PodStatus& one) { return one.ready && one.containers[0].containerId != id; }));
  const auto app = model_->status("web-0")->containers[0];
  EXPECT_EQ(app.image, kAbsent);
  const auto crashLoop = [](const model::Event& one) {
    return one.message == "Back-off restarting failed container";
  };
  EXPECT_FALSE(model_->events().waitFor(crashLoop, 0s));
}

TEST_F(KubeletAdoption, KubeletsRestartLeavesEverythingRunning) {
  start();
  auto definition = pod("web-0");
  definition.containers[0].spec.memoryBytes = 64 << 20;
  ASSERT_NO_FATAL_FAILURE(addStuck(definition));
  std::string id;
  ASSERT_NO_FATAL_FAILURE(make(standIn(definition.containers[0]), &id));
  ASSERT_TRUE(becomesReady("web-0"));
  ASSERT_TRUE(happens("web-0", "Resized"));
  const auto ip = model_->status("web-0")->ip;
  model_.reset();

  start();
  model_->add(definition);
  ASSERT_TRUE(becomesReady("web-0"));
  EXPECT_EQ(model_->status("web-0")->containers[0].containerId, id);
  EXPECT_EQ(model_->status("web-0")->ip, ip);
  EXPECT_TRUE(happens("web-0", "Found"));
  EXPECT_EQ(model_->events().of("web-0", "Killing").size(), 0U);

  // The same for containerd.
  node_->kill();
  E2E_CHECK(node_->restart());
  ASSERT_TRUE(model_->waitForRelist(kModelCeiling));
  EXPECT_TRUE(model_->status("web-0")->ready);
  EXPECT_EQ(model_->events().of("web-0", "Resized").size(), 0U) << "the record is on disk";
}

/// An open request: sent except for its last line.
class OpenRequest {
 public:
  OpenRequest(const std::string& ip, std::uint16_t port)
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    ::inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
    open_ = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
            send("GET / HTTP/1.1\r\n");
  }
  [[nodiscard]] bool open() const { return open_; }
  /// The answer; "" if the connection is broken or nothing comes within a second.
  std::string finish() {
    if (!send("\r\n")) return "";
    pollfd poll{fd_.get(), POLLIN, 0};
    if (::poll(&poll, 1, 1000) <= 0) return "";
    std::string answer(4096, '\0');
    const auto got = ::recv(fd_.get(), answer.data(), answer.size(), 0);
    answer.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return answer;
  }

 private:
  bool send(const std::string& text) {
    return ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  sys::UniqueFd fd_;
  bool open_ = false;
};

/// Without stand-ins: the fallback serves on the pod's address, but gets no traffic.
TEST(KubeletWithFallbackd, AFallbackServesAndKubernetesSeesNothing) {
  E2E_TRY(const auto shop, Shop::open());
  E2E_TRY(const auto router, Router::start(Shop::kPort, 0ms));
  model::Options options;
  options.times = options.times.scaled(0.1);
  model::KubeletModel kubelet(*shop->kubelet, options);
  kubelet.subscribe([&](const PodStatus& one) { router->update(one); });
  model::PodDefinition definition;
  definition.pod = checkoutPod("web-0");
  definition.containers.resize(1);
  definition.containers[0].spec = shop->containerSpec();
  definition.containers[0].readiness = Probe{.port = Shop::kPort, .period = 100ms};
  definition = kubelet.add(definition);

  ASSERT_TRUE(kubelet.events().waitFor("web-0", "Failed", kModelCeiling));
  E2E_TRY(const auto pod, shop->kubelet->podOf(definition.pod.uid));
  E2E_TRY(const auto answer, httpGetOk(pod.ip, Shop::kPort, "/", kModelCeiling));
  EXPECT_THAT(answer.body, HasSubstr("role=fallback"));
  const auto shows = [&](const std::string& text) {
    return kubelet.events().waitFor([&](const model::Event& one) { return one.message == text; },
                                    kModelCeiling);
  };
  EXPECT_TRUE(shows("0/1 ErrImagePull, restarts 0"));
  EXPECT_TRUE(shows("0/1 ImagePullBackOff, restarts 0")) << kubelet.events().text();
  EXPECT_EQ(router->endpoints(), 0U);
  EXPECT_FALSE(httpGet("127.0.0.1", router->port(), "/"));
  EXPECT_GE(router->rejected(), 1U);

  OpenRequest open(pod.ip, Shop::kPort);
  ASSERT_TRUE(open.open());
  kubelet.remove("web-0", 30s);
  ASSERT_TRUE(kubelet.waitUntilGone("web-0", kModelCeiling));
  EXPECT_EQ(kubelet.events().of("web-0", "Killing").size(), 0U) << "no container, no grace";
  EXPECT_EQ(kubelet.events().of("web-0", "StoppingSandbox").size(), 1U);
  EXPECT_EQ(open.finish(), "") << "an open request is cut off";
}

}  // namespace
}  // namespace fallbackd::e2e
