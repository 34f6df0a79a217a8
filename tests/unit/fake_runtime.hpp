// SPDX-License-Identifier: Apache-2.0
// A container runtime under the test's control, and a loop to run coroutines on. Passes tests/contract: if it
// behaves differently from containerd, that suite needs a case.
#pragma once

#include "base/async/event.hpp"
#include "cri/runtime.hpp"
#include "fake_events.hpp"
#include "run_until.hpp"

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::test {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// Runs one coroutine to its end and returns its value.
template <class T>
T runToEnd(asio::io_context& loop, asio::awaitable<T> task) {
  std::optional<T> result;
  asio::co_spawn(loop, std::move(task), [&](std::exception_ptr error, T value) {
    if (error) std::rethrow_exception(error);
    result = std::move(value);
  });
  EXPECT_TRUE(runUntil(loop, [&] { return result.has_value(); }));
  return std::move(*result);
}

/// A value that a coroutine waits for and the test provides.
class Gate {
 public:
  explicit Gate(asio::io_context& loop) : opened_(loop.get_executor()) {}
  void open() { opened_.set(); }
  asio::awaitable<void> passed() { return opened_.wait(); }

 private:
  Event opened_;
};

class FakeRuntime final : public cri::Runtime {
 public:
  cri::Awaitable<Result<cri::RuntimeVersion>> version() override {
    FB_CO_CHECK(reached());
    co_return cri::RuntimeVersion{"fake", "1"};
  }
  cri::Awaitable<Result<std::vector<cri::Sandbox>>> listSandboxes() override {
    ++calls;
    FB_CO_CHECK(reached());
    std::vector<cri::Sandbox> list;
    for (const auto& [id, status] : sandboxes) {
      if (!beingMade.contains(id)) list.push_back(status.sandbox);
    }
    co_return list;
  }
  cri::Awaitable<Result<std::vector<cri::Container>>> listContainers() override {
    ++calls;
    if (onList) onList();
    FB_CO_CHECK(reached());
    auto list = containers;
    std::erase_if(list, [&](const auto& one) { return beingMade.contains(one.id); });
    co_return list;
  }
  cri::Awaitable<Result<cri::SandboxStatus>> sandboxStatus(std::string id) override {
    ++calls;
    FB_CO_CHECK(reached());
    if (!statusFailures.empty()) {
      auto failure = std::move(statusFailures.front());
      statusFailures.pop_front();
      co_return tl::unexpected<Error>(std::move(failure));
    }
    const auto found = sandboxes.find(id);
    if (found == sandboxes.end() || beingMade.contains(id)) {
      co_return fail(Stage::sandbox, Reason::not_found, id);
    }
    if (!found->second.sandbox.ready) co_return fail(Stage::sandbox, Reason::sandbox_gone, id);
    co_return found->second;
  }
  cri::Awaitable<Result<bool>> imagePresent(std::string reference) override {
    ++calls;
    FB_CO_CHECK(reached());
    if (presenceGate != nullptr) co_await presenceGate->passed();
    co_return images.contains(reference);
  }
  cri::Awaitable<Result<std::vector<std::string>>> imageTags(std::string imageId) override {
    ++calls;
    ++tagQuestions;
    FB_CO_CHECK(reached());
    if (const auto own = gateOf.find(imageId); own != gateOf.end()) co_await own->second->passed();
    const auto found = tags.find(imageId);
    co_return found == tags.end() ? std::vector<std::string>{} : found->second;
  }
  cri::Awaitable<Result<std::vector<std::string>>> imageReferences(std::string imageId) override {
    ++calls;
    FB_CO_CHECK(reached());
    if (deafToReferences) co_return fail(Stage::containerd, Reason::unavailable, "deaf");
    const auto found = references.find(imageId);
    co_return found == references.end() ? std::vector<std::string>{} : found->second;
  }
  cri::Awaitable<cri::PullOutcome> pull(std::string reference,
                                        std::optional<cri::Credentials> credentials) override {
    ++pulls[reference];
    lastCredentials = std::move(credentials);
    if (down) co_return cri::PullOutcome{cri::PullOutcome::Kind::failed, 14, "down"};
    if (pullGate != nullptr) co_await pullGate->passed();
    if (const auto own = gateOf.find(reference); own != gateOf.end()) co_await own->second->passed();
    const auto special = outcomeOf.find(reference);
    cri::PullOutcome outcome = special == outcomeOf.end() ? pullOutcome : special->second;
    if (outcome.kind == cri::PullOutcome::Kind::pulled) {
      images.insert(reference);
      // containerd sends this event even for an image that it already has.
      if (events) events->send(cri::Event::Kind::image_arrived, reference);
    }
    co_return outcome;
  }
  cri::Awaitable<Result<cri::Container>> storedContainer(std::string id) override {
    ++calls;
    FB_CO_CHECK(reached());
    const auto found = labels.find(id);
    if (found == labels.end()) co_return fail(Stage::containerd, Reason::not_found, id);
    cri::Container stored;
    if (const auto* one = container(id)) stored = *one;
    stored.id = id;
    stored.labels = found->second;
    co_return stored;
  }
  cri::Awaitable<Result<std::vector<std::string>>> storedIds() override {
    FB_CO_CHECK(reached());
    if (storeSilent) co_return fail(Stage::containerd, Reason::timeout, "the store");
    std::vector<std::string> ids;
    for (const auto& [id, of] : labels) ids.push_back(id);
    co_return ids;
  }
  cri::Awaitable<Result<std::optional<int>>> exitCode(std::string id) override {
    ++calls;
    ++exitQuestions;
    FB_CO_CHECK(reached());
    if (exitGate != nullptr) co_await exitGate->passed();
    const auto* one = container(id);
    if (one == nullptr) co_return fail(Stage::containerd, Reason::not_found, id);
    const bool exited = one->state == cri::Container::State::exited;
    co_return exited ? std::optional(exitCodes.at(id)) : std::nullopt;
  }
  cri::Awaitable<Result<std::string>> sandboxImage() override {
    FB_CO_CHECK(reached());
    co_return pauseImage;
  }
  cri::Awaitable<Result<std::vector<cri::Content>>> contentsFrom(std::string host) override {
    FB_CO_CHECK(reached());
    const auto found = contents.find(host);
    co_return found == contents.end() ? std::vector<cri::Content>{} : found->second;
  }
  cri::Awaitable<Result<std::vector<cri::Ingest>>> ingests() override {
    ++ingestLooks;
    FB_CO_CHECK(reached());
    if (onIngests) co_return onIngests();
    co_return std::vector<cri::Ingest>{};
  }

  /// A ready sandbox, like those that kubelet requests.
  void addSandbox(const std::string& id, const std::string& podNamespace, const std::string& app) {
    const std::string uid = "uid-" + id;
    const cri::Labels ofPod{{"io.kubernetes.pod.name", "pod-" + id},
                            {"io.kubernetes.pod.namespace", podNamespace},
                            {"io.kubernetes.pod.uid", uid},
                            {"app", app}};
    cri::SandboxStatus status;
    status.sandbox = cri::Sandbox{id, "pod-" + id, podNamespace, uid, 0, true, {}, ofPod, {}};
    status.ips = {"127.0.0.1"};
    status.pausePid = 4242;
    status.cgroupParent = "/kubepods/burstable/pod" + uid;
    status.resolvConfPath = "/sandboxes/" + id + "/resolv.conf";
    status.shmPath = "/sandboxes/" + id + "/shm";
    status.hostname = "pod-" + id;
    status.logDirectory = "/logs/" + podNamespace + "_pod-" + id + "_" + uid;
    sandboxes[id] = status;
    labels[id] = ofPod;
    labels[id]["io.cri-containerd.kind"] = "sandbox";
  }
  /// The pause process ends, and CRI still lists the sandbox.
  void stopSandbox(const std::string& id) { sandboxes.at(id).sandbox.ready = false; }
  void removeSandbox(const std::string& id) {
    sandboxes.erase(id);
    labels.erase(id);
  }
  /// A container like those that kubelet creates.
  cri::Container& addContainer(const std::string& id, const std::string& sandboxId, const std::string& name) {
    auto& one =
        containers.emplace_back(cri::Container{id, sandboxId, name, 0, cri::Container::State::created});
    one.labels = {{"io.kubernetes.container.name", name}, {"io.kubernetes.pod.uid", "uid-" + sandboxId}};
    one.annotations = {{"io.kubernetes.container.hash", "774ada0b"}};
    one.imageId = "sha256:image-of-" + name;
    labels[id] = one.labels;
    labels[id]["io.cri-containerd.kind"] = "container";
    return one;
  }
  void startContainer(const std::string& id) { setState(id, cri::Container::State::running); }
  void exitContainer(const std::string& id, int code) {
    setState(id, cri::Container::State::exited);
    exitCodes[id] = code;
  }
  void removeContainer(const std::string& id) {
    std::erase_if(containers, [&](const auto& one) { return one.id == id; });
    labels.erase(id);
    exitCodes.erase(id);
  }
  /// Creates a container like `crictl create`: in the pod's sandbox, with any name.
  void addForeignContainer(const std::string& id, const std::string& sandboxId, const std::string& name) {
    addContainer(id, sandboxId, name);
    labels[id] = {{"io.cri-containerd.kind", "container"}};
    containers.back().labels.clear();
    containers.back().annotations.clear();
  }

  bool down = false;
  std::deque<Error> statusFailures;  // of the next queries about a sandbox
  std::map<std::string, cri::SandboxStatus> sandboxes;
  std::vector<cri::Container> containers;
  std::set<std::string> beingMade;  // sandboxes and containers that are stored but not yet known to CRI
  std::map<std::string, cri::Labels> labels;
  bool storeSilent = false;  // does not answer queries about its content
  std::set<std::string> images;
  std::map<std::string, int> pulls;
  cri::PullOutcome pullOutcome{
      cri::PullOutcome::Kind::failed, 2,
      "failed to pull and unpack image: failed to resolve reference: dial tcp 127.0.0.1:1: connect: "
      "connection refused"};
  std::map<std::string, cri::PullOutcome> outcomeOf;  // by reference, if it differs from pullOutcome
  std::optional<cri::Credentials> lastCredentials;
  std::string pauseImage;
  std::map<std::string, std::vector<cri::Content>> contents;  // by host
  Gate* pullGate = nullptr;
  std::map<std::string, Gate*> gateOf;  // pulls (by reference) and tag queries (by image id) that hang
  Gate* presenceGate = nullptr;         // queries whether an image is present are answered once it is open
  Gate* exitGate = nullptr;             // queries about exit codes are answered once it is open
  int exitQuestions = 0;
  std::function<std::vector<cri::Ingest>()> onIngests;
  int ingestLooks = 0;
  std::map<std::string, std::vector<std::string>> tags;        // by image id
  std::map<std::string, std::vector<std::string>> references;  // by image id
  bool deafToReferences = false;                               // does not answer that query
  int tagQuestions = 0;
  int calls = 0;
  std::function<void()> onList;  // called before containers are listed
  FakeEvents* events = nullptr;  // receives the events of arriving images

 private:
  [[nodiscard]] Result<> reached() const {
    if (down) return fail(Stage::containerd, Reason::unavailable, "down");
    return {};
  }
  void setState(const std::string& id, cri::Container::State state) {
    for (auto& one : containers) {
      if (one.id == id) one.state = state;
    }
  }
  [[nodiscard]] const cri::Container* container(const std::string& id) const {
    for (const auto& one : containers) {
      if (one.id == id) return &one;
    }
    return nullptr;
  }

  std::map<std::string, int> exitCodes;  // by container id
};

}  // namespace fallbackd::test
