// SPDX-License-Identifier: Apache-2.0
// Creates containers and images in a FakeRuntime. The test starts their processes.
#pragma once

#include "cri/control.hpp"
#include "fake_runtime.hpp"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace fallbackd::test {

class FakeControl final : public cri::Control {
 public:
  explicit FakeControl(FakeRuntime& fake) : runtime(fake) {}

  cri::Awaitable<Result<std::string>> createContainer(cri::SandboxStatus sandbox,
                                                      cri::ContainerOrder order) override {
    calls.push_back("create");
    if (runtime.down) co_return fail(Stage::containerd, Reason::unavailable, "down");
    for (const auto& other : runtime.containers) {
      const auto uid = other.labels.find("io.kubernetes.pod.uid");
      const bool ofPod = uid != other.labels.end() && uid->second == sandbox.sandbox.podUid;
      if (ofPod && other.name == order.name && other.attempt == order.attempt)
        co_return fail(Stage::containerd, Reason::already_exists, "the name is reserved for " + other.id);
    }
    const std::string id = "c" + std::to_string(++count);
    cri::Container one{id, sandbox.sandbox.id, order.name, order.attempt, cri::Container::State::created};
    one.image = order.image;
    one.imageId = ids[order.image];
    runtime.labels[id] = order.labels;
    one.labels = order.labels;
    one.annotations = order.annotations;
    runtime.containers.push_back(one);
    orders.push_back(std::move(order));
    co_return id;
  }
  cri::Awaitable<Result<>> startContainer(std::string id) override {
    calls.push_back("start");
    if (startFails) co_return fail(Stage::containerd, Reason::protocol, "runc");
    if (startUnanswered) {
      runtime.startContainer(id);
      runtime.down = true;
      co_return fail(Stage::containerd, Reason::unavailable, "down");
    }
    runtime.startContainer(id);
    if (onStart) pids[id] = onStart();
    co_return Result<>{};
  }
  cri::Awaitable<Result<pid_t>> containerPid(std::string id) override {
    const auto found = pids.find(id);
    co_return found == pids.end() ? 0 : found->second;
  }
  cri::Awaitable<Result<>> stopContainer(std::string id, std::chrono::seconds) override {
    calls.push_back("stop " + id);
    if (onStop) onStop();
    if (hung == id) co_return fail(Stage::containerd, Reason::timeout, "its shim hangs");
    if (runtime.down) co_return fail(Stage::containerd, Reason::unavailable, "down");
    runtime.exitContainer(id, 137);
    co_return Result<>{};
  }
  cri::Awaitable<Result<>> removeContainer(std::string id) override {
    calls.push_back("remove " + id);
    runtime.removeContainer(id);
    co_return Result<>{};
  }
  cri::Awaitable<Result<>> tellOutOfMemory(std::string id) override {
    calls.push_back("out of memory " + id);
    co_return Result<>{};
  }
  cri::Awaitable<Result<>> createImage(std::string name, std::vector<cri::Blob> blobs,
                                       cri::Labels labels) override {
    calls.push_back("image");
    if (!imageHidden) runtime.images.insert(name);
    digests[name] = blobs.back().digest;
    ids[name] = blobs[blobs.size() - 2].digest;
    if (exchanges) ids[name] = "sha256:foreign";
    layers[name] = blobs.size() - 2;  // all blobs but configuration and manifest
    images[name] = std::move(labels);
    co_return Result<>{};
  }
  cri::Awaitable<Result<>> deleteImage(std::string name, cri::Cleanup cleanup) override {
    calls.push_back(cleanup == cri::Cleanup::now ? "delete at once" : "delete");
    images.erase(name);
    digests.erase(name);
    runtime.images.erase(name);
    co_return Result<>{};
  }
  cri::Awaitable<Result<std::string>> imageDigest(std::string name) override {
    const auto found = digests.find(name);
    co_return found == digests.end() ? std::string() : found->second;
  }
  cri::Awaitable<Result<std::vector<std::string>>> imagesWithLabel(std::string key) override {
    std::vector<std::string> names;
    for (const auto& [name, labels] : images) {
      if (labels.contains(key)) names.push_back(name);
    }
    co_return names;
  }

  FakeRuntime& runtime;
  std::vector<std::string> calls;
  std::vector<cri::ContainerOrder> orders;
  std::map<std::string, cri::Labels> images;
  std::map<std::string, std::string> digests;  // of images, by name
  std::map<std::string, std::size_t> layers;
  std::map<std::string, pid_t> pids;  // by container
  std::function<pid_t()> onStart;
  std::function<void()> onStop;
  std::map<std::string, std::string> ids;  // of images, by name
  bool exchanges = false;                  // a third party moves each image's name to a different image
  std::string hung;                        // the container that does not stop
  bool startFails = false;
  bool startUnanswered = false;  // the start succeeds, but the runtime dies before it answers
  bool imageHidden = false;      // CRI never learns of it
  int count = 0;
};

}  // namespace fallbackd::test
