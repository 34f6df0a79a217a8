// SPDX-License-Identifier: Apache-2.0
// An operator's order that no new recovery starts: on the whole node or in a namespace. It is a file in the
// state folder, which fallbackctl writes and the daemon watches, so that it also reaches a daemon that hangs
// or is not running, and outlives a reboot. The other way is an annotation of the namespace; the daemon keeps
// those that it knows in a file of the same form.
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
  Orders annotated;  // by the namespace's own annotation; since: when this node learned of it

  /// The order that counts for pods of this namespace, the node's first; null: none.
  [[nodiscard]] const Order* orderFor(const std::string& podNamespace) const;
  /// How to end that order, as text for people.
  [[nodiscard]] std::string wayOut(const std::string& podNamespace) const;
  /// The number of paused namespaces, however they were paused.
  [[nodiscard]] std::size_t namespaceCount() const;
  friend bool operator==(const Pause&, const Pause&) = default;
};

inline constexpr std::string_view kPauseFile = "pause.yaml";
inline constexpr std::string_view kPauseAnnotation = "fallbackd.io/pause";
/// The longest reason, in bytes.
inline constexpr std::size_t kMaxPauseReason = 400;

/// The orders in the state folder's file; nothing if there is no file. Reason invalid, with file and line, if
/// the file contains anything else. Stage config.
Result<Pause> readPause(const std::string& stateFolder);

/// The order that holds while the file cannot be read: somebody wanted something to stop. `before`: its last
/// readable content; null: not known, so stand-ins may have been forbidden.
Pause pauseOfDamaged(const std::string& problem, const Pause* before, Wall::time_point now);

/// Changes the file under a lock and returns its new content. Creates the folder if it is missing. A file
/// that cannot be read is replaced only with Damaged::replace.
enum class Damaged : std::uint8_t { keep, replace };
Result<Pause> changePause(const std::string& stateFolder, const std::function<void(Pause&)>& change,
                          Damaged damaged = Damaged::keep);

/// What the annotation means: an empty one or "false" does not pause, "true" pauses without a reason, and any
/// other text is the reason, cut if it is too long.
std::optional<std::string> pauseReasonIn(std::string_view annotation);

/// What an earlier daemon knew of the namespaces' annotations; nothing if there is no file.
Result<Pause::Orders> readAnnotatedPauses(const std::string& stateFolder);
Result<> writeAnnotatedPauses(const std::string& stateFolder, const Pause::Orders& orders);

}  // namespace fallbackd::config
