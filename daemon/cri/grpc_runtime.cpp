#include "cri/grpc_runtime.hpp"

#include "containers.grpc.pb.h"
#include "content.grpc.pb.h"
#include "cri/call.hpp"
#include "cri/grpc_error.hpp"
#include "cri/grpc_events.hpp"
#include "cri/sandbox_info.hpp"
#include "runtime.grpc.pb.h"

#include <chrono>
#include <utility>

namespace fallbackd::cri {

namespace {

namespace v1 = ::runtime::v1;
namespace containers = ::containerd::services::containers::v1;
namespace content = ::containerd::services::content::v1;
using namespace std::chrono_literals;

// A healthy containerd answers these in under a millisecond; under heavy load it may take seconds.
constexpr auto kCallDeadline = 10s;
constexpr int kMaxMessageBytes = 64 << 20;

Labels toLabels(const google::protobuf::Map<std::string, std::string>& map) {
  return {map.begin(), map.end()};
}

template <class Message>  // PodSandbox of a list, or PodSandboxStatus
Sandbox toSandbox(const Message& message) {
  Sandbox sandbox;
  sandbox.id = message.id();
  sandbox.podName = message.metadata().name();
  sandbox.podNamespace = message.metadata().namespace_();
  sandbox.podUid = message.metadata().uid();
  sandbox.attempt = message.metadata().attempt();
  sandbox.ready = message.state() == v1::SANDBOX_READY;
  sandbox.labels = toLabels(message.labels());
  sandbox.annotations = toLabels(message.annotations());
  return sandbox;
}

Container::State toState(v1::ContainerState state) {
  switch (state) {
    case v1::CONTAINER_CREATED:
      return Container::State::created;
    case v1::CONTAINER_RUNNING:
      return Container::State::running;
    case v1::CONTAINER_EXITED:
      return Container::State::exited;
    default:
      return Container::State::unknown;
  }
}

NamespaceMode toMode(v1::NamespaceMode mode) {
  switch (mode) {
    case v1::POD:
      return NamespaceMode::pod;
    case v1::NODE:
      return NamespaceMode::node;
    default:
      return NamespaceMode::container;
  }
}

class GrpcRuntime final : public Runtime {
 public:
  GrpcRuntime(const std::shared_ptr<grpc::Channel>& channel, std::string containerdNamespace)
      : runtime_(v1::RuntimeService::NewStub(channel)),
        images_(v1::ImageService::NewStub(channel)),
        containers_(containers::Containers::NewStub(channel)),
        content_(content::Content::NewStub(channel)),
        namespace_(std::move(containerdNamespace)) {}

  Awaitable<Result<RuntimeVersion>> version() override {
    const v1::VersionRequest request;
    const CallOptions options = criOptions();
    const auto call = co_await unary<v1::VersionResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->Version(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Version", call.status);
    co_return RuntimeVersion{call.response.runtime_name(), call.response.runtime_version()};
  }

  Awaitable<Result<std::vector<Sandbox>>> listSandboxes() override {
    const v1::ListPodSandboxRequest request;
    const CallOptions options = criOptions();
    const auto call = co_await unary<v1::ListPodSandboxResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->ListPodSandbox(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "ListPodSandbox", call.status);
    std::vector<Sandbox> sandboxes;
    for (const auto& item : call.response.items()) sandboxes.push_back(toSandbox(item));
    co_return sandboxes;
  }

  Awaitable<Result<std::vector<Container>>> listContainers() override {
    const v1::ListContainersRequest request;
    const CallOptions options = criOptions();
    const auto call = co_await unary<v1::ListContainersResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->ListContainers(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "ListContainers", call.status);
    std::vector<Container> list;
    for (const auto& item : call.response.containers()) {
      list.push_back(Container{item.id(), item.pod_sandbox_id(), item.metadata().name(),
                               item.metadata().attempt(), toState(item.state())});
    }
    co_return list;
  }

  Awaitable<Result<SandboxStatus>> sandboxStatus(std::string sandboxId) override {
    v1::PodSandboxStatusRequest request;
    request.set_pod_sandbox_id(sandboxId);
    request.set_verbose(true);
    const CallOptions options = criOptions();
    const auto call = co_await unary<v1::PodSandboxStatusResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->PodSandboxStatus(context, query, response, std::move(done));
        });
    if (!call.status.ok()) {
      co_return failCall(Stage::sandbox, "PodSandboxStatus of " + sandboxId, call.status);
    }
    const auto& answer = call.response.status();
    SandboxStatus status;
    status.sandbox = toSandbox(answer);
    if (!answer.network().ip().empty()) status.ips.push_back(answer.network().ip());
    for (const auto& ip : answer.network().additional_ips()) status.ips.push_back(ip.ip());
    const auto& modes = answer.linux().namespaces().options();
    status.network = toMode(modes.network());
    status.pid = toMode(modes.pid());
    status.ipc = toMode(modes.ipc());
    const auto info = call.response.info().find("info");
    if (info == call.response.info().end()) {
      co_return fail(Stage::sandbox, Reason::protocol,
                     "PodSandboxStatus of " + sandboxId + " has no verbose info");
    }
    FB_CO_CHECK(applySandboxInfo(info->second, status));
    co_return status;
  }

  Awaitable<Result<bool>> imagePresent(std::string reference) override {
    v1::ImageStatusRequest request;
    request.mutable_image()->set_image(std::move(reference));
    const CallOptions options = criOptions();
    const auto call = co_await unary<v1::ImageStatusResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          images_->async()->ImageStatus(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "ImageStatus", call.status);
    co_return call.response.has_image();
  }

  Awaitable<PullOutcome> pull(std::string reference) override {
    v1::PullImageRequest request;
    request.mutable_image()->set_image(std::move(reference));
    const CallOptions options;  // no deadline
    const auto call = co_await unary<v1::PullImageResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          images_->async()->PullImage(context, query, response, std::move(done));
        });
    PullOutcome outcome;
    outcome.grpcCode = static_cast<int>(call.status.error_code());
    outcome.text = call.status.error_message();
    if (call.status.ok()) outcome.kind = PullOutcome::Kind::pulled;
    co_return outcome;
  }

  Awaitable<Result<Labels>> containerLabels(std::string containerId) override {
    containers::GetContainerRequest request;
    request.set_id(containerId);
    const CallOptions options{kCallDeadline, namespace_};
    const auto call = co_await unary<containers::GetContainerResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          containers_->async()->Get(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Containers.Get", call.status);
    co_return toLabels(call.response.container().labels());
  }

  Awaitable<Result<std::vector<Ingest>>> ingests() override {
    const content::ListStatusesRequest request;
    const CallOptions options{kCallDeadline, namespace_};
    const auto call = co_await unary<content::ListStatusesResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          content_->async()->ListStatuses(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Content.ListStatuses", call.status);
    std::vector<Ingest> list;
    for (const auto& item : call.response.statuses()) {
      list.push_back(Ingest{item.ref(), item.offset(), item.total()});
    }
    co_return list;
  }

 private:
  static CallOptions criOptions() { return CallOptions{kCallDeadline, {}}; }

  std::unique_ptr<v1::RuntimeService::Stub> runtime_;
  std::unique_ptr<v1::ImageService::Stub> images_;
  std::unique_ptr<containers::Containers::Stub> containers_;
  std::unique_ptr<content::Content::Stub> content_;
  std::string namespace_;
};

}  // namespace

Connection connect(const std::string& socketPath, const std::string& containerdNamespace,
                   boost::asio::any_io_executor executor) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // containerd may be restarted at any moment: be back within a fraction of a second.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // No proxy and no service configuration from the network for a local socket.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetServiceConfigJSON("{}");
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  auto channel =
      grpc::CreateCustomChannel("unix:" + socketPath, grpc::InsecureChannelCredentials(), arguments);
  return Connection{std::make_unique<GrpcRuntime>(channel, containerdNamespace),
                    makeEventSource(channel, containerdNamespace, std::move(executor))};
}

}  // namespace fallbackd::cri
