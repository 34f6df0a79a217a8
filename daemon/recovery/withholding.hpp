// SPDX-License-Identifier: Apache-2.0
// Fallbacks that are due and are not started because an operator said so: recoveries are paused, or only
// observed. Remembers each container until its pod or its real container settles the matter. One io_context
// thread.
#pragma once

#include "base/task_group.hpp"
#include "config/pause.hpp"
#include "recovery/incident.hpp"
#include "recovery/recovery.hpp"
#include "watcher/watcher.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fallbackd::recovery {

struct Withheld {
  enum class By : std::uint8_t { pause, observe };

  Target target;
  std::string workload;
  BinaryRef binary;
  Cause cause = Cause::unknown;
  std::string causeText;
  By by = By::pause;
  Wall::time_point since;
  // What was decided, where it is only observed; neither as long as the binary is being checked.
  std::optional<std::chrono::nanoseconds> wouldStartAfter;  // from the beginning of the wait
  std::optional<Error> refused;                             // it would not have been started
};
std::string_view toString(Withheld::By by);

class Withholding {
 public:
  using Key = std::pair<std::string, std::string>;  // sandbox id, container name

  /// The services outlive this object.
  explicit Withholding(Services& services) : services_(services), tasks_(services.executor) {}

  /// From now on this order applies. Forgets what is withheld in a namespace for which it changes anything:
  /// it is detected again.
  void pause(config::Pause order);
  /// The configuration changed. Nothing is shown as withheld until it is detected again; only what has a
  /// different workload, binary or mode by then is reported and counted as new.
  void reconfigured();
  [[nodiscard]] const config::Pause& paused() const { return pause_; }

  /// Takes the detection if its fallback must not be started; false: it may be.
  bool withholds(const config::Config& config, const watcher::Detection& detection);

  /// The container came.
  void containerCreated(const std::string& podUid, const std::string& container);
  void sandboxGone(const std::string& sandboxId);
  void notDue(const Key& key) { all_.erase(key); }

  [[nodiscard]] std::vector<Withheld> all() const;
  [[nodiscard]] std::size_t count(Withheld::By by) const;
  boost::asio::awaitable<void> stop();

 private:
  struct Entry {
    Withheld withheld;
    bool confirmed = true;  // detected since the configuration was changed
  };

  boost::asio::awaitable<void> decide(Key key, watcher::WorkloadPtr workload, Stamp waitingSince);

  /// It has just become known to be due.
  void begin(const Withheld& one, const watcher::Detection& detection);

  /// One line with the fields that every line of a withheld fallback has, and `more`.
  void log(config::LogLevel level, std::string_view message, const Withheld& one, telemetry::Fields more);

  void tell(const Withheld& one, PodEvent event);

  Services& services_;
  config::Pause pause_;
  std::map<Key, Entry> all_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::recovery
