// SPDX-License-Identifier: Apache-2.0
#include "kube/namespace_pauses.hpp"

#include "base/async/loop_clock.hpp"
#include "config/names.hpp"
#include "kube/json_fields.hpp"

#include <chrono>
#include <optional>
#include <utility>

namespace fallbackd::kube {

namespace json = boost::json;

namespace {

constexpr const char* kListAccept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
constexpr const char* kWatchAccept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

struct Namespace {
  std::string name;
  std::optional<std::string> pausedFor;
};

Result<Namespace> namespaceIn(const json::object& object) {
  const auto* const metadata = field::object(object, "metadata");
  Namespace made;
  if (metadata != nullptr) made.name = field::text(*metadata, "name");
  // Names are written into a file.
  if (!config::isDnsLabel(made.name)) {
    return fail(Stage::kube, Reason::invalid, "what was received is not a namespace");
  }
  const auto annotations = field::texts(*metadata, "annotations");
  const auto found = annotations.find(std::string(config::kPauseAnnotation));
  if (found != annotations.end()) made.pausedFor = config::pauseReasonIn(found->second);
  return made;
}

}  // namespace

NamespacePauses::NamespacePauses(const boost::asio::any_io_executor& executor, AccessSource access,
                                 std::string stateFolder, NamespaceListener listener)
    : clock_(LoopClock::of(executor)),
      stateFolder_(std::move(stateFolder)),
      listener_(std::move(listener)),
      watch_(executor, std::move(access),
             {"/api/v1/namespaces", "namespaces", "PartialObjectMetadataList", kListAccept, kWatchAccept},
             *this, StateKeeper(SourceKind::namespaces, clock_, [this](const SourceState& now) {
               listener_.state(now);
               // Each watch reports its beginning, even if no namespace changes for days.
               if (!troubled_.empty()) save();
             })) {}

const config::Pause::Orders& NamespacePauses::remember() {
  auto stored = config::readAnnotatedPauses(stateFolder_);
  if (stored) {
    orders_ = std::move(*stored);
  } else {
    listener_.trouble(stored.error().message());
  }
  for (const auto& [name, order] : orders_) reasons_.emplace(name, order.reason);
  return orders_;
}

void NamespacePauses::listed(json::array items) {
  for (const auto& item : items) {
    const auto* const object = item.if_object();
    if (object == nullptr) continue;
    const auto one = namespaceIn(*object);
    if (one && one->pausedFor) listed_.emplace(one->name, *one->pausedFor);
  }
}

void NamespacePauses::listEnds() {
  count(std::exchange(listed_, {}));
}

Result<> NamespacePauses::changed(json::object object) {
  FB_TRY(const auto one, namespaceIn(object));
  auto reasons = reasons_;
  if (one.pausedFor) {
    reasons[one.name] = *one.pausedFor;
  } else {
    reasons.erase(one.name);
  }
  count(reasons);
  return {};
}

Result<> NamespacePauses::gone(json::object object) {
  FB_TRY(const auto one, namespaceIn(object));
  auto reasons = reasons_;
  reasons.erase(one.name);
  count(reasons);
  return {};
}

void NamespacePauses::count(const Reasons& reasons) {
  if (reasons == reasons_) return;
  config::Pause::Orders orders;
  for (const auto& [name, reason] : reasons) {
    const auto before = orders_.find(name);
    const bool same = before != orders_.end() && before->second.reason == reason;
    const auto since = same ? before->second.since : std::chrono::floor<std::chrono::seconds>(clock_.wall());
    orders.emplace(name, config::Pause::Order{since, reason});
  }
  reasons_ = reasons;
  orders_ = std::move(orders);
  // Before the file: a slow disk must not delay the pause.
  listener_.pauses(orders_);
  save();
}

void NamespacePauses::save() {
  const auto saved = config::writeAnnotatedPauses(stateFolder_, orders_);
  const auto trouble = saved ? std::string() : saved.error().message();
  if (!trouble.empty() && trouble != troubled_) listener_.trouble(trouble);
  troubled_ = trouble;
}

}  // namespace fallbackd::kube
