// SPDX-License-Identifier: Apache-2.0
// An operator's drill: what the daemon reports about it, and the pod that is made for it.
#pragma once

#include "base/error.hpp"
#include "coverage/manifests.hpp"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

namespace fallbackd::ctl {

/// One line about the status' `drill`; empty if there is none. `now`: the status' own time.
std::string drillLine(const boost::json::object& drill, std::string_view now);

struct DrillPodOptions {
  std::string workload;
  std::string pod;            // its name
  std::string namespaceName;  // empty: that of the object
  std::string node;
  std::string container;  // empty: the only one
  std::chrono::seconds length{};
};

struct DrillPod {
  boost::json::object object;
  std::string namespaceName;
  std::string container;
  std::string image;  // the real one
  std::vector<std::string>
      notes;  // what differs from the pods of the object, and what the operator should know
};

/// A pod like those that the first object with a pod template makes: on one node, for a limited time, with
/// the image of one container on a registry that does not exist, without the labels by which Services and
/// controllers would take it for theirs, without init containers, and with empty volumes in place of those
/// that the real pods write. Stage cli. Reason not_permitted: it would share a namespace with the node.
Result<DrillPod> makeDrillPod(const std::vector<coverage::Manifest>& manifests,
                              const DrillPodOptions& options);

}  // namespace fallbackd::ctl
