// SPDX-License-Identifier: Apache-2.0
#include "cri/grpc_messages.hpp"

#include <chrono>
#include <string_view>

namespace fallbackd::cri {

namespace v1 = ::runtime::v1;

namespace {

template <class Message>  // PodSandbox of a list, or PodSandboxStatus
Sandbox sandboxOf(const Message& message) {
  Sandbox sandbox;
  sandbox.id = message.id();
  sandbox.podName = message.metadata().name();
  sandbox.podNamespace = message.metadata().namespace_();
  sandbox.podUid = message.metadata().uid();
  sandbox.attempt = message.metadata().attempt();
  sandbox.ready = message.state() == v1::SANDBOX_READY;
  if (message.created_at() > 0) {
    const std::chrono::nanoseconds since(message.created_at());
    sandbox.createdAt = Wall::time_point(std::chrono::duration_cast<Wall::duration>(since));
  }
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

}  // namespace

Labels toLabels(const google::protobuf::Map<std::string, std::string>& map) {
  return {map.begin(), map.end()};
}

Sandbox toSandbox(const v1::PodSandbox& item) {
  return sandboxOf(item);
}

Sandbox toSandbox(const v1::PodSandboxStatus& status) {
  return sandboxOf(status);
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

Content toContent(const ::containerd::services::content::v1::Info& info, const std::string& sourceLabel) {
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

}  // namespace fallbackd::cri
