// SPDX-License-Identifier: Apache-2.0
#include "cri/grpc_runtime.hpp"

#include "containers.grpc.pb.h"
#include "content.grpc.pb.h"
#include "cri/call.hpp"
#include "cri/container_info.hpp"
#include "cri/grpc_error.hpp"
#include "cri/grpc_events.hpp"
#include "cri/sandbox_info.hpp"
#include "runtime.grpc.pb.h"

#include <chrono>
#include <utility>

#include <grpcpp/support/client_interceptor.h>

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

/// kubelet passes the image's id, and from 1.28 on the pod's own text beside it.
std::string imageOf(const v1::ImageSpec& image) {
  if (!image.user_specified_image().empty()) return image.user_specified_image();
  return image.image().starts_with("sha256:") ? std::string() : image.image();
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

Container toContainer(const v1::Container& item) {
  Container container;
  container.id = item.id();
  container.sandboxId = item.pod_sandbox_id();
  container.name = item.metadata().name();
  container.attempt = item.metadata().attempt();
  container.state = toState(item.state());
  container.image = imageOf(item.image());
  container.imageId = item.image_ref();
  container.labels = toLabels(item.labels());
  container.annotations = toLabels(item.annotations());
  return container;
}

std::optional<Wall::time_point> toTime(const google::protobuf::Timestamp& time) {
  const std::chrono::nanoseconds since =
      std::chrono::seconds(time.seconds()) + std::chrono::nanoseconds(time.nanos());
  if (time.seconds() <= 0 || since.count() <= 0) return std::nullopt;
  return Wall::time_point(std::chrono::duration_cast<Wall::duration>(since));
}

Content toContent(const content::Info& info, const std::string& sourceLabel) {
  constexpr std::string_view kChildLabel = "containerd.io/gc.ref.content.";
  Content result;
  result.digest = info.digest();
  result.createdAt = toTime(info.created_at());
  for (const auto& [name, value] : info.labels()) {
    if (name == sourceLabel) result.repositories = value;
    if (name.starts_with(kChildLabel)) result.children.push_back(value);
  }
  return result;
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
    co_return co_await containersOf(request);
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

  Awaitable<Result<Container>> storedContainer(std::string id) override {
    containers::GetContainerRequest request;
    request.set_id(id);
    const CallOptions options{kCallDeadline, namespace_};
    const auto call = co_await unary<containers::GetContainerResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          containers_->async()->Get(context, query, response, std::move(done));
        });
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

  Awaitable<Result<std::optional<int>>> exitCode(std::string containerId) override {
    v1::ContainerStatusRequest request;
    request.set_container_id(containerId);
    const CallOptions options = criOptions();
    const auto call = co_await unary<v1::ContainerStatusResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->ContainerStatus(context, query, response, std::move(done));
        });
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
    const auto call = co_await unary<v1::StatusResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->Status(context, query, response, std::move(done));
        });
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
    const auto call = co_await unary<content::ListStatusesResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          content_->async()->ListStatuses(context, query, response, std::move(done));
        });
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
    auto call = co_await unary<v1::ImageStatusResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          images_->async()->ImageStatus(context, query, response, std::move(done));
        });
    if (!call.status.ok()) co_return failCall(Stage::containerd, "ImageStatus", call.status);
    co_return std::move(call.response);
  }

  Awaitable<Result<std::vector<Container>>> containersOf(v1::ListContainersRequest request) {
    const CallOptions options = criOptions();
    const auto call = co_await unary<v1::ListContainersResponse>(
        request, options, [this](auto* context, auto* query, auto* response, auto done) {
          runtime_->async()->ListContainers(context, query, response, std::move(done));
        });
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

  std::unique_ptr<v1::RuntimeService::Stub> runtime_;
  std::unique_ptr<v1::ImageService::Stub> images_;
  std::unique_ptr<containers::Containers::Stub> containers_;
  std::unique_ptr<content::Content::Stub> content_;
  std::string namespace_;
};

class Counter final : public grpc::experimental::Interceptor {
 public:
  Counter(std::shared_ptr<CallCounts> counts, std::string_view path) : counts_(std::move(counts)) {
    // "/runtime.v1.ImageService/PullImage" without the package
    const auto slash = path.rfind('/');
    const auto dot = path.rfind('.', slash);
    method_ = path.substr(dot == std::string_view::npos ? 1 : dot + 1);
  }
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      counts_->count(method_);
    }
    methods->Proceed();
  }

 private:
  std::shared_ptr<CallCounts> counts_;
  std::string method_;
};

class CounterFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit CounterFactory(std::shared_ptr<CallCounts> counts) : counts_(std::move(counts)) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* info) override {
    return new Counter(counts_, info->method());  // gRPC owns it
  }

 private:
  std::shared_ptr<CallCounts> counts_;
};

/// gRPC 1.51 ends its callback threads with the last channel. If the last reference is released on one of
/// these threads (by a call that has just ended), it aborts. So channels live as long as the process.
void keepUntilExit(std::shared_ptr<grpc::Channel> channel) {
  static std::mutex guard;
  static auto* const kept = new std::vector<std::shared_ptr<grpc::Channel>>;  // never destroyed
  const std::lock_guard lock(guard);
  kept->push_back(std::move(channel));
}

}  // namespace

Connection connect(const std::string& socketPath, const std::string& containerdNamespace,
                   boost::asio::any_io_executor executor) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // containerd may be restarted at any time: reconnect within a fraction of a second.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A local socket needs no proxy, and no service configuration from the network.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetServiceConfigJSON("{}");
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  auto counts = std::make_shared<CallCounts>();
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<CounterFactory>(counts));
  auto channel = grpc::experimental::CreateCustomChannelWithInterceptors(
      "unix:" + socketPath, grpc::InsecureChannelCredentials(), arguments, std::move(interceptors));
  keepUntilExit(channel);
  return Connection{std::make_unique<GrpcRuntime>(channel, containerdNamespace),
                    makeEventSource(channel, containerdNamespace, std::move(executor)), std::move(counts)};
}

}  // namespace fallbackd::cri
