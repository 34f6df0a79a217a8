// SPDX-License-Identifier: Apache-2.0
// A container runtime under the test's control, and a loop to run coroutines on.
#pragma once

#include "base/async/event.hpp"
#include "cri/runtime.hpp"
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
    co_return cri::RuntimeVersion{"fake", "1"};
  }
  cri::Awaitable<Result<std::vector<cri::Sandbox>>> listSandboxes() override {
    ++calls;
    if (down) co_return fail(Stage::containerd, Reason::unavailable, "down");
    std::vector<cri::Sandbox> list;
    for (const auto& [id, status] : sandboxes) list.push_back(status.sandbox);
    co_return list;
  }
  cri::Awaitable<Result<std::vector<cri::Container>>> listContainers() override {
    ++calls;
    if (down) co_return fail(Stage::containerd, Reason::unavailable, "down");
    co_return containers;
  }
  cri::Awaitable<Result<cri::SandboxStatus>> sandboxStatus(std::string id) override {
    ++calls;
    if (down) co_return fail(Stage::containerd, Reason::unavailable, "down");
    const auto found = sandboxes.find(id);
    if (found == sandboxes.end()) co_return fail(Stage::sandbox, Reason::not_found, id);
    co_return found->second;
  }
  cri::Awaitable<Result<bool>> imagePresent(std::string reference) override {
    ++calls;
    if (down) co_return fail(Stage::containerd, Reason::unavailable, "down");
    co_return images.contains(reference);
  }
  cri::Awaitable<Result<std::vector<std::string>>> imageTags(std::string imageId) override {
    ++calls;
    ++tagQuestions;
    const auto found = tags.find(imageId);
    co_return found == tags.end() ? std::vector<std::string>{} : found->second;
  }
  cri::Awaitable<Result<std::vector<std::string>>> imageReferences(std::string imageId) override {
    ++calls;
    if (down || deafToReferences) co_return fail(Stage::containerd, Reason::unavailable, "down");
    const auto found = references.find(imageId);
    co_return found == references.end() ? std::vector<std::string>{} : found->second;
  }
  cri::Awaitable<cri::PullOutcome> pull(std::string reference,
                                        std::optional<cri::Credentials> credentials) override {
    ++pulls[reference];
    lastCredentials = std::move(credentials);
    if (pullGate != nullptr) co_await pullGate->passed();
    if (const auto own = gateOf.find(reference); own != gateOf.end()) co_await own->second->passed();
    const auto special = outcomeOf.find(reference);
    cri::PullOutcome outcome = special == outcomeOf.end() ? pullOutcome : special->second;
    if (outcome.kind == cri::PullOutcome::Kind::pulled) images.insert(reference);
    co_return outcome;
  }
  cri::Awaitable<Result<cri::Container>> storedContainer(std::string id) override {
    ++calls;
    const auto found = labels.find(id);
    if (found == labels.end()) co_return fail(Stage::containerd, Reason::not_found, id);
    cri::Container stored;
    for (const auto& one : containers) {
      if (one.id == id) stored = one;
    }
    stored.id = id;
    stored.labels = found->second;
    co_return stored;
  }
  cri::Awaitable<Result<std::optional<int>>> exitCode(std::string id) override {
    ++calls;
    const auto found = exitCodes.find(id);
    co_return found == exitCodes.end() ? std::optional<int>() : found->second;
  }
  cri::Awaitable<Result<std::string>> sandboxImage() override { co_return pauseImage; }
  cri::Awaitable<Result<std::vector<cri::Content>>> contentsFrom(std::string) override { co_return contents; }
  cri::Awaitable<Result<std::vector<cri::Ingest>>> ingests() override {
    ++ingestLooks;
    if (onIngests) co_return onIngests();
    co_return std::vector<cri::Ingest>{};
  }

  /// A ready sandbox that CRI lists, and whose labels containerd knows.
  void addSandbox(const std::string& id, const std::string& podNamespace, const std::string& app) {
    cri::SandboxStatus status;
    status.sandbox = cri::Sandbox{id, "pod-" + id, podNamespace, "uid-" + id, 0, true, {{"app", app}}, {}};
    status.ips = {"127.0.0.1"};
    status.pausePid = 4242;
    sandboxes[id] = status;
    labels[id] = {{"io.cri-containerd.kind", "sandbox"},
                  {"io.kubernetes.pod.name", "pod-" + id},
                  {"io.kubernetes.pod.namespace", podNamespace},
                  {"io.kubernetes.pod.uid", "uid-" + id},
                  {"app", app}};
  }
  /// As kubelet creates them.
  cri::Container& addContainer(const std::string& id, const std::string& sandboxId, const std::string& name) {
    labels[id] = {{"io.cri-containerd.kind", "container"},
                  {"io.kubernetes.container.name", name},
                  {"io.kubernetes.pod.uid", "uid-" + sandboxId}};
    auto& container =
        containers.emplace_back(cri::Container{id, sandboxId, name, 0, cri::Container::State::created});
    container.labels = labels[id];
    container.annotations = {{"io.kubernetes.container.hash", "774ada0b"}};
    return container;
  }
  /// Like `crictl create`: in the pod's sandbox, with any name.
  void addForeignContainer(const std::string& id, const std::string& sandboxId, const std::string& name) {
    addContainer(id, sandboxId, name);
    labels[id] = {{"io.cri-containerd.kind", "container"}};
    containers.back().labels.clear();
    containers.back().annotations.clear();
  }

  bool down = false;
  std::map<std::string, cri::SandboxStatus> sandboxes;
  std::vector<cri::Container> containers;
  std::map<std::string, cri::Labels> labels;
  std::set<std::string> images;
  std::map<std::string, int> pulls;
  cri::PullOutcome pullOutcome{
      cri::PullOutcome::Kind::failed, 2,
      "failed to pull and unpack image: failed to resolve reference: dial tcp 127.0.0.1:1: connect: "
      "connection refused"};
  std::map<std::string, cri::PullOutcome> outcomeOf;  // by reference, if it differs from pullOutcome
  std::optional<cri::Credentials> lastCredentials;
  std::map<std::string, std::optional<int>> exitCodes;  // by container id
  std::string pauseImage;
  std::vector<cri::Content> contents;
  Gate* pullGate = nullptr;
  std::map<std::string, Gate*> gateOf;  // by reference: pulls that hang until the gate is opened
  std::function<std::vector<cri::Ingest>()> onIngests;
  int ingestLooks = 0;
  std::map<std::string, std::vector<std::string>> tags;        // by image id
  std::map<std::string, std::vector<std::string>> references;  // by image id
  bool deafToReferences = false;                               // does not answer that query
  int tagQuestions = 0;
  int calls = 0;
};

class FakeEvents final : public cri::EventSource {
 public:
  explicit FakeEvents(asio::io_context& loop) : changed_(loop.get_executor()) {}

  cri::Awaitable<Result<std::unique_ptr<cri::EventStream>>> subscribe() override {
    ++subscriptions;
    broken_ = false;
    co_return std::unique_ptr<cri::EventStream>(std::make_unique<Stream>(*this));
  }
  void send(cri::Event::Kind kind, const std::string& id, int exitCode = 0) {
    queue_.push_back({kind, id, LoopClock::of(changed_.executor()).now(), exitCode});
    changed_.notify();
  }
  void breakStream() {
    broken_ = true;
    changed_.notify();
  }

  int subscriptions = 0;

 private:
  class Stream final : public cri::EventStream {
   public:
    explicit Stream(FakeEvents& owner) : owner_(owner) {}
    cri::Awaitable<Result<cri::Event>> next() override {
      while (owner_.queue_.empty()) {
        if (owner_.broken_) co_return fail(Stage::containerd, Reason::unavailable, "stream broke");
        co_await owner_.changed_.wait();
      }
      auto event = owner_.queue_.front();
      owner_.queue_.pop_front();
      co_return event;
    }

   private:
    FakeEvents& owner_;
  };

  Event changed_;
  std::deque<cri::Event> queue_;
  bool broken_ = false;
};

}  // namespace fallbackd::test
