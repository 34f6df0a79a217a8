// SPDX-License-Identifier: Apache-2.0
// The contract of cri::Runtime and cri::EventSource, checked over gRPC with the real containerd.
#include "containerd_node.hpp"
#include "contract/contract.hpp"
#include "cri/grpc_runtime.hpp"
#include "cri_requests.hpp"
#include "cri_stubs.hpp"
#include "fault_registry.hpp"
#include "http.hpp"
#include "image.hpp"
#include "kubelet/kubelet.hpp"
#include "run_dir.hpp"

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <grpcpp/client_context.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using test::ContractNode;
using test::EventContract;
using test::Implementation;
using test::RuntimeContract;

constexpr const char* kImage = "localhost/fallbackd-e2e/shop:1";
const std::filesystem::path kContainerds = FALLBACKD_CONTAINERDS;

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

Image shopImage(const std::string& reference) {
  return {.reference = reference,
          .files = {{"bin/shop", testProgram("shop-httpd-1.8.3")}},
          .entrypoint = {"/bin/shop"},
          .env = {}};
}

class ContainerdUnderTest final : public ContractNode {
 public:
  explicit ContainerdUnderTest(const NodeOptions& options)
      : node_(must(ContainerdNode::start(options))),
        kubelet_(std::make_unique<Kubelet>(*node_)),
        healthy_(must(FaultRegistry::start(shopImage("cart:1"), {}))),
        silent_(must(FaultRegistry::start(shopImage("cart:1"), {.silent = true}))),
        connection_(cri::connect(node_->socket(), "k8s.io", loop_.get_executor())) {
    for (const auto* registry : {healthy_.get(), silent_.get()}) {
      must(node_->speak("http", registry->address()));
    }
    const auto archive = makeRunDir("images") / "shop.tar";
    must(writeOciArchive(shopImage(kImage), archive));
    must(node_->importImage(archive, kImage));
  }
  ~ContainerdUnderTest() override {
    connection_ = {};
    loop_.restart();
    loop_.run_for(1s);  // the rest of cancelled calls
    silent_.reset();    // its connections end, and with them the pulls that containerd would continue
    kubelet_.reset();
  }
  ContainerdUnderTest(const ContainerdUnderTest&) = delete;
  ContainerdUnderTest& operator=(const ContainerdUnderTest&) = delete;

  boost::asio::io_context& loop() override { return loop_; }
  cri::Runtime& runtime() override { return *connection_.runtime; }
  cri::EventSource& events() override { return *connection_.events; }

  Pod startPod(const std::string& name) override {
    PodSpec spec;
    spec.name = name;
    spec.namespaceName = "shop";
    spec.labels = {{"app", name}};
    spec.annotations = {{"example.com/owner", "team"}};
    auto pod = must(kubelet_->startPod(std::move(spec)));
    const auto id = pod.sandboxId;
    const auto uid = pod.spec.uid;
    pods_.emplace(id, std::move(pod));
    return {id, name, uid};
  }
  void stopSandbox(const Pod& pod) override { must(kubelet_->stopPod(pods_.at(pod.sandboxId))); }
  void removeSandbox(const Pod& pod) override { must(kubelet_->removePod(pods_.at(pod.sandboxId))); }

  std::string createContainer(const Pod& pod, const std::string& name, Program program) override {
    ContainerSpec spec;
    spec.name = name;
    spec.image = kImage;
    if (program == Program::fails) spec.args = {"--no-such-option"};
    const auto& own = pods_.at(pod.sandboxId);
    auto id = must(kubelet_->createContainer(own, spec));
    if (program == Program::serves) serversIp_[id] = own.ip;
    return id;
  }
  std::string createForeignContainer(const Pod& pod, const std::string& name) override {
    const auto& own = pods_.at(pod.sandboxId);
    runtime::v1::CreateContainerRequest request;
    request.set_pod_sandbox_id(pod.sandboxId);
    *request.mutable_sandbox_config() = sandboxConfig(own);
    request.mutable_config()->mutable_metadata()->set_name(name);
    request.mutable_config()->mutable_image()->set_image(kImage);
    grpc::ClientContext context;
    setDeadline(context, 30s);
    runtime::v1::CreateContainerResponse response;
    const auto status = node_->cri().runtime->CreateContainer(&context, request, &response);
    if (!status.ok()) throw std::runtime_error(status.error_message());
    return response.container_id();
  }
  void startContainer(const std::string& id) override { must(kubelet_->startContainer(id)); }
  void endContainer(const std::string& id) override {
    const auto server = serversIp_.find(id);
    if (server == serversIp_.end()) {
      must(kubelet_->waitForContainer(id, 20s));
      return;
    }
    // As pid 1 it would ignore a SIGTERM that arrives before its handler is set.
    must(httpGetOk(server->second, 8080, "/"));
    must(kubelet_->stopContainer(id));
  }
  void removeContainer(const std::string& id) override { must(kubelet_->removeContainer(id)); }

  std::string presentImage() override { return kImage; }
  std::string pullableImage() override { return healthy_->address() + "/shop/cart:1"; }
  std::string refusingImage() override { return "127.0.0.1:1/shop/gone:1"; }
  std::string silentImage() override { return silent_->address() + "/shop/cart:1"; }
  std::string pauseImage() override { return node_->version().starts_with("2.") ? "" : kSandboxImage; }

  void kill() override { node_->kill(); }
  void restart() override { must(node_->restart()); }

 private:
  std::unique_ptr<ContainerdNode> node_;
  std::unique_ptr<Kubelet> kubelet_;
  std::unique_ptr<FaultRegistry> healthy_;
  std::unique_ptr<FaultRegistry> silent_;
  boost::asio::io_context loop_;
  cri::Connection connection_;
  std::map<std::string, e2e::Pod> pods_;          // by sandbox id
  std::map<std::string, std::string> serversIp_;  // by container id
};

/// The installed containerd, and those of later suites that scripts/fetch-suites has fetched.
Implementation containerd(const std::string& name) {
  return {name, [name]() -> std::unique_ptr<ContractNode> {
            NodeOptions options;
            if (name != "installed") options.binDir = kContainerds / name;
            if (options.binDir && !std::filesystem::exists(*options.binDir / "containerd")) return nullptr;
            return std::make_unique<ContainerdUnderTest>(options);
          }};
}

const auto kAll = testing::Values(containerd("installed"), containerd("trixie"), containerd("sid"));
INSTANTIATE_TEST_SUITE_P(Containerd, RuntimeContract, kAll, [](const auto& one) { return one.param.name; });
INSTANTIATE_TEST_SUITE_P(Containerd, EventContract, kAll, [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace fallbackd::e2e
