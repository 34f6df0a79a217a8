// SPDX-License-Identifier: Apache-2.0
#include "kubelet/kubelet.hpp"

#include "cri_requests.hpp"
#include "run_dir.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <fstream>

#include <boost/json.hpp>

namespace fallbackd::e2e {

namespace {

namespace v1 = runtime::v1;

constexpr auto kSandboxDeadline = std::chrono::minutes(1);

/// One CRI call with a deadline; returns the answer, or an error that names the call.
template <class Response, class Stub, class Request>
Result<Response> call(const std::string& what, Stub& stub,
                      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                      const Request& request) {
  grpc::ClientContext context;
  setDeadline(context, kSandboxDeadline);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (!status.ok()) return tl::unexpected<Error>(toError(what, status));
  return response;
}

Result<v1::ImageStatusResponse> imageStatus(v1::ImageService::Stub& images, const std::string& reference) {
  v1::ImageStatusRequest request;
  request.mutable_image()->set_image(reference);
  return call("ImageStatus of " + reference, images, &v1::ImageService::Stub::ImageStatus, request);
}

/// The pid in the JSON `info` of a verbose PodSandboxStatus.
pid_t pausePidOf(const std::string& info) {
  boost::system::error_code error;
  const auto value = boost::json::parse(info, error);
  const auto* const object = error ? nullptr : value.if_object();
  const auto* const pid = object != nullptr ? object->if_contains("pid") : nullptr;
  return pid != nullptr && pid->is_int64() ? static_cast<pid_t>(pid->get_int64()) : 0;
}

}  // namespace

Kubelet::Kubelet(const ContainerdNode& node) : node_(node) {
  const auto folder = makeRunDir("kubelet");
  podsDir_ = folder / "pods";
  logsDir_ = folder / "logs";
}

Kubelet::Kubelet(const ContainerdNode& node, std::filesystem::path pods, std::filesystem::path logs)
    : node_(node), podsDir_(std::move(pods)), logsDir_(std::move(logs)) {}

Kubelet::~Kubelet() {
  const auto left = pods_;
  for (const auto& [uid, pod] : left) (void)removePod(pod);
}

Pod Kubelet::described(PodSpec spec) const {
  Pod pod;
  pod.spec = std::move(spec);
  pod.folder = podsDir() / pod.spec.uid;
  pod.logDirectory = logsDir_ / (pod.spec.namespaceName + "_" + pod.spec.name + "_" + pod.spec.uid);
  pod.cgroupParent = pod.spec.slice ? podSlice(pod.spec.uid) : podCgroup(pod.spec.uid, pod.spec.cgroupTop);
  return pod;
}

Result<Pod> Kubelet::findPod(PodSpec spec, const std::string& sandboxId) {
  Pod pod = described(std::move(spec));
  pod.sandboxId = sandboxId;
  FB_TRY(pod.cgroups, makePodCgroup(pod.spec));
  (void)readStatus(pod);  // without a pid: the sandbox has ended
  const std::lock_guard lock(mutex_);
  pods_[pod.spec.uid] = pod;
  return pod;
}

Result<Pod> Kubelet::podOf(const std::string& uid) {
  const std::lock_guard lock(mutex_);
  const auto found = pods_.find(uid);
  if (found == pods_.end()) return fail(Stage::cli, Reason::not_found, "pod " + uid);
  return found->second;
}

Result<Pod> Kubelet::startPod(PodSpec spec) {
  if (spec.uid.empty()) spec.uid = makeUid();
  Pod pod = described(std::move(spec));
  {
    const std::lock_guard lock(mutex_);
    pods_[pod.spec.uid] = pod;
  }
  FB_CHECK(sys::makeDirs(Stage::cli, pod.folder, 0750));
  FB_CHECK(sys::makeDirs(Stage::cli, pod.logDirectory, 0755));
  for (const auto& volume : pod.spec.volumes) FB_CHECK(writeVolume(pod.folder, volume));
  FB_TRY(pod.cgroups, makePodCgroup(pod.spec));
  FB_CHECK(runSandbox(pod));
  return pod;
}

Result<Pod> Kubelet::restartSandbox(const Pod& pod) {
  Pod fresh = pod;
  ++fresh.spec.attempt;
  FB_CHECK(runSandbox(fresh));
  return fresh;
}

Result<> Kubelet::runSandbox(Pod& pod) {
  v1::RunPodSandboxRequest request;
  *request.mutable_config() = sandboxConfig(pod);
  FB_TRY(const auto response, call("RunPodSandbox of " + pod.spec.name, *node_.cri().runtime,
                                   &v1::RuntimeService::Stub::RunPodSandbox, request));
  pod.sandboxId = response.pod_sandbox_id();
  auto status = readStatus(pod);
  const std::lock_guard lock(mutex_);
  pods_[pod.spec.uid] = pod;
  return status;
}

Result<> Kubelet::readStatus(Pod& pod) {
  v1::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(pod.sandboxId);
  request.set_verbose(true);
  FB_TRY(const auto response, call("PodSandboxStatus of " + pod.spec.name, *node_.cri().runtime,
                                   &v1::RuntimeService::Stub::PodSandboxStatus, request));
  pod.ip = response.status().network().ip();
  const auto info = response.info().find("info");
  pod.pausePid = info != response.info().end() ? pausePidOf(info->second) : 0;
  if (pod.pausePid == 0) return fail(Stage::containerd, Reason::protocol, "no pid of " + pod.spec.name);
  return {};
}

Result<> Kubelet::updateVolume(const Pod& pod, const PodVolume& volume) {
  return writeVolume(pod.folder, volume);
}

PullOutcome Kubelet::pullImage(const std::string& reference, const std::string& auth,
                               std::chrono::milliseconds timeout) {
  const Stopwatch watch;
  grpc::ClientContext context;
  setDeadline(context, timeout);
  v1::PullImageRequest request;
  request.mutable_image()->set_image(reference);
  if (const auto colon = auth.find(':'); colon != std::string::npos) {
    request.mutable_auth()->set_username(auth.substr(0, colon));
    request.mutable_auth()->set_password(auth.substr(colon + 1));
  }
  v1::PullImageResponse response;
  const grpc::Status status = node_.cri().images->PullImage(&context, request, &response);
  return {status.error_code(), status.error_message(), response.image_ref(), watch.elapsed()};
}

Result<bool> Kubelet::imagePresent(const std::string& reference) {
  FB_TRY(const auto response, imageStatus(*node_.cri().images, reference));
  return response.has_image();
}

Result<> Kubelet::removeImage(const std::string& reference) {
  v1::RemoveImageRequest request;
  request.mutable_image()->set_image(reference);
  FB_CHECK(
      call("RemoveImage " + reference, *node_.cri().images, &v1::ImageService::Stub::RemoveImage, request));
  return {};
}

Result<> Kubelet::writeHosts(const Pod& pod, const std::string& text) {
  FB_TRY(const auto dir, sys::openDir(Stage::cli, pod.folder));
  return sys::replaceFile(
      Stage::cli, dir, "etc-hosts",
      text.empty() ? "127.0.0.1\tlocalhost\n" + pod.ip + "\t" + pod.spec.name + "\n" : text, 0644);
}

Result<std::string> Kubelet::createContainer(const Pod& pod, const ContainerSpec& spec) {
  FB_TRY(const auto image, imageStatus(*node_.cri().images, spec.image));
  if (!image.has_image()) return fail(Stage::containerd, Reason::not_found, "image " + spec.image);
  FB_CHECK(writeHosts(pod, spec.hosts));
  FB_CHECK(sys::makeDirs(Stage::cli, pod.folder / "containers" / spec.name, 0750));
  FB_CHECK(sys::makeDirs(Stage::cli, pod.logDirectory / spec.name, 0755));
  v1::CreateContainerRequest request;
  request.set_pod_sandbox_id(pod.sandboxId);
  *request.mutable_config() = containerConfig(pod, spec, image.image().id());
  *request.mutable_sandbox_config() = sandboxConfig(pod);
  FB_TRY(const auto response, call("CreateContainer " + spec.name, *node_.cri().runtime,
                                   &v1::RuntimeService::Stub::CreateContainer, request));
  return response.container_id();
}

Result<> Kubelet::startContainer(const std::string& id) {
  v1::StartContainerRequest request;
  request.set_container_id(id);
  FB_CHECK(call("StartContainer", *node_.cri().runtime, &v1::RuntimeService::Stub::StartContainer, request));
  return {};
}

Result<int> Kubelet::waitForContainer(const std::string& id, std::chrono::nanoseconds ceiling) {
  v1::ContainerStatusRequest request;
  request.set_container_id(id);
  Result<v1::ContainerStatusResponse> answer;
  const bool ended = waitUntil(ceiling, [&] {
    answer =
        call("ContainerStatus", *node_.cri().runtime, &v1::RuntimeService::Stub::ContainerStatus, request);
    return !answer || answer->status().state() == v1::CONTAINER_EXITED;
  });
  if (!answer) return tl::unexpected<Error>(answer.error());
  if (!ended) return fail(Stage::cli, Reason::timeout, "container " + id + " is still running");
  return answer->status().exit_code();
}

Result<> Kubelet::stopContainer(const std::string& id, std::chrono::seconds grace) {
  v1::StopContainerRequest request;
  request.set_container_id(id);
  request.set_timeout(grace.count());
  FB_CHECK(call("StopContainer", *node_.cri().runtime, &v1::RuntimeService::Stub::StopContainer, request));
  return {};
}

Result<> Kubelet::removeContainer(const std::string& id) {
  v1::RemoveContainerRequest request;
  request.set_container_id(id);
  FB_CHECK(
      call("RemoveContainer", *node_.cri().runtime, &v1::RuntimeService::Stub::RemoveContainer, request));
  return {};
}

Result<std::vector<std::string>> Kubelet::sandboxesOf(const Pod& pod) {
  v1::ListPodSandboxRequest request;
  (*request.mutable_filter()->mutable_label_selector())["io.kubernetes.pod.uid"] = pod.spec.uid;
  FB_TRY(const auto response,
         call("ListPodSandbox", *node_.cri().runtime, &v1::RuntimeService::Stub::ListPodSandbox, request));
  std::vector<std::string> ids;
  for (const auto& item : response.items()) ids.push_back(item.id());
  return ids;
}

Result<> Kubelet::stopPod(const Pod& pod) {
  FB_TRY(const auto ids, sandboxesOf(pod));
  for (const auto& id : ids) {
    v1::StopPodSandboxRequest request;
    request.set_pod_sandbox_id(id);
    FB_CHECK(call("StopPodSandbox of " + pod.spec.name, *node_.cri().runtime,
                  &v1::RuntimeService::Stub::StopPodSandbox, request));
  }
  return {};
}

Result<> Kubelet::removePod(const Pod& pod) {
  auto stopped = stopPod(pod);
  // Even without containerd nothing of the pod may remain.
  FB_CHECK(removePodCgroup(pod.spec, pod.cgroups));
  FB_CHECK(removePodFolder(pod.folder));
  FB_CHECK(removeFolder(pod.logDirectory));
  {
    const std::lock_guard lock(mutex_);
    pods_.erase(pod.spec.uid);
  }
  if (!stopped) return stopped;
  FB_TRY(const auto ids, sandboxesOf(pod));
  for (const auto& id : ids) {
    v1::RemovePodSandboxRequest request;
    request.set_pod_sandbox_id(id);
    FB_CHECK(call("RemovePodSandbox of " + pod.spec.name, *node_.cri().runtime,
                  &v1::RuntimeService::Stub::RemovePodSandbox, request));
  }
  return {};
}

}  // namespace fallbackd::e2e
