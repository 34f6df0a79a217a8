// SPDX-License-Identifier: Apache-2.0
// A pod as a source described it. Immutable and shared between threads.
#pragma once

#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

namespace fallbackd::kube {

/// The owner that controls it.
struct Owner {
  std::string apiVersion;
  std::string kind;
  std::string name;
  std::string uid;
  friend bool operator==(const Owner&, const Owner&) = default;
};

struct PodObject {
  /// The uid that its sandbox has. A static pod has another uid in the API than on the node, where it is the
  /// hash of its file; the API keeps that hash as an annotation.
  std::string uid;
  bool isMirror = false;  // the uid is what the pod's annotation claims
  std::string namespaceName;
  std::string name;
  std::string resourceVersion;
  std::optional<Owner> owner;
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> annotations;
  // The part of its status that Services depend on.
  bool ready = false;                               // its condition Ready
  bool deleting = false;                            // it has a deletionTimestamp
  std::map<std::string, std::string> containerIds;  // by name, without the runtime's "containerd://"
  /// The object as received, without managedFields: metadata, spec, status. Empty if there was no room for
  /// it. Its status may be older than `ready` and what else is read from it.
  std::string json;
  /// Excludes the status and the resource version, which change all the time.
  std::size_t lastingHash = 0;
};
using PodPtr = std::shared_ptr<const PodObject>;

/// By name: anyone who may create a pod can claim another pod's uid, as a mirror pod does.
inline bool isSamePod(const PodObject& left, const PodObject& right) {
  return left.namespaceName == right.namespaceName && left.name == right.name;
}

/// The controller in an object's ownerReferences.
std::optional<Owner> controllerOf(const boost::json::object& object);

/// A copy of the pod without its `json`.
PodPtr withoutText(const PodObject& pod);
/// Drops the longest ones until `bytes` are enough for the rest: no pod's author can take the room of other
/// pods.
void dropLongestTexts(std::vector<PodPtr>& pods, std::size_t bytes);

/// Stage kube, reason invalid: the object is not a pod.
Result<PodPtr> podObjectOf(boost::json::value object);
/// One pod in JSON, as in PodObject::json.
Result<PodPtr> parsePodObject(const std::string& json);

/// The pods of a PodList.
struct PodPage {
  std::vector<PodPtr> pods;
  std::size_t bad = 0;  // items that are not pods
};
Result<PodPage> parsePodList(const std::string& json);

}  // namespace fallbackd::kube
