// SPDX-License-Identifier: Apache-2.0
// Reports what happens to one recovery: each transition becomes a log line, metrics, an Event for people who
// look at the pod and, while the next daemon has something to learn, a journal entry. Decides
// nothing. One io_context thread; blocks briefly (the journal is on a tmpfs).
#pragma once

#include "launcher/launcher.hpp"
#include "recovery/gauges.hpp"
#include "recovery/incident.hpp"
#include "recovery/journal.hpp"
#include "recovery/pod_events.hpp"
#include "telemetry/log.hpp"
#include "telemetry/metrics/recovery.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::recovery {

class Chronicle {
 public:
  /// `incident` belongs to the recovery, which changes it before it reports the change. All references
  /// outlive the chronicle. `pod` is written to the journal. `events` may be null: there is no listener.
  Chronicle(Journal& journal, telemetry::RecoveryMetrics& metrics, telemetry::Log& log, const Clock& clock,
            const Incident& incident, std::optional<PodFacts> pod, PodEvents* events = nullptr);
  Chronicle(const Chronicle&) = delete;
  Chronicle& operator=(const Chronicle&) = delete;

  /// For later journal entries.
  void describes(std::optional<PodFacts> pod) { pod_ = std::move(pod); }

  void detected();
  /// A process of an earlier daemon was taken over.
  void adopted(const launcher::ProcessRecord& process, Stamp at);
  /// An earlier daemon's process ended while no daemon ran. Its workload may start again.
  void forgotten(const std::string& why);
  /// The same, but it must not run again: the incident says so.
  void endedUnseen();

  /// The incident has been in its state since then.
  void reached(Stamp at);
  /// What the process about to be launched lacks of its container; logged once.
  void inheritsNot(const std::vector<std::string>& what);
  /// A process was launched; the notes are its limitations.
  void launched(const std::vector<std::string>& notes);
  /// How long the phases of the first launch took, by the incident's stamps.
  void measureLaunch();
  void measureReady();
  void serves(Stamp since);
  void servesNoMore();
  /// The process ended by itself.
  void exited(const launcher::ExitStatus& status);
  /// The process was ended by the recovery.
  void stopped();
  void livenessFailed(unsigned failures, unsigned limit, const Error& error);
  void cannotBeProbed(const Error& error);
  void cannotBeLaunched(const Error& error);
  /// The recovery is over; the incident says how. Its entry stays only to keep it from running again.
  void ended(Stamp at);
  /// Whether that entry is still to be written. If it cannot be written, the entry of the process stays: the
  /// next daemon learns the same from it, unless that could not be written, either.
  [[nodiscard]] bool endIsUnrecorded() const { return endUnrecorded_; }
  /// Tries again.
  void recordEnd();

  /// Writes the incident with this process to the journal. A failure is logged once and retried by
  /// keepRecorded().
  void record(const launcher::ProcessRecord& process);
  /// Never returns: retries failed writes, because only the journal lets the next daemon know everything.
  boost::asio::awaitable<void> keepRecorded();

 private:
  /// Writes a log line that names the recovery and its container before the other fields.
  enum class Naming : std::uint8_t { with_namespace, without_namespace };
  void log(config::LogLevel level, std::string_view message, Naming naming, telemetry::Fields fields);
  void tell(PodEvent event);
  void write();
  [[nodiscard]] Result<> writeEnd();
  void close();

  Journal& journal_;
  telemetry::RecoveryMetrics& metrics_;
  telemetry::Log& log_;
  const Clock& clock_;
  const Incident& incident_;
  std::optional<PodFacts> pod_;
  PodEvents* events_;
  launcher::ProcessRecord process_;
  bool recorded_ = false;
  bool toldInherited_ = false;
  bool writeFails_ = false;
  bool endUnrecorded_ = false;
  std::optional<ActiveFallback> active_;
  std::optional<ServingFallback> serving_;
};

}  // namespace fallbackd::recovery
