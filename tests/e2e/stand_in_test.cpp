// SPDX-License-Identifier: Apache-2.0
// Stand-ins on real containerds: what kubelet would see of a fallback, from its start to the hand-back, and
// across deaths of the daemon and the fallback, and the loss of the image.
#include "domain/stand_in.hpp"

#include "content_of.hpp"
#include "cri_stubs.hpp"
#include "e2e_gtest.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "standin/hash.hpp"
#include "standin/order.hpp"
#include "sys/process.hpp"
#include "wait.hpp"

#include <csignal>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace v1 = runtime::v1;
using namespace std::chrono_literals;
using test::contentOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kOurImage = "fallbackd.io/checkout:1.8.3";

std::vector<v1::Container> containersOf(const ContainerdNode& node, const Pod& pod) {
  v1::ListContainersRequest request;
  request.mutable_filter()->set_pod_sandbox_id(pod.sandboxId);
  grpc::ClientContext context;
  setDeadline(context, 10s);
  v1::ListContainersResponse response;
  const auto status = node.cri().runtime->ListContainers(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return {response.containers().begin(), response.containers().end()};
}

class StandInE2e : public testing::TestWithParam<std::string> {
 protected:
  void open(const std::string& containerd = "installed") {
    ShopOptions options;
    options.workloadExtra = "  settle: always\n  restart: {initialDelay: 50ms}\n";
    options.logLinks = makeRunDir("log-links");
    if (containerd != "installed") {
      options.node.binDir = fs::path(FALLBACKD_CONTAINERDS) / containerd;
      if (!fs::exists(*options.node.binDir)) GTEST_SKIP() << "no " << *options.node.binDir;
    }
    E2E_TRY(shop_, Shop::open(options));
  }
  void settle(Pod& pod) {
    E2E_TRY(pod, shop_->kubelet->startPod(checkoutPod("web-0")));
    ASSERT_TRUE(settled(1)) << shop_->daemon->logText();
  }
  /// Whether this daemon started or took over this many stand-ins, and one runs.
  bool settled(int times) {
    return waitUntil(kCeiling, [&] {
      const auto metrics = shop_->daemon->metrics();
      return metrics &&
             sumOf(*metrics, "fallbackd_stand_ins_total", "result=\"started\"") +
                     sumOf(*metrics, "fallbackd_stand_ins_total", "result=\"adopted\"") ==
                 times &&
             standInOf(*shop_->daemon, "web-0").state == "settled";
    });
  }
  std::string images() const {
    const auto list = shop_->node->ctr({"images", "ls", "-q"});
    EXPECT_TRUE(list);
    return list.value_or("");
  }
  std::string role(const Pod& pod) const {
    const auto answer = httpGet(pod.ip, Shop::kPort, "/", 5s);
    if (!answer) return "none";
    return answer->body.find("role=fallback") != std::string::npos ? "fallback" : "container";
  }

  std::unique_ptr<Shop> shop_;
};

TEST_P(StandInE2e, KubeletSeesTheFallbackUntilTheContainerComes) {
  open(GetParam());
  if (IsSkipped() || HasFatalFailure()) return;
  Pod pod;
  settle(pod);

  // The fields that kubelet relies on.
  const auto containers = containersOf(*shop_->node, pod);
  ASSERT_EQ(containers.size(), 1U);
  const auto& one = containers[0];
  EXPECT_EQ(one.state(), v1::CONTAINER_RUNNING);
  EXPECT_EQ(one.metadata().name(), "checkout");
  EXPECT_GE(one.metadata().attempt(), standin::kFirstAttempt);
  EXPECT_EQ(one.image().image(), kOurImage);
  EXPECT_EQ(one.labels().at("io.kubernetes.container.name"), "checkout");
  EXPECT_EQ(one.labels().at("io.kubernetes.pod.uid"), pod.spec.uid);
  EXPECT_EQ(one.annotations().at("io.kubernetes.container.hash"),
            standin::kubeletsHash("checkout", shop_->image()));
  // One image, with one name. A second one, with the configuration's digest, would stay forever.
  const auto ours = images();
  EXPECT_THAT(ours, HasSubstr(kOurImage));
  EXPECT_THAT(ours, Not(HasSubstr(one.image_ref())));
  const auto log = pod.logDirectory / "checkout-fallback" / "0.log";
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return contentOf(log).find(" stdout F ") != std::string::npos; }));
  const auto link = shop_->options.logLinks / ("web-0_shop_checkout-" + one.id() + ".log");
  EXPECT_EQ(fs::read_symlink(link), log) << "where collectors look";
  EXPECT_EQ(std::distance(fs::directory_iterator(shop_->options.logLinks), {}), 1) << "no line is read twice";
  // The daemon does not mistake it for the real container.
  EXPECT_EQ(recoveryState(*shop_->daemon, "web-0"), "ready");
  EXPECT_EQ(role(pod), "fallback");

  // The image arrives: kubelet creates no container while one of that name runs.
  E2E_CHECK(shop_->registry.start());
  E2E_TRY(const auto reference,
          shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return containersOf(*shop_->node, pod).empty(); }))
      << "our own probe pull brings the image, and the stand-in makes way";
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return !fs::is_symlink(link); }));
  EXPECT_EQ(role(pod), "fallback") << "it serves until the container comes";
  EXPECT_TRUE(waitUntil(kCeiling, [&] { return images().find("fallbackd.io/") == std::string::npos; }));
  E2E_TRY(const auto id, shop_->kubelet->createContainer(pod, shop_->containerSpec()));
  E2E_CHECK(shop_->kubelet->startContainer(id));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return role(pod) == "container"; }));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "handed_back"; }));
  EXPECT_EQ(containersOf(*shop_->node, pod).size(), 1U);
}

/// containerd does not flush what it unpacks: after a power cut the program in a snapshot may be empty.
TEST_P(StandInE2e, AnImageThatAPowerCutHasTornIsUnpackedAgain) {
  open(GetParam());
  if (IsSkipped() || HasFatalFailure()) return;
  Pod pod;
  settle(pod);
  const auto before = containersOf(*shop_->node, pod);
  ASSERT_EQ(before.size(), 1U);
  shop_->daemon->kill();
  E2E_CHECK(shop_->kubelet->stopContainer(before[0].id(), 0s));
  E2E_CHECK(shop_->kubelet->removeContainer(before[0].id()));
  int emptied = 0;
  for (const auto& entry : fs::recursive_directory_iterator(shop_->node->folder())) {
    if (entry.path().filename() != fs::path(kStandInProgram).filename() || !entry.is_regular_file()) continue;
    fs::resize_file(entry.path(), 0);
    ++emptied;
  }
  ASSERT_EQ(emptied, 1);
  E2E_CHECK(shop_->daemon->restart());
  EXPECT_TRUE(settled(1)) << shop_->daemon->logText();
}

INSTANTIATE_TEST_SUITE_P(Containerd, StandInE2e, testing::Values("installed", "trixie", "sid"),
                         [](const auto& one) { return one.param; });

using StandInLife = StandInE2e;

TEST_F(StandInLife, KubeletsStopReachesTheFallbackOfAnEarlierDaemon) {
  open();
  if (HasFatalFailure()) return;
  Pod pod;
  settle(pod);
  const auto before = containersOf(*shop_->node, pod);
  ASSERT_EQ(before.size(), 1U);
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(settled(1)) << "the next daemon takes it over";
  const auto after = containersOf(*shop_->node, pod);
  ASSERT_EQ(after.size(), 1U);
  EXPECT_EQ(after[0].id(), before[0].id());
  const pid_t fallback = fallbackPid(*shop_->daemon, "web-0");
  E2E_TRY(const auto held, sys::openPidFd(Stage::cli, fallback));

  // Deletion of the pod: kubelet stops the container with its grace period.
  E2E_CHECK(shop_->kubelet->stopContainer(after[0].id(), 30s));
  EXPECT_TRUE(sys::hasEnded(Stage::cli, held).value_or(false))
      << "the fallback got its SIGTERM, and ended first";
  E2E_TRY(const auto code, shop_->kubelet->waitForContainer(after[0].id(), kCeiling));
  // Kernels before 6.15 do not report the exit code of a process that is not the daemon's child.
  EXPECT_THAT(code, testing::AnyOf(0, 255)) << "the exit code of the fallback";
  E2E_CHECK(shop_->kubelet->removePod(pod));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "pod_gone"; }));
}

TEST_F(StandInLife, ItEndsWithTheFallbackAndComesBackWithIt) {
  open();
  if (HasFatalFailure()) return;
  Pod pod;
  settle(pod);
  // kubelet's garbage collection may take the image at any time.
  E2E_CHECK(shop_->node->ctr({"images", "rm", kOurImage}));
  const auto first = containersOf(*shop_->node, pod);
  ASSERT_EQ(first.size(), 1U);
  ASSERT_EQ(::kill(fallbackPid(*shop_->daemon, "web-0"), SIGKILL), 0);
  E2E_TRY(const auto code, shop_->kubelet->waitForContainer(first[0].id(), kCeiling));
  EXPECT_EQ(code, 128 + SIGKILL);
  ASSERT_TRUE(settled(2)) << shop_->daemon->logText();
  int running = 0;
  for (const auto& one : containersOf(*shop_->node, pod)) {
    if (one.state() != v1::CONTAINER_RUNNING) continue;
    ++running;
    EXPECT_EQ(one.annotations().at("io.kubernetes.container.restartCount"), "1");
  }
  EXPECT_EQ(running, 1);
  EXPECT_EQ(role(pod), "fallback");
}

TEST_F(StandInLife, AnUninstallLeavesNone) {
  open();
  if (HasFatalFailure()) return;
  Pod pod;
  settle(pod);
  E2E_TRY(const auto stopped, shop_->daemon->stop());
  EXPECT_EQ(stopped, 0);
  ASSERT_EQ(containersOf(*shop_->node, pod).size(), 1U) << "an upgrade keeps it";
  E2E_TRY(const auto said, runOk({.argv = {binary("fallbackd"), "--config",
                                           shop_->daemon->configFile().string(), "--remove-stand-ins"}}));
  EXPECT_THAT(said, HasSubstr("removed 1 stand-ins"));
  EXPECT_TRUE(containersOf(*shop_->node, pod).empty());
  EXPECT_THAT(images(), Not(HasSubstr("fallbackd.io/")));
  EXPECT_EQ(role(pod), "fallback");
}

TEST_F(StandInLife, AnOrderRemovesThemAndAnotherOneAllowsThemAgain) {
  open();
  if (HasFatalFailure()) return;
  Pod pod;
  settle(pod);
  const auto order = [&](const std::string& command) {
    return run({.argv = {binary("fallbackctl"), command, "--config", shop_->daemon->configFile().string()}});
  };
  E2E_TRY(const auto removed, order("remove-all"));
  EXPECT_EQ(removed.code, 0) << removed.text;
  EXPECT_TRUE(containersOf(*shop_->node, pod).empty()) << "it waits until they are gone";
  EXPECT_THAT(images(), Not(HasSubstr("fallbackd.io/")));
  EXPECT_EQ(role(pod), "fallback");

  // The order survives the daemon.
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return standInOf(*shop_->daemon, "web-0").state == "refused"; }));
  EXPECT_TRUE(containersOf(*shop_->node, pod).empty());

  E2E_TRY(const auto resumed, order("resume"));
  EXPECT_EQ(resumed.code, 0) << resumed.text;
  ASSERT_TRUE(settled(1)) << shop_->daemon->logText();
}

TEST_F(StandInLife, AStandInWhoseFallbackDiedWithoutADaemonIsReplaced) {
  open();
  if (HasFatalFailure()) return;
  Pod pod;
  settle(pod);
  const auto before = containersOf(*shop_->node, pod);
  ASSERT_EQ(before.size(), 1U);
  const pid_t fallback = fallbackPid(*shop_->daemon, "web-0");
  E2E_TRY(const auto held, sys::openPidFd(Stage::cli, fallback));
  shop_->daemon->kill();
  ASSERT_EQ(::kill(fallback, SIGKILL), 0);
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return sys::hasEnded(Stage::cli, held).value_or(false); }));
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(settled(1)) << shop_->daemon->logText();
  const auto after = containersOf(*shop_->node, pod);
  ASSERT_EQ(after.size(), 1U);
  EXPECT_NE(after[0].id(), before[0].id());
  EXPECT_NE(after[0].labels().at(kStandInLabel), before[0].labels().at(kStandInLabel));
}

}  // namespace
}  // namespace fallbackd::e2e
