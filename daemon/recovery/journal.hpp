// SPDX-License-Identifier: Apache-2.0
// Running fallbacks on disk under /run/fallbackd/journal, one JSON file each, so that the next daemon takes
// them over instead of starting them twice. Also those that ended and must not run again for their pod
// (Incident::neverAgain). Blocks briefly (tmpfs).
#pragma once

#include "launcher/launcher.hpp"
#include "recovery/incident.hpp"
#include "telemetry/metrics/journal.hpp"

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::recovery {

/// What selected the pod's workload: labels and our own annotations. Neither changes during the sandbox's
/// life, so the workload can be found again without a query.
struct PodFacts {
  cri::Labels labels;
  cri::Labels annotations;
};
PodFacts factsOf(const cri::Sandbox& sandbox);

struct JournalEntry {
  Incident incident;
  launcher::ProcessRecord process;
  std::optional<PodFacts> pod = {};  // absent in entries of 0.1, and if they are too large to be stored
};

class Journal {
 public:
  /// Creates the folder if missing (0700) and locks it: reason already_exists if another daemon holds it.
  /// Stage journal.
  static Result<Journal> open(const std::string& runDir);

  /// Counts later changes, and the entries, in these metrics.
  void countIn(telemetry::JournalMetrics& metrics) { metrics_ = &metrics; }

  Result<> write(const JournalEntry& entry);
  Result<> remove(const std::string& recoveryId);
  /// All entries; unreadable ones are reported by file name and error, and left in place.
  struct Contents {
    std::vector<JournalEntry> entries;
    std::vector<std::pair<std::string, Error>> damaged;
  };
  [[nodiscard]] Result<Contents> read() const;
  /// The number of entries, including damaged ones.
  [[nodiscard]] std::size_t size() const { return ids_.size(); }

 private:
  Journal(sys::DirFd dir, std::set<std::string> ids) : dir_(std::move(dir)), ids_(std::move(ids)) {}
  void count(telemetry::JournalOperation operation, const Result<>& result);
  [[nodiscard]] Result<Contents> readAll() const;

  sys::DirFd dir_;
  std::set<std::string> ids_;
  telemetry::JournalMetrics* metrics_ = nullptr;
};

}  // namespace fallbackd::recovery
