// SPDX-License-Identifier: Apache-2.0
#include "cri/container_info.hpp"

#include <string>

#include <boost/json.hpp>

namespace fallbackd::cri {

namespace {

namespace json = boost::json;

const json::object* objectAt(const json::object& parent, std::string_view key) {
  const auto* value = parent.if_contains(key);
  return value == nullptr ? nullptr : value->if_object();
}

std::string stringAt(const json::object& parent, std::string_view key) {
  const auto* value = parent.if_contains(key);
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(*text);
}

Labels labelsAt(const json::object& parent, std::string_view key) {
  Labels labels;
  const auto* object = objectAt(parent, key);
  if (object == nullptr) return labels;
  for (const auto& [name, value] : *object) {
    if (const auto* text = value.if_string()) labels.emplace(name, *text);
  }
  return labels;
}

}  // namespace

Result<> applyContainerRecord(std::string_view text, Container& container) {
  json::error_code error;
  const json::value root = json::parse({text.data(), text.size()}, error);
  const auto* top = error ? nullptr : root.if_object();
  const auto* record = top == nullptr ? nullptr : objectAt(*top, "Metadata");
  const auto* config = record == nullptr ? nullptr : objectAt(*record, "Config");
  const auto* metadata = config == nullptr ? nullptr : objectAt(*config, "metadata");
  if (metadata == nullptr) {
    return fail(Stage::containerd, Reason::protocol, "the CRI record of a container has an unexpected form");
  }
  container.sandboxId = stringAt(*record, "SandboxID");
  container.imageId = stringAt(*record, "ImageRef");
  container.name = stringAt(*metadata, "name");
  if (const auto* attempt = metadata->if_contains("attempt"); attempt != nullptr && attempt->is_int64()) {
    container.attempt = static_cast<std::uint32_t>(attempt->get_int64());
  }
  if (const auto* image = objectAt(*config, "image")) {
    // From 1.28 on kubelet passes the pod's own text beside the id.
    auto said = stringAt(*image, "user_specified_image");
    if (said.empty()) said = stringAt(*image, "image");
    if (!said.empty() && !said.starts_with("sha256:")) container.image = std::move(said);
  }
  container.labels = labelsAt(*config, "labels");
  container.annotations = labelsAt(*config, "annotations");
  return {};
}

pid_t containerPidOf(std::string_view text) {
  json::error_code error;
  const json::value root = json::parse({text.data(), text.size()}, error);
  const auto* top = error ? nullptr : root.if_object();
  const auto* value = top == nullptr ? nullptr : top->if_contains("pid");
  const auto* pid = value == nullptr ? nullptr : value->if_int64();
  return pid == nullptr || *pid <= 1 ? 0 : static_cast<pid_t>(*pid);
}

}  // namespace fallbackd::cri
