// SPDX-License-Identifier: Apache-2.0
// An operator's order to rehearse an outage for one pod: a file in the state folder, which fallbackctl writes
// and the daemon watches, as for a pause. While it holds, the configuration has one more workload, a copy of
// the one that is rehearsed, for a pod that was created and labelled for the drill. Detection treats that
// pod's image as refused without querying a registry; everything after that is real.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"
#include "config/model.hpp"
#include "domain/image_reference.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::config {

struct Drill {
  std::string workload;  // a workload of the configuration
  std::string podNamespace;
  std::string pod;              // its name, which is the value of its label, too
  Wall::time_point since = {};  // in whole seconds
  Wall::time_point until = {};
  std::string reason = {};  // the operator's words; may be empty

  /// It ends by itself, and whatever the clock does, it lasts no longer than kMaxDrill from now.
  [[nodiscard]] bool holdsAt(Wall::time_point now) const;
  friend bool operator==(const Drill&, const Drill&) = default;
};

inline constexpr std::string_view kDrillFile = "drill.yaml";
inline constexpr std::string_view kDrillLabel = "fallbackd.io/drill";
/// The workload of a drill, in metrics, status and journal; a configuration cannot use the name.
inline constexpr std::string_view kDrillWorkload = "fallbackd-drill";
/// The registry of a drill's image: no name below .invalid resolves (RFC 6761), so kubelet's pull fails.
inline constexpr std::string_view kDrillRegistry = "fallbackd-drill.invalid";
inline constexpr std::chrono::minutes kMaxDrill{60};

/// The order in the state folder's file, even if its time is over; nothing if there is no file. Reason
/// invalid, with file and line, if the file contains anything else. Stage config.
Result<std::optional<Drill>> readDrill(const std::string& stateFolder);

/// Writes the file, or removes it. Creates the folder if it is missing. Blocks. Stage config.
Result<> writeDrill(const std::string& stateFolder, const std::optional<Drill>& drill);

/// The image on a registry that does not exist.
std::string drillImage(const ImageReference& image);

/// The configuration while the drill holds. Stage config, reason not_found: it has no such workload.
Result<ConfigPtr> withDrill(const ConfigPtr& config, const Drill& drill);

inline bool isDrill(const Workload& workload) {
  return workload.name == kDrillWorkload;
}

}  // namespace fallbackd::config
