// What runs, on disk under /run/fallbackd/journal, one JSON file a fallback: so that a daemon that starts
// after another takes over what runs instead of starting it twice. Also what has ended and must not run again
// for its pod (Incident::neverAgain). Blocks briefly (tmpfs).
#pragma once

#include "launcher/launcher.hpp"
#include "recovery/incident.hpp"

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::recovery {

/// What chose the pod's workload: labels, and annotations of our own. Neither changes as long as the sandbox
/// lives, so that the workload can be found again without asking anybody.
struct PodFacts {
  cri::Labels labels;
  cri::Labels annotations;
};
PodFacts factsOf(const cri::Sandbox& sandbox);

struct JournalEntry {
  Incident incident;
  launcher::ProcessRecord process;
  std::optional<PodFacts> pod = {};  // absent in entries of 0.1, and where they are too large to be kept
};

class Journal {
 public:
  /// The folder is made where it is missing (0700), and locked: reason already_exists where another daemon
  /// has it. Stage journal.
  static Result<Journal> open(const std::string& runDir);

  Result<> write(const JournalEntry& entry);
  Result<> remove(const std::string& recoveryId);
  /// All entries; what cannot be read is reported by file name and error, and left where it is.
  struct Contents {
    std::vector<JournalEntry> entries;
    std::vector<std::pair<std::string, Error>> damaged;
  };
  [[nodiscard]] Result<Contents> read() const;
  /// How many entries there are, damaged ones included.
  [[nodiscard]] std::size_t size() const { return ids_.size(); }

 private:
  Journal(sys::DirFd dir, std::set<std::string> ids) : dir_(std::move(dir)), ids_(std::move(ids)) {}
  sys::DirFd dir_;
  std::set<std::string> ids_;
};

}  // namespace fallbackd::recovery
