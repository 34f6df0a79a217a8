// SPDX-License-Identifier: Apache-2.0
// An operator's order that no new recovery starts: on the whole node or in a namespace. A file in the state
// folder, which fallbackctl writes and the daemon watches, so that the order also reaches a daemon that hangs
// or is not running, and outlives a reboot. The second way is an annotation of the namespace; what the daemon
// knows of those is a file of the same form.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::config {

struct Pause {
  struct Order {
    Wall::time_point since;  // in whole seconds
    std::string reason;      // the operator's words; may be empty
    friend bool operator==(const Order&, const Order&) = default;
  };
  using Orders = std::map<std::string, Order>;  // by namespace
  std::optional<Order> node;
  bool withoutStandIns = false;  // the node's order also removes its stand-ins
  Orders namespaces;
  Orders annotated;  // by the namespace's own annotation; since: when this node heard of it

  /// The order that counts for pods of this namespace, the node's first; null: none.
  [[nodiscard]] const Order* orderFor(const std::string& podNamespace) const;
  /// What ends that order, for people.
  [[nodiscard]] std::string wayOut(const std::string& podNamespace) const;
  /// Paused namespaces, whatever says so.
  [[nodiscard]] std::size_t namespaceCount() const;
  friend bool operator==(const Pause&, const Pause&) = default;
};

inline constexpr std::string_view kPauseFile = "pause.yaml";
inline constexpr std::string_view kPauseAnnotation = "fallbackd.io/pause";
/// The longest reason, in bytes.
inline constexpr std::size_t kMaxPauseReason = 400;

/// What the state folder's file says; nothing where there is none. Reason invalid, with file and line, if it
/// says anything else. Stage config.
Result<Pause> readPause(const std::string& stateFolder);

/// What is obeyed while it cannot be read: somebody wanted something to stop. `before`: what it said when it
/// could; null: not known, so that stand-ins may have been forbidden.
Pause pauseOfDamaged(const std::string& problem, const Pause* before, Wall::time_point now);

/// Changes the file, which no other process changes meanwhile, and returns what it says now. Makes the folder
/// where it is missing. What cannot be read is replaced only with Damaged::replace.
enum class Damaged : std::uint8_t { keep, replace };
Result<Pause> changePause(const std::string& stateFolder, const std::function<void(Pause&)>& change,
                          Damaged damaged = Damaged::keep);

/// What the annotation says: nothing or "false" pauses nothing, "true" has no reason, and other text is the
/// reason, cut where it is too long.
std::optional<std::string> pauseReasonIn(std::string_view annotation);

/// What an earlier daemon knew of the namespaces' annotations; nothing where there is no file.
Result<Pause::Orders> readAnnotatedPauses(const std::string& stateFolder);
Result<> writeAnnotatedPauses(const std::string& stateFolder, const Pause::Orders& orders);

}  // namespace fallbackd::config
