// SPDX-License-Identifier: Apache-2.0
// The fakes fulfil the contract of cri::Runtime and cri::EventSource.
#include "contract/contract.hpp"

#include "fake_clock.hpp"
#include "fake_events.hpp"
#include "fake_runtime.hpp"

#include <map>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

namespace fallbackd::test {
namespace {

using Kind = cri::Event::Kind;

class FakeNode final : public ContractNode {
 public:
  FakeNode() {
    runtime_.events = &events_;
    runtime_.pauseImage = "registry.k8s.io/pause:3.6";
    runtime_.images.insert(presentImage());
    runtime_.tags[kImageId] = {presentImage()};
    runtime_.references[kImageId] = {presentImage(), "r.x/app@sha256:" + std::string(64, 'a')};
    runtime_.outcomeOf[pullableImage()] = {cri::PullOutcome::Kind::pulled, 0, ""};
    runtime_.gateOf[silentImage()] = &silence_;
    runtime_.contents["r.x"] = {{"sha256:m", "cart", {"sha256:layer"}}, {"sha256:layer", "cart", {}}};
  }
  boost::asio::io_context& loop() override { return loop_; }
  cri::Runtime& runtime() override { return runtime_; }
  cri::EventSource& events() override { return events_; }

  Pod startPod(const std::string& name) override {
    const std::string id = "sandbox-" + std::to_string(++count_);
    runtime_.addSandbox(id, "shop", name);
    auto& sandbox = runtime_.sandboxes.at(id).sandbox;
    runtime_.sandboxes.at(id).hostname = sandbox.podName = name;
    sandbox.labels["io.kubernetes.pod.name"] = runtime_.labels.at(id)["io.kubernetes.pod.name"] = name;
    sandbox.annotations = {{"example.com/owner", "team"}};
    events_.send(Kind::container_created, id);
    events_.send(Kind::task_started, id);
    return {id, name, sandbox.podUid};
  }
  void stopSandbox(const Pod& pod) override {
    runtime_.stopSandbox(pod.sandboxId);
    events_.send(Kind::task_exited, pod.sandboxId);
  }
  void removeSandbox(const Pod& pod) override {
    runtime_.removeSandbox(pod.sandboxId);
    events_.send(Kind::container_deleted, pod.sandboxId);
  }

  std::string createContainer(const Pod& pod, const std::string& name, Program program) override {
    const std::string id = "container-" + std::to_string(++count_);
    runtime_.addContainer(id, pod.sandboxId, name).imageId = kImageId;
    exitCodes_[id] = program == Program::fails ? kFailure : 0;
    events_.send(Kind::container_created, id);
    return id;
  }
  std::string createForeignContainer(const Pod& pod, const std::string& name) override {
    const std::string id = "container-" + std::to_string(++count_);
    runtime_.addForeignContainer(id, pod.sandboxId, name);
    events_.send(Kind::container_created, id);
    return id;
  }
  void startContainer(const std::string& id) override {
    runtime_.startContainer(id);
    events_.send(Kind::task_started, id);
  }
  void endContainer(const std::string& id) override {
    runtime_.exitContainer(id, exitCodes_.at(id));
    events_.send(Kind::task_exited, id, exitCodes_.at(id));
  }
  void removeContainer(const std::string& id) override {
    runtime_.removeContainer(id);
    events_.send(Kind::container_deleted, id);
  }

  std::string presentImage() override { return "r.x/app:1"; }
  std::string pullableImage() override { return "r.x:5000/cart:1"; }
  std::string refusingImage() override { return "r.x/gone:1"; }
  std::string silentImage() override { return "r.silent/cart:1"; }
  std::string pauseImage() override { return runtime_.pauseImage; }

  void kill() override {
    runtime_.down = events_.down = true;
    events_.breakStream();
  }
  void restart() override { runtime_.down = events_.down = false; }

 private:
  static constexpr const char* kImageId = "sha256:app";
  boost::asio::io_context loop_;
  FakeClock& clock_ = FakeClock::install(loop_);
  FakeEvents events_{loop_};
  FakeRuntime runtime_;
  Gate silence_{loop_};
  std::map<std::string, int> exitCodes_;  // of programs that end, by container id
  int count_ = 0;
};

const Implementation kFake{"Fake", [] { return std::make_unique<FakeNode>(); }};
INSTANTIATE_TEST_SUITE_P(Fake, RuntimeContract, testing::Values(kFake),
                         [](const auto& one) { return one.param.name; });
INSTANTIATE_TEST_SUITE_P(Fake, EventContract, testing::Values(kFake),
                         [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace fallbackd::test
