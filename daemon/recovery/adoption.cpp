// SPDX-License-Identifier: Apache-2.0
// What Recoveries does first: takes over what earlier daemons started, from their journal and, where the
// journal lacks it, from what the kernel shows. What cannot be determined is kept (docs/silence.md).
#include "base/async/backoff.hpp"
#include "config/drill.hpp"
#include "launcher/logs/log_file.hpp"
#include "recovery/recoveries.hpp"
#include "watcher/real_container.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace fallbackd::recovery {

namespace {

constexpr Backoff::Limits kQuestions{std::chrono::milliseconds(100), std::chrono::seconds(5)};

/// Whether a drill started it. For an incident that was found without the journal, only the pod shows it.
bool isOfDrill(const Incident& incident, const std::optional<PodFacts>& pod) {
  if (!incident.workload.empty()) return incident.workload == config::kDrillWorkload;
  if (!pod) return false;
  const auto label = pod->labels.find(std::string(config::kDrillLabel));
  return label != pod->labels.end() && label->second == incident.target.podName;
}

}  // namespace

/// Events that happened before a recovery existed to receive them: asks the runtime until it answers.
cri::Awaitable<void> Recoveries::catchUp(Key key) {
  Backoff pause(kQuestions);
  for (;;) {
    const auto status = co_await services_.runtime.sandboxStatus(key.first);
    const auto containers = co_await services_.runtime.listContainers();
    const auto found = active_.find(key);
    if (found == active_.end()) co_return;
    // A stopped sandbox has no pause process to report; one that was removed is not known.
    const auto reason = status ? Reason::internal : status.error().reason;
    const bool gone =
        status ? !status->sandbox.ready : reason == Reason::not_found || reason == Reason::sandbox_gone;
    if (gone) {
      found->second->podGone();
      co_return;
    }
    if (status && containers) {
      const std::string uid = found->second->incident().target.podUid;
      for (const auto& one : *containers) {
        const bool here = one.sandboxId == key.first && one.name == key.second;
        if (here && watcher::bearsKubeletsMark(one, uid)) containerCreated(uid, one);
      }
      co_return;
    }
    co_await pause.wait();
  }
}

cri::Awaitable<void> Recoveries::adopt() {
  auto contents = services_.journal.read();
  if (!contents) {
    services_.log.error("the journal cannot be read; running fallbacks are found through their cgroups",
                        {{"error", contents.error().message()}});
    contents = Journal::Contents{};
  }
  for (const auto& [name, error] : contents->damaged) {
    services_.log.error("a journal entry is damaged and was left in place",
                        {{"file", name}, {"error", error.message()}});
  }
  std::vector<launcher::ProcessRecord> kept;
  for (auto& entry : contents->entries) {
    if (entry.incident.neverAgain) {
      endedBefore(std::move(entry.incident));
      continue;
    }
    const auto taken = co_await adoptOne(entry);
    if (taken != Taken::gone) kept.push_back(entry.process);
    if (taken != Taken::later) continue;
    held_[{entry.incident.target.podUid, entry.incident.target.container}] = entry.incident.id;
    spawn(adoptLater(std::move(entry)));
  }
  auto remains = co_await services_.launcher.collectOrphans(std::move(kept));
  if (remains.removed > 0) {
    services_.log.warn("removed what launches of an earlier daemon left behind",
                       {{"leavesAndFolders", remains.removed}});
  }
  for (const auto& one : remains.foreign) {
    services_.log.warn("left a fallback of another fallbackd alone",
                       {{"leaf", one.leaf}, {"runDir", one.runDir.empty() ? "unknown" : one.runDir}});
  }
  for (auto& one : remains.running) {
    services_.log.warn("found a running fallback without a journal entry",
                       {{"podUid", one.podUid}, {"container", one.container}, {"pid", one.record.pid}});
    held_[{one.podUid, one.container}] = one.record.recoveryId;
    spawn(adoptUnclaimed(std::move(one)));
  }
  // By now it is known which fallbacks may run.
  if (services_.standIns != nullptr) spawn(sweepStandIns());
}

/// For an incident that gets no recovery here.
Chronicle Recoveries::chronicleOf(const Incident& incident, std::optional<PodFacts> pod) {
  return {services_.journal, services_.metrics, services_.log,      LoopClock::of(services_.executor),
          incident,          std::move(pod),    services_.podEvents};
}

/// An earlier daemon saw its end.
void Recoveries::endedBefore(Incident incident) {
  const auto now = LoopClock::of(services_.executor).now();
  incident.stamps.waitingSince = incident.stamps.detected = now;
  incident.stamps.ended = now;
  if (incident.state == State::failed && !incident.error) {
    incident.error = Error{Stage::run, Reason::exited, 0,
                           "ended before this daemon started; restart.policy of its workload allows no "
                           "other run"};
  }
  keepFromRunning(incident);
  remember(std::move(incident));
}

/// It ended while no daemon ran, so how it ended is unknown: it may have done its work.
void Recoveries::endUnseen(const JournalEntry& entry) {
  auto incident = entry.incident;
  incident.state = State::failed;
  incident.neverAgain = true;
  incident.pid = 0;
  incident.error = Error{Stage::run, Reason::exited, 0,
                         "ended while no fallbackd ran, so it is unknown how; restart.policy of its workload "
                         "allows no other run"};
  chronicleOf(incident, entry.pod).endedUnseen();
  endedBefore(std::move(incident));
}

/// Only a clear answer counts.
cri::Awaitable<bool> Recoveries::hasNoSandbox(std::string podUid) {
  const auto sandboxes = co_await services_.runtime.listSandboxes();
  co_return sandboxes&& std::none_of(sandboxes->begin(), sandboxes->end(),
                                     [&](const auto& one) { return one.podUid == podUid; });
}

cri::Awaitable<Recoveries::Taken> Recoveries::adoptOne(const JournalEntry& entry) {
  auto incident = entry.incident;
  auto process = co_await services_.launcher.adopt(entry.process);
  if (!process) {
    const auto& error = process.error();
    // The kernel reports that it ended. A record that is not ours says nothing about any process: what runs
    // in a leaf is found there.
    if (error.reason == Reason::not_found || error.reason == Reason::invalid) {
      const auto choice = co_await workloadOf(incident, entry.pod);
      if (choice.kind == Choice::Kind::unknown) {
        const bool podIsGone = co_await hasNoSandbox(incident.target.podUid);
        if (!podIsGone && error.reason == Reason::not_found) co_await removeStandInsOf(incident.target);
        if (!podIsGone) co_return Taken::later;
        // No source will describe the pod again, and nothing can run in it.
        chronicleOf(incident, entry.pod).forgotten(error.message());
        co_return Taken::gone;
      }
      const bool mayRun = choice.workload == nullptr ||
                          config::restartsAfter(choice.workload->restart, config::Outcome::unknown);
      if (mayRun) {
        chronicleOf(incident, entry.pod).forgotten(error.message());
      } else {
        endUnseen(entry);
      }
      co_return Taken::gone;
    }
    if (firstTime(incident.id + error.message())) {
      services_.log.error(
          "a fallback of an earlier daemon cannot be examined; it is left alone and will be tried again",
          {{"recovery", incident.id}, {"error", error.message()}});
    }
    co_return Taken::later;
  }
  auto choice = co_await workloadOf(incident, entry.pod);
  takeOver(std::move(incident), std::move(choice), std::move(*process));
  co_return Taken::yes;
}

cri::Awaitable<void> Recoveries::adoptLater(JournalEntry entry) {
  const auto& target = entry.incident.target;
  const Key key{target.sandboxId, target.container};
  Backoff pause(kQuestions);
  Taken taken = Taken::later;
  while (taken == Taken::later) {
    co_await pause.wait();
    taken = co_await adoptOne(entry);
  }
  held_.erase({target.podUid, target.container});
  if (taken == Taken::yes) spawn(catchUp(key));
}

void Recoveries::takeOver(Incident incident, Choice choice, std::unique_ptr<launcher::Process> process) {
  const auto now = LoopClock::of(services_.executor).now();
  incident.stamps.waitingSince = now;
  incident.stamps.detected = now;
  incident.stamps.started = now;
  const Key key{incident.target.sandboxId, incident.target.container};
  const bool covered = choice.kind == Choice::Kind::covered;
  const auto recovery = covered ? std::make_shared<Recovery>(services_, std::move(incident), choice.workload,
                                                             std::nullopt, std::move(choice.pod))
                                : Recovery::withoutWorkload(services_, std::move(incident));
  active_.emplace(key, recovery);
  services_.metrics.adoption(choice.kind == Choice::Kind::uncovered ? telemetry::AdoptionResult::gone
                                                                    : telemetry::AdoptionResult::adopted);
  spawn(keep(key, recovery, std::move(process)));
  if (choice.kind == Choice::Kind::uncovered) recovery->notConfigured();
  if (choice.kind == Choice::Kind::after_drill) recovery->keepAfterDrill(std::move(choice.pod));
  if (choice.kind == Choice::Kind::unknown) spawn(learnWorkload(key, recovery, std::move(choice.pod)));
}

/// The pod's labels and annotations when its fallback was started, from the journal. Entries of 0.1 lack
/// them: if pods may choose their binary, CRI has to be asked, and nothing is known until it answers. The
/// name of a drill's workload says nothing: each drill has it. So only a drill for this pod takes over what a
/// drill started, and it takes over nothing else.
cri::Awaitable<Recoveries::Choice> Recoveries::workloadOf(const Incident& incident,
                                                          std::optional<PodFacts> pod) {
  const auto& target = incident.target;
  bool asked = true;
  const bool drillNeedsLabels = incident.workload == config::kDrillWorkload;
  if (!pod && (drillNeedsLabels || watcher::annotationsCount(*config_, target.podNamespace))) {
    const auto status = co_await services_.runtime.sandboxStatus(target.sandboxId);
    if (status) pod = factsOf(status->sandbox);
    asked = status || status.error().reason == Reason::not_found;
  }
  Choice choice;
  const auto spec = services_.specs->find(target.podUid, target.podNamespace, target.podName);
  bool awaitsSpec = false;
  const bool ofDrill = isOfDrill(incident, pod);
  if (pod) {
    cri::Sandbox sandbox;
    sandbox.id = target.sandboxId;
    sandbox.podName = target.podName;
    sandbox.podNamespace = target.podNamespace;
    sandbox.podUid = target.podUid;
    sandbox.labels = pod->labels;
    sandbox.annotations = pod->annotations;
    const auto isOurs = [&](const auto& one) {
      return one->match.container == target.container && config::isDrill(*one) == ofDrill;
    };
    const auto covering = watcher::workloadsFor(config_, sandbox, spec.get());
    const auto& known = covering.workloads;
    const auto found = std::find_if(known.begin(), known.end(), isOurs);
    if (found != known.end()) choice.workload = *found;
    awaitsSpec = std::any_of(covering.withoutSpec.begin(), covering.withoutSpec.end(), isOurs);
  }
  for (const auto& workload : config_->workloads) {
    if (choice.workload == nullptr && !awaitsSpec && !ofDrill && workload.name == incident.workload) {
      choice.workload = watcher::WorkloadPtr(config_, &workload);
      awaitsSpec = workload.inheritance.on && spec == nullptr;
    }
  }
  choice.pod = std::move(pod);
  choice.kind = awaitsSpec || (choice.workload == nullptr && !asked) ? Choice::Kind::unknown
                : choice.workload != nullptr                         ? Choice::Kind::covered
                : ofDrill                                            ? Choice::Kind::after_drill
                                                                     : Choice::Kind::uncovered;
  co_return choice;
}

cri::Awaitable<void> Recoveries::learnWorkload(Key key, std::shared_ptr<Recovery> recovery,
                                               std::optional<PodFacts> pod) {
  services_.log.warn(
      "the workload of this fallback is not known yet, since containerd does not answer or its pod's "
      "specification is not known; it keeps running",
      {{"recovery", recovery->incident().id}, {"pod", recovery->incident().target.podName}});
  Backoff pause(kQuestions);
  for (;;) {
    co_await pause.wait();
    auto choice = co_await workloadOf(recovery->incident(), pod);
    const auto found = active_.find(key);
    if (found == active_.end() || found->second != recovery) co_return;
    if (choice.kind == Choice::Kind::unknown) continue;
    if (choice.kind == Choice::Kind::covered) {
      recovery->learnWorkload(std::move(choice.workload), std::move(choice.pod));
    } else if (choice.kind == Choice::Kind::after_drill) {
      recovery->keepAfterDrill(std::move(choice.pod));
    } else {
      recovery->notConfigured();
    }
    co_return;
  }
}

/// Continues until the process is taken over or known to have no pod or workload. Meanwhile it is left alone.
cri::Awaitable<void> Recoveries::adoptUnclaimed(launcher::Unclaimed one) {
  Backoff pause(kQuestions);
  for (;;) {
    const bool settled = co_await tryUnclaimed(one);
    if (settled) break;
    co_await pause.wait();
    one = services_.launcher.lookAgain(one);
  }
  held_.erase({one.podUid, one.container});
}

void Recoveries::saidOfUnclaimed(const launcher::Unclaimed& one, const std::string& why) {
  if (!firstTime(one.podUid + one.container + why)) return;
  services_.log.error("this fallback cannot be taken over yet; it is left alone and will be tried again",
                      {{"podUid", one.podUid}, {"container", one.container}, {"why", why}});
}

/// True once its fate is decided.
cri::Awaitable<bool> Recoveries::tryUnclaimed(launcher::Unclaimed& one) {
  const auto end = [&](const std::string& why) {
    services_.log.warn("ended a fallback without a journal entry",
                       {{"podUid", one.podUid}, {"container", one.container}, {"why", why}});
    services_.metrics.adoption(telemetry::AdoptionResult::gone);
    return services_.launcher.discard(one.record);
  };
  if (!one.why.empty()) {
    saidOfUnclaimed(one, one.why);
    co_return false;
  }
  if (one.record.pid == 0) {
    co_await end("its process has ended");
    co_return true;
  }
  const auto sandboxes = co_await services_.runtime.listSandboxes();
  if (!sandboxes) {
    saidOfUnclaimed(one, sandboxes.error().message());
    co_return false;
  }
  const cri::Sandbox* newest = nullptr;
  for (const auto& sandbox : *sandboxes) {
    const bool candidate = sandbox.ready && sandbox.podUid == one.podUid;
    if (candidate && (newest == nullptr || sandbox.attempt > newest->attempt)) newest = &sandbox;
  }
  if (newest == nullptr) {
    co_await end("its pod has no sandbox");
    co_return true;
  }
  auto status = co_await services_.runtime.sandboxStatus(newest->id);
  const auto inIt =
      status ? services_.launcher.isIn(one.record, *status) : tl::unexpected<Error>(status.error());
  if (!inIt) {
    saidOfUnclaimed(one, inIt.error().message());
    co_return false;
  }
  if (!*inIt) {
    co_await end("its sandbox is gone and the pod has another one");
    co_return true;
  }
  Incident incident;
  incident.id = one.record.recoveryId.empty() ? newRecoveryId() : one.record.recoveryId;
  incident.target = {newest->id, newest->podUid, newest->podNamespace, newest->podName, one.container};
  incident.causeText = "found through its cgroup: an earlier daemon could not write its journal";
  incident.begun = LoopClock::of(services_.executor).wall();
  incident.state = State::started;
  incident.adopted = true;
  incident.pid = one.record.pid;
  completeHostNetwork(services_, *status);
  if (!status->ips.empty()) incident.podIp = status->ips.front();
  auto choice = co_await workloadOf(incident, factsOf(status->sandbox));
  if (choice.kind == Choice::Kind::unknown) {
    saidOfUnclaimed(one, "its pod's specification is not known yet");
    co_return false;
  }
  if (choice.kind == Choice::Kind::after_drill && !one.binary) {
    saidOfUnclaimed(one, "its drill is over, and its binary is not known; it runs until its pod ends");
    co_return false;
  }
  if (choice.kind == Choice::Kind::uncovered) {
    co_await end("no workload is configured for it");
    co_return true;
  }
  incident.workload =
      choice.workload == nullptr ? std::string(config::kDrillWorkload) : choice.workload->name;
  incident.binary = one.binary ? *one.binary : choice.workload->binary;
  incident.restarts = co_await services_.launcher.latestRestart(status->logDirectory, one.container);
  auto record = one.record;
  record.recoveryId = incident.id;
  record.logFile = launcher::logFileOf(status->logDirectory, one.container, incident.restarts);
  auto process = co_await services_.launcher.adopt(record);
  if (!process) {
    saidOfUnclaimed(one, process.error().message());
    co_return process.error().reason == Reason::not_found;
  }
  const Key key{incident.target.sandboxId, incident.target.container};
  takeOver(std::move(incident), std::move(choice), std::move(*process));
  spawn(catchUp(key));
  co_return true;
}

}  // namespace fallbackd::recovery
