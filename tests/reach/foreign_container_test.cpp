// SPDX-License-Identifier: Apache-2.0
// A container is created in a pod that runs its fallback, with the name of the container that the pod waits
// for: by a person with crictl, a debugger or a different tool. Only the real container may end the fallback.
#include "cri_requests.hpp"
#include "e2e_gtest.hpp"
#include "image.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <filesystem>
#include <fstream>
#include <functional>

namespace fallbackd::e2e {
namespace {

namespace v1 = runtime::v1;
using namespace std::chrono_literals;

// Long enough to react to an event many times.
constexpr auto kPatience = 3s;

class ReachForeignContainer : public testing::Test {
 protected:
  void SetUp() override {
    RecordProperty("item", "11");
    E2E_TRY(shop_, Shop::open());
    const Image image{.reference = kToolbox,
                      .files = {{"bin/toolbox", testProgram("shop-httpd-1.8.3")}},
                      .entrypoint = {"/bin/toolbox", "--port=9090"},
                      .env = {}};
    const auto archive = makeRunDir("toolbox") / "image.tar";
    E2E_CHECK(writeOciArchive(image, archive));
    E2E_CHECK(shop_->node->importImage(archive, kToolbox));
    E2E_TRY(pod_, shop_->kubelet->startPod(checkoutPod("web-0")));
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "ready"; }))
        << shop_->daemon->logText();
    pid_ = fallbackPid(*shop_->daemon, "web-0");
  }

  /// Starts a container of the toolbox's image with the name of the pod's container, changed by `edit`.
  void make(const std::function<void(v1::ContainerConfig&)>& edit) {
    ContainerSpec spec;
    spec.name = "checkout";
    spec.attempt = 7;  // not the one that kubelet will use
    v1::ImageStatusRequest question;
    question.mutable_image()->set_image(kToolbox);
    v1::ImageStatusResponse image;
    call([&](auto* context) { return shop_->node->cri().images->ImageStatus(context, question, &image); });
    std::filesystem::create_directories(pod_.logDirectory / "checkout");
    std::ofstream(pod_.folder / "etc-hosts") << "127.0.0.1\tlocalhost\n";
    v1::CreateContainerRequest request;
    request.set_pod_sandbox_id(pod_.sandboxId);
    *request.mutable_config() = containerConfig(pod_, spec, image.image().id());
    *request.mutable_sandbox_config() = sandboxConfig(pod_);
    edit(*request.mutable_config());
    v1::CreateContainerResponse made;
    call([&](auto* context) { return shop_->node->cri().runtime->CreateContainer(context, request, &made); });
    v1::StartContainerRequest start;
    start.set_container_id(made.container_id());
    v1::StartContainerResponse started;
    call([&](auto* context) { return shop_->node->cri().runtime->StartContainer(context, start, &started); });
  }
  void call(const std::function<grpc::Status(grpc::ClientContext*)>& made) {
    grpc::ClientContext context;
    setDeadline(context, kCeiling);
    const auto status = made(&context);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  void expectTheFallbackStillServes() {
    const bool ended =
        waitUntil(kPatience, [&] { return recoveryState(*shop_->daemon, "web-0") != "ready"; });
    EXPECT_FALSE(ended) << "the fallback was ended: " << recoveryState(*shop_->daemon, "web-0");
    EXPECT_EQ(fallbackPid(*shop_->daemon, "web-0"), pid_) << "the fallback was killed";
    EXPECT_TRUE(httpGet(pod_.ip, Shop::kPort, "/")) << "the pod does not serve";
  }
  /// Whatever was created before, the real container takes over.
  void expectTheRealContainerTakesOver() {
    E2E_CHECK(shop_->registry.start());
    E2E_TRY(const auto pushed,
            shop_->registry.pushImage("shop/checkout:1.8.3", testProgram("shop-httpd-1.8.3")));
    const auto pulled = shop_->kubelet->pullImage(shop_->image());
    ASSERT_TRUE(pulled.ok()) << pulled.text;
    E2E_TRY(const auto id, shop_->kubelet->createContainer(pod_, shop_->containerSpec()));
    E2E_CHECK(shop_->kubelet->startContainer(id));
    EXPECT_TRUE(waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, "web-0") == "handed_back"; }))
        << shop_->daemon->logText();
  }

  static constexpr const char* kToolbox = "localhost/tools/toolbox:1";
  std::unique_ptr<Shop> shop_;
  Pod pod_;
  pid_t pid_ = 0;
};

TEST_F(ReachForeignContainer, OneThatKubeletDidNotCreateEndsNothing) {
  RecordProperty(
      "attack",
      "Somebody creates a container with the name and labels of the pod's; kubelet does not know it");
  make([](v1::ContainerConfig& config) { config.clear_annotations(); });
  expectTheFallbackStillServes();
  expectTheRealContainerTakesOver();
}

TEST_F(ReachForeignContainer, OneWithAnotherImageEndsNothing) {
  RecordProperty("attack", "A tool creates a container with all of kubelet's marks and its own image");
  make([](v1::ContainerConfig&) {});
  expectTheFallbackStillServes();
}

TEST_F(ReachForeignContainer, OneWithoutLabelsEndsNothingInAResyncEither) {
  RecordProperty("attack",
                 "Somebody creates a container with the name of the pod's container with crictl, and the "
                 "daemon restarts beside it");
  make([](v1::ContainerConfig& config) {
    config.clear_labels();
    config.clear_annotations();
  });
  shop_->daemon->kill();
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return !recoveryState(*shop_->daemon, "web-0").empty(); }));
  expectTheFallbackStillServes();
}

}  // namespace
}  // namespace fallbackd::e2e
