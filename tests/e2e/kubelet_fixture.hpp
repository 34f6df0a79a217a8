// SPDX-License-Identifier: Apache-2.0
// A containerd with the model of kubelet, running twenty times as fast as kubelet.
#pragma once

#include "e2e_gtest.hpp"
#include "image.hpp"
#include "kubelet/hash.hpp"
#include "kubelet/model.hpp"
#include "process.hpp"
#include "run_dir.hpp"

#include <memory>
#include <string>
#include <vector>

namespace fallbackd::e2e {

// Longer than any successful step takes.
constexpr std::chrono::seconds kModelCeiling{30};

class ModelTest : public testing::Test {
 protected:
  void SetUp() override {
    E2E_TRY(node_, ContainerdNode::start());
    kubelet_ = std::make_unique<Kubelet>(*node_);
    options_.times = options_.times.scaled(0.05);
    options_.folder = makeRunDir("kubelet-model");
  }
  void TearDown() override {
    if (HasFailure() && model_) std::printf("%s", model_->events().text().c_str());
    model_.reset();
    kubelet_.reset();
    node_.reset();
  }
  void start() { model_ = std::make_unique<model::KubeletModel>(*kubelet_, options_); }

  /// A pod with one container "app" whose image cannot be pulled: its registry refuses connections.
  static model::PodDefinition pod(const std::string& name, const std::string& image = kAbsent) {
    model::PodDefinition pod;
    pod.pod.name = name;
    pod.pod.namespaceName = "shop";
    pod.containers = {container("app", image)};
    pod.grace = std::chrono::seconds(2);
    return pod;
  }
  static model::ContainerDefinition container(const std::string& name, const std::string& image,
                                              std::vector<std::string> args = {}) {
    model::ContainerDefinition one;
    one.spec.name = name;
    one.spec.image = image;
    one.spec.args = std::move(args);
    return one;
  }
  /// Imports shop-httpd as an image of the node.
  void importShop(const std::string& reference = kShop) {
    const Image image{.reference = reference,
                      .files = {{"bin/shop", testProgram("shop-httpd-1.8.3")}},
                      .entrypoint = {"/bin/shop"},
                      .env = {}};
    const auto archive = makeRunDir("image") / "image.tar";
    E2E_CHECK(writeOciArchive(image, archive));
    E2E_CHECK(node_->importImage(archive, reference));
  }
  /// Adds the pod and waits until its container's pull has failed.
  void addStuck(model::PodDefinition& definition) {
    definition = model_->add(definition);
    ASSERT_TRUE(model_->events().waitFor(definition.pod.name, "Failed", kModelCeiling));
    E2E_TRY(stuck_, kubelet_->podOf(definition.pod.uid));
  }
  /// A container that something else creates in the pod's sandbox: a pause, marked as kubelet marks its own.
  static ContainerSpec standIn(const model::ContainerDefinition& of,
                               model::Version version = model::Version::v1_36) {
    ContainerSpec spec;
    spec.name = of.spec.name;
    spec.image = kSandboxImage;
    spec.attempt = 1000;
    spec.annotations = {{"io.kubernetes.container.hash", model::containerHash(version, of.spec)},
                        {"io.kubernetes.container.restartCount", "0"}};
    spec.logPath = of.spec.name + "-stand-in.log";
    return spec;
  }
  void make(const ContainerSpec& spec, std::string* id = nullptr) {
    E2E_TRY(const auto made, kubelet_->createContainer(stuck_, spec));
    E2E_CHECK(kubelet_->startContainer(made));
    if (id != nullptr) *id = made;
  }
  /// A server on the pod's address that no container runs.
  void serve(const Pod& pod) {
    auto server = ChildProcess::start({.argv = {"nsenter", "--net", "--target", std::to_string(pod.pausePid),
                                                testProgram("shop-httpd-1.8.3"), "--port=8080"},
                                       .env = {{"ROLE", "fallback"}},
                                       .output = logFile("server-" + pod.spec.name)});
    ASSERT_TRUE(server) << server.error().message();
    servers_.push_back(std::move(*server));
  }

  bool becomes(const std::string& name, const model::Board::Holds& holds) {
    return model_->waitFor(name, holds, kModelCeiling);
  }
  bool becomesReady(const std::string& name) {
    return becomes(name, [](const model::PodStatus& pod) { return pod.ready; });
  }
  /// "0/1 ErrImagePull, restarts 0", now or earlier: some statuses last for only one sync.
  bool shows(const std::string& name, const std::string& text) {
    return model_->events()
        .waitFor(
            [&](const model::Event& one) {
              return one.pod == name && one.reason == "Status" && one.message == text;
            },
            kModelCeiling)
        .has_value();
  }
  bool killed(const std::string& container, const std::string& message) {
    return model_->events()
        .waitFor(
            [&](const model::Event& one) {
              return one.reason == "Killing" && one.container == container && one.message == message;
            },
            kModelCeiling)
        .has_value();
  }
  bool happens(const std::string& name, const std::string& reason) {
    return model_->events().waitFor(name, reason, kModelCeiling).has_value();
  }

  static constexpr const char* kShop = "localhost/shop/checkout:1.8.3";
  /// Nothing listens there: the run has its own network namespace.
  static constexpr const char* kAbsent = "127.0.0.1:5999/shop/checkout:1.8.3";

  std::unique_ptr<ContainerdNode> node_;
  std::unique_ptr<Kubelet> kubelet_;
  model::Options options_;
  std::unique_ptr<model::KubeletModel> model_;
  Pod stuck_;
  std::vector<ChildProcess> servers_;
};

}  // namespace fallbackd::e2e
