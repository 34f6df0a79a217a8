// SPDX-License-Identifier: Apache-2.0
#include "kubelet/runtime.hpp"

#include "cri_requests.hpp"
#include "wait.hpp"

#include <charconv>

namespace fallbackd::e2e::model {

namespace {

namespace v1 = runtime::v1;
using RuntimeStub = v1::RuntimeService::Stub;
using ImageStub = v1::ImageService::Stub;

// Longer than any test's grace period.
constexpr auto kDeadline = std::chrono::minutes(2);

template <class Response, class Stub, class Request>
Result<Response> ask(const char* what, Stub& stub,
                     grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                     const Request& request, std::chrono::milliseconds timeout = kDeadline) {
  grpc::ClientContext context;
  setDeadline(context, timeout);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) return tl::unexpected<Error>(toError(what, status));
  return response;
}

RunState stateOf(v1::ContainerState state) {
  switch (state) {
    case v1::CONTAINER_CREATED:
      return RunState::created;
    case v1::CONTAINER_RUNNING:
      return RunState::running;
    case v1::CONTAINER_EXITED:
      return RunState::exited;
    default:
      return RunState::unknown;
  }
}

template <class Map>
std::map<std::string, std::string> copied(const Map& map) {
  return {map.begin(), map.end()};
}

std::string find(const std::map<std::string, std::string>& map, const std::string& name) {
  const auto found = map.find(name);
  return found == map.end() ? std::string() : found->second;
}

}  // namespace

std::string SeenContainer::label(const std::string& name) const {
  return find(labels, name);
}

std::string SeenContainer::annotation(const std::string& name) const {
  return find(annotations, name);
}

int SeenContainer::restartCount() const {
  const auto text = annotation("io.kubernetes.container.restartCount");
  int count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return count;
}

Result<std::vector<SeenSandbox>> Runtime::sandboxes() const {
  FB_TRY(const auto answer, ask("ListPodSandbox", *node_.cri().runtime, &RuntimeStub::ListPodSandbox,
                                v1::ListPodSandboxRequest()));
  std::vector<SeenSandbox> all;
  for (const auto& item : answer.items()) {
    all.push_back({item.id(), item.metadata().uid(), item.metadata().attempt(),
                   item.state() == v1::SANDBOX_READY, item.created_at()});
  }
  return all;
}

Result<std::vector<SeenContainer>> Runtime::containers() const {
  FB_TRY(const auto answer, ask("ListContainers", *node_.cri().runtime, &RuntimeStub::ListContainers,
                                v1::ListContainersRequest()));
  std::vector<SeenContainer> all;
  for (const auto& item : answer.containers()) {
    SeenContainer one;
    one.id = item.id();
    one.sandboxId = item.pod_sandbox_id();
    one.state = stateOf(item.state());
    one.createdAt = item.created_at();
    one.labels = copied(item.labels());
    one.annotations = copied(item.annotations());
    one.image = item.image().image();
    one.imageRef = item.image_ref();
    all.push_back(std::move(one));
  }
  return all;
}

Result<SeenContainer> Runtime::status(const std::string& id) const {
  v1::ContainerStatusRequest request;
  request.set_container_id(id);
  FB_TRY(const auto answer,
         ask("ContainerStatus", *node_.cri().runtime, &RuntimeStub::ContainerStatus, request));
  const auto& status = answer.status();
  SeenContainer one;
  one.id = status.id();
  one.state = stateOf(status.state());
  one.createdAt = status.created_at();
  one.labels = copied(status.labels());
  one.annotations = copied(status.annotations());
  one.startedAt = status.started_at();
  one.finishedAt = status.finished_at();
  one.exitCode = status.exit_code();
  one.reason = status.reason();
  one.image = status.image().image();
  one.imageRef = status.image_ref();
  one.logPath = status.log_path();
  return one;
}

Result<> Runtime::stopSandbox(const std::string& id) const {
  v1::StopPodSandboxRequest request;
  request.set_pod_sandbox_id(id);
  FB_CHECK(ask("StopPodSandbox", *node_.cri().runtime, &RuntimeStub::StopPodSandbox, request));
  return {};
}

PullOutcome Runtime::pull(const std::string& image, const std::stop_token& stop) const {
  const Stopwatch watch;
  grpc::ClientContext context;  // without a deadline, as kubelet's
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  v1::PullImageRequest request;
  request.mutable_image()->set_image(image);
  v1::PullImageResponse response;
  const grpc::Status status = node_.cri().images->PullImage(&context, request, &response);
  return {status.error_code(), status.error_message(), response.image_ref(), watch.elapsed()};
}

Result<ExecOutcome> Runtime::exec(const std::string& id, const std::vector<std::string>& command,
                                  std::chrono::milliseconds timeout) const {
  v1::ExecSyncRequest request;
  request.set_container_id(id);
  for (const auto& word : command) request.add_cmd(word);
  request.set_timeout(std::max<std::int64_t>(1, timeout.count() / 1000));
  FB_TRY(const auto answer, ask("ExecSync", *node_.cri().runtime, &RuntimeStub::ExecSync, request));
  return ExecOutcome{answer.exit_code(), answer.stdout() + answer.stderr()};
}

Result<> Runtime::setResources(const std::string& id, const ContainerSpec& spec) const {
  v1::UpdateContainerResourcesRequest request;
  request.set_container_id(id);
  fillResources(spec, *request.mutable_linux());
  FB_CHECK(
      ask("UpdateContainerResources", *node_.cri().runtime, &RuntimeStub::UpdateContainerResources, request));
  return {};
}

Result<> Runtime::reopenLog(const std::string& id) const {
  v1::ReopenContainerLogRequest request;
  request.set_container_id(id);
  FB_CHECK(ask("ReopenContainerLog", *node_.cri().runtime, &RuntimeStub::ReopenContainerLog, request));
  return {};
}

Result<std::vector<SeenImage>> Runtime::images() const {
  FB_TRY(const auto answer,
         ask("ListImages", *node_.cri().images, &ImageStub::ListImages, v1::ListImagesRequest()));
  std::vector<SeenImage> all;
  for (const auto& image : answer.images()) {
    all.push_back({image.id(), {image.repo_tags().begin(), image.repo_tags().end()}});
  }
  return all;
}

}  // namespace fallbackd::e2e::model
