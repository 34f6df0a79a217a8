// SPDX-License-Identifier: Apache-2.0
// All recoveries of the node: turns the watcher's reports into recoveries, keeps at most one per container,
// takes over what an earlier daemon started, remembers the last ones that ended. One io_context thread.
#pragma once

#include "base/async/event.hpp"
#include "base/task_group.hpp"
#include "recovery/containerd_link.hpp"
#include "recovery/hand_back_gap.hpp"
#include "recovery/recovery.hpp"
#include "recovery/withholding.hpp"
#include "watcher/watcher.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace fallbackd::recovery {

class Recoveries final : public watcher::Listener {
 public:
  Recoveries(Services& services, config::ConfigPtr config);

  /// Reads the journal and takes over what is still running. Before the watcher starts, so that nothing is
  /// started twice.
  cri::Awaitable<void> adopt();

  /// For recoveries that begin from now on.
  void reconfigure(config::ConfigPtr config);

  /// Whether recoveries may begin from now on; those that run go on. A pod that waits is detected again.
  void pause(config::Pause order);
  [[nodiscard]] const Withholding& withholding() const { return withholding_; }
  /// The order forbids stand-ins, and the runtime has none of ours any more.
  [[nodiscard]] bool standInsGone() const;

  /// From now on nothing begins, whatever is reported; what runs goes on. For the time before
  /// stop().
  void beginNothing() { stopping_ = true; }
  /// Ends the coroutines; the fallbacks keep running and are adopted by the next daemon. Nothing begins any
  /// more.
  cri::Awaitable<void> stop();

  /// Running ones first, then those that ended, newest first.
  [[nodiscard]] std::vector<Incident> incidents() const;
  [[nodiscard]] const ContainerdLink& containerd() const { return containerd_; }

  void detected(watcher::Detection detection) override;
  /// A source described the pod again, perhaps its status alone; all pods if the uid is empty.
  void podDescribed(const std::string& podUid);
  void noLongerHeldUp(const std::string& sandboxId, const std::string& container) override;
  void containerCreated(const std::string& podUid, const cri::Container& container) override;
  void containerStarted(const std::string& id, Stamp at) override;
  void sandboxStarted(const std::string& sandboxId, Stamp at) override;
  void sandboxGone(const std::string& sandboxId) override;
  void imageArrived(const std::string& reference) override;
  void probed(const config::Workload& workload, const watcher::Verdict& verdict) override;
  void sandboxImage(const std::string& reference, bool present) override;
  void unstuck(const watcher::Unstuck& one) override;
  void trouble(const std::string& what) override;
  void connection(bool up, const std::string& why) override;

 private:
  using Key = std::pair<std::string, std::string>;  // sandbox id, container name

  void spawn(cri::Awaitable<void> task);
  cri::Awaitable<void> keep(Key key, std::shared_ptr<Recovery> recovery,
                            std::unique_ptr<launcher::Process> process);
  void retire(const Key& key, const Recovery& recovery);
  void handBack(const Key& key, const std::shared_ptr<Recovery>& recovery, const cri::Container& container);
  cri::Awaitable<void> handBackOnceItListens(Key key, std::shared_ptr<Recovery> recovery,
                                             cri::Container container, std::shared_ptr<Event> started);
  cri::Awaitable<bool> untilStarted(cri::Container container, std::shared_ptr<Event> started);
  cri::Awaitable<void> untilAnotherListens(std::shared_ptr<Recovery> recovery, Services::Listeners listeners,
                                           std::set<std::uint64_t> before);
  cri::Awaitable<void> handBackIfReal(Key key, std::shared_ptr<Recovery> recovery, cri::Container container);
  /// What the configuration and, if necessary, the runtime say about an incident of an earlier daemon.
  struct Choice {
    enum class Kind : std::uint8_t {
      covered,
      uncovered,
      unknown,
      after_drill  // its drill is over: it goes on as it is
    };
    Kind kind = Kind::unknown;
    watcher::WorkloadPtr workload;
    std::optional<PodFacts> pod;
  };
  enum class Taken : std::uint8_t { yes, gone, later };
  using Place = std::pair<std::string, std::string>;  // pod UID, container name

  cri::Awaitable<Taken> adoptOne(const JournalEntry& entry);
  cri::Awaitable<void> adoptLater(JournalEntry entry);
  cri::Awaitable<bool> hasNoSandbox(std::string podUid);
  cri::Awaitable<Choice> workloadOf(const Incident& incident, std::optional<PodFacts> pod);
  void takeOver(Incident incident, Choice choice, std::unique_ptr<launcher::Process> process);
  cri::Awaitable<void> learnWorkload(Key key, std::shared_ptr<Recovery> recovery,
                                     std::optional<PodFacts> pod);
  cri::Awaitable<void> adoptUnclaimed(launcher::Unclaimed one);
  cri::Awaitable<bool> tryUnclaimed(launcher::Unclaimed& one);
  void saidOfUnclaimed(const launcher::Unclaimed& one, const std::string& why);
  Chronicle chronicleOf(const Incident& incident, std::optional<PodFacts> pod);
  void remember(Incident incident);
  void endedBefore(Incident incident);
  void endUnseen(const JournalEntry& entry);
  void keepFromRunning(const Incident& incident);
  [[nodiscard]] bool endsElsewhere(const Place& place) const;
  cri::Awaitable<void> recordEndLater(std::shared_ptr<Recovery> recovery);
  cri::Awaitable<void> forgetGonePods();
  bool firstTime(const std::string& text);
  cri::Awaitable<void> catchUp(Key key);
  cri::Awaitable<void> sweepStandIns();
  cri::Awaitable<Result<bool>> sweepOnce();
  void saySwept(const Result<std::size_t>& removed);
  cri::Awaitable<void> removeStandInsOf(Target target);
  [[nodiscard]] bool keepsStandIn(const std::string& recoveryId) const;

  Services& services_;
  config::ConfigPtr config_;
  std::map<Key, std::shared_ptr<Recovery>> active_;
  std::deque<Incident> ended_;
  /// Not taken over yet: nothing else may be started there. With its recovery; empty: not known.
  std::map<Place, std::string> held_;
  std::map<Place, std::string> spent_;  // must not run again for that pod; with its recovery
  std::map<std::string, std::shared_ptr<Event>> starting_;  // real containers that share their port, by id
  bool forgetting_ = false;
  HandBackGap handBackGap_;
  Withholding withholding_;
  ContainerdLink containerd_;
  std::optional<bool> sandboxImagePresent_;
  std::set<std::string> said_;  // warnings and texts that need not be logged again
  Event sweepAsked_;            // set until the next sweep begins
  bool sweeping_ = false;
  bool stopping_ = false;
  TaskGroup tasks_;
};

}  // namespace fallbackd::recovery
