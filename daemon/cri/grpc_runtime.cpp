// SPDX-License-Identifier: Apache-2.0
#include "cri/grpc_runtime.hpp"

#include "containers.grpc.pb.h"
#include "content.grpc.pb.h"
#include "cri/call.hpp"
#include "cri/container_info.hpp"
#include "cri/grpc_channel.hpp"
#include "cri/grpc_control.hpp"
#include "cri/grpc_error.hpp"
#include "cri/grpc_events.hpp"
#include "cri/grpc_image_store.hpp"
#include "cri/grpc_messages.hpp"
#include "cri/sandbox_info.hpp"
#include "runtime.grpc.pb.h"

#include <chrono>
#include <functional>
#include <type_traits>
#include <utility>

namespace fallbackd::cri {

namespace {

namespace v1 = ::runtime::v1;
namespace containers = ::containerd::services::containers::v1;
namespace content = ::containerd::services::content::v1;
using namespace std::chrono_literals;

// A healthy containerd answers these in under a millisecond; under heavy load it may take seconds.
constexpr auto kCallDeadline = 10s;

// The asynchronous calls of each service.
using RuntimeCalls = v1::RuntimeService::StubInterface::async_interface;
using ImageCalls = v1::ImageService::StubInterface::async_interface;
using ContainerCalls = containers::Containers::StubInterface::async_interface;
using ContentCalls = content::Content::StubInterface::async_interface;

template <class Calls, class Request, class Response>
using Method = void (Calls::*)(grpc::ClientContext*, const Request*, Response*,
                               std::function<void(grpc::Status)>);

/// One call of `service`. Request and options must be named objects of the caller: see unary().
template <class Calls, class Request, class Response>
Awaitable<CallResult<Response>> ask(Calls* service, Method<Calls, Request, Response> method,
                                    const std::type_identity_t<Request>& request,
                                    const CallOptions& options) {
  const auto start = [service, method](auto* context, auto* query, auto* response, auto done) {
    (service->*method)(context, query, response, std::move(done));
  };
  return unary<Response>(request, options, start);
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
    const auto call = co_await ask(runtime_->async(), &RuntimeCalls::Version, request, options);
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Version", call.status);
    co_return RuntimeVersion{call.response.runtime_name(), call.response.runtime_version()};
  }

  Awaitable<Result<std::vector<Sandbox>>> listSandboxes() override {
    const v1::ListPodSandboxRequest request;
    const CallOptions options = criOptions();
    const auto call = co_await ask(runtime_->async(), &RuntimeCalls::ListPodSandbox, request, options);
    if (!call.status.ok()) co_return failCall(Stage::containerd, "ListPodSandbox", call.status);
    std::vector<Sandbox> sandboxes;
    for (const auto& item : call.response.items()) sandboxes.push_back(toSandbox(item));
    co_return sandboxes;
  }

  Awaitable<Result<std::vector<Container>>> listContainers() override {
    const v1::ListContainersRequest request;
    co_return co_await containersOf(request);
  }

  Awaitable<Result<SandboxStatus>> sandboxStatus(std::string sandboxId) override {
    v1::PodSandboxStatusRequest request;
    request.set_pod_sandbox_id(sandboxId);
    request.set_verbose(true);
    const CallOptions options = criOptions();
    const auto call = co_await ask(runtime_->async(), &RuntimeCalls::PodSandboxStatus, request, options);
    if (!call.status.ok()) {
      const bool unknown = call.status.error_code() == grpc::StatusCode::NOT_FOUND;
      co_return failCall(unknown ? Stage::sandbox : Stage::containerd, "PodSandboxStatus of " + sandboxId,
                         call.status);
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
    const auto status = co_await imageStatus(std::move(reference));
    if (!status) co_return tl::unexpected<Error>(status.error());
    co_return status->has_image();
  }

  Awaitable<Result<std::vector<std::string>>> imageTags(std::string imageId) override {
    const auto status = co_await imageStatus(std::move(imageId));
    if (!status) co_return tl::unexpected<Error>(status.error());
    const auto& tags = status->image().repo_tags();
    co_return std::vector<std::string>(tags.begin(), tags.end());
  }

  Awaitable<Result<std::vector<std::string>>> imageReferences(std::string imageId) override {
    const auto status = co_await imageStatus(std::move(imageId));
    if (!status) co_return tl::unexpected<Error>(status.error());
    const auto& image = status->image();
    std::vector<std::string> references(image.repo_tags().begin(), image.repo_tags().end());
    references.insert(references.end(), image.repo_digests().begin(), image.repo_digests().end());
    co_return references;
  }

  Awaitable<PullOutcome> pull(std::string reference, std::optional<Credentials> credentials) override {
    v1::PullImageRequest request;
    request.mutable_image()->set_image(std::move(reference));
    if (credentials) {
      auto& auth = *request.mutable_auth();
      auth.set_username(std::move(credentials->username));
      auth.set_password(std::move(credentials->password));
      auth.set_auth(std::move(credentials->auth));
      auth.set_identity_token(std::move(credentials->identityToken));
      auth.set_registry_token(std::move(credentials->registryToken));
    }
    const CallOptions options;  // no deadline
    const auto call = co_await ask(images_->async(), &ImageCalls::PullImage, request, options);
    PullOutcome outcome;
    outcome.grpcCode = static_cast<int>(call.status.error_code());
    outcome.text = call.status.error_message();
    if (call.status.ok()) outcome.kind = PullOutcome::Kind::pulled;
    co_return outcome;
  }

  Awaitable<Result<Container>> storedContainer(std::string id) override {
    containers::GetContainerRequest request;
    request.set_id(id);
    const CallOptions options{kCallDeadline, namespace_};
    const auto call = co_await ask(containers_->async(), &ContainerCalls::Get, request, options);
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Containers.Get", call.status);
    const auto& stored = call.response.container();
    Container container;
    container.id = id;
    const auto record = stored.extensions().find(std::string(kContainerRecord));
    if (record != stored.extensions().end() && applyContainerRecord(record->second.value(), container)) {
      // The name under which containerd stores the image, if CRI was given only its id.
      if (container.image.empty() && !stored.image().starts_with("sha256:")) container.image = stored.image();
    } else if (const auto known = co_await listedContainer(id)) {
      // This containerd writes a different record: CRI will know the container a little later, once it is
      // created.
      container = *known;
    }
    // The store's own labels include more: the kind, and the labels of the image.
    container.labels = toLabels(stored.labels());
    co_return container;
  }

  Awaitable<Result<std::vector<std::string>>> storedIds() override {
    const containers::ListContainersRequest request;
    const CallOptions options{kCallDeadline, namespace_};
    // A stream: each entry comes with its specification, and together they may be more than a message can be.
    const auto call = co_await serverStream<containers::ListContainerMessage>(
        request, options, [this](auto* context, auto* query, auto* reactor) {
          containers_->async()->ListStream(context, query, reactor);
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Containers.ListStream", call.status);
    std::vector<std::string> ids;
    for (const auto& part : call.response) ids.push_back(part.container().id());
    co_return ids;
  }

  Awaitable<Result<std::optional<int>>> exitCode(std::string containerId) override {
    v1::ContainerStatusRequest request;
    request.set_container_id(containerId);
    const CallOptions options = criOptions();
    const auto call = co_await ask(runtime_->async(), &RuntimeCalls::ContainerStatus, request, options);
    if (!call.status.ok()) {
      co_return failCall(Stage::containerd, "ContainerStatus of " + containerId, call.status);
    }
    const auto& status = call.response.status();
    std::optional<int> code;
    if (status.state() == v1::CONTAINER_EXITED) code = status.exit_code();
    co_return code;
  }

  Awaitable<Result<std::string>> sandboxImage() override {
    v1::StatusRequest request;
    request.set_verbose(true);
    const CallOptions options = criOptions();
    const auto call = co_await ask(runtime_->async(), &RuntimeCalls::Status, request, options);
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Status", call.status);
    const auto found = call.response.info().find("config");
    co_return found == call.response.info().end() ? std::string() : sandboxImageOf(found->second);
  }

  Awaitable<Result<std::vector<Content>>> contentsFrom(std::string host) override {
    const std::string label = "containerd.io/distribution.source." + host;
    content::ListContentRequest request;
    request.add_filters("labels.\"" + label + "\"");
    const CallOptions options{kCallDeadline, namespace_};
    const auto call = co_await serverStream<content::ListContentResponse>(
        request, options, [this](auto* context, auto* query, auto* reactor) {
          content_->async()->List(context, query, reactor);
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Content.List", call.status);
    std::vector<Content> list;
    for (const auto& part : call.response) {
      for (const auto& info : part.info()) list.push_back(toContent(info, label));
    }
    co_return list;
  }

  Awaitable<Result<std::vector<Ingest>>> ingests() override {
    const content::ListStatusesRequest request;
    const CallOptions options{kCallDeadline, namespace_};
    const auto call = co_await ask(content_->async(), &ContentCalls::ListStatuses, request, options);
    if (!call.status.ok()) co_return failCall(Stage::containerd, "Content.ListStatuses", call.status);
    std::vector<Ingest> list;
    for (const auto& item : call.response.statuses()) {
      list.push_back(Ingest{item.ref(), item.offset(), item.total(), toTime(item.started_at())});
    }
    co_return list;
  }

 private:
  Awaitable<Result<v1::ImageStatusResponse>> imageStatus(std::string reference) {
    v1::ImageStatusRequest request;
    request.mutable_image()->set_image(std::move(reference));
    const CallOptions options = criOptions();
    auto call = co_await ask(images_->async(), &ImageCalls::ImageStatus, request, options);
    if (!call.status.ok()) co_return failCall(Stage::containerd, "ImageStatus", call.status);
    co_return std::move(call.response);
  }

  Awaitable<Result<std::vector<Container>>> containersOf(v1::ListContainersRequest request) {
    const CallOptions options = criOptions();
    const auto call = co_await ask(runtime_->async(), &RuntimeCalls::ListContainers, request, options);
    if (!call.status.ok()) co_return failCall(Stage::containerd, "ListContainers", call.status);
    std::vector<Container> list;
    for (const auto& item : call.response.containers()) list.push_back(toContainer(item));
    co_return list;
  }

  /// Empty if CRI does not list it, or does not answer.
  Awaitable<std::optional<Container>> listedContainer(std::string id) {
    v1::ListContainersRequest request;
    request.mutable_filter()->set_id(std::move(id));
    auto list = co_await containersOf(std::move(request));
    if (!list || list->size() != 1) co_return std::nullopt;
    co_return std::move(list->front());
  }

  static CallOptions criOptions() { return CallOptions{kCallDeadline, {}}; }

  std::unique_ptr<v1::RuntimeService::StubInterface> runtime_;
  std::unique_ptr<v1::ImageService::StubInterface> images_;
  std::unique_ptr<containers::Containers::StubInterface> containers_;
  std::unique_ptr<content::Content::StubInterface> content_;
  std::string namespace_;
};

}  // namespace

Connection connect(const std::string& socketPath, const std::string& containerdNamespace,
                   boost::asio::any_io_executor executor) {
  auto counts = std::make_shared<CallCounts>();
  const auto channel = makeChannel(socketPath, counts);
  return Connection{std::make_unique<GrpcRuntime>(channel, containerdNamespace),
                    makeEventSource(channel, containerdNamespace, std::move(executor)),
                    makeImageStore(channel, containerdNamespace), makeControl(channel, containerdNamespace),
                    std::move(counts)};
}

}  // namespace fallbackd::cri
