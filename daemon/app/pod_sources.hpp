// SPDX-License-Identifier: Apache-2.0
// What the daemon knows and reports about its pods: the configured sources and the Events, with a log line
// for each change of their state, and the pods' specifications for the watcher. On the daemon's loop.
#pragma once

#include "app/options.hpp"
#include "base/task_group.hpp"
#include "config/model.hpp"
#include "kube/pods.hpp"
#include "kube/sources.hpp"
#include "standin/endpoints.hpp"
#include "standin/rule.hpp"
#include "telemetry/log.hpp"
#include "watcher/pod_specs.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::app {

class PodSources final : public watcher::PodSpecs {
 public:
  explicit PodSources(telemetry::Log& log, std::size_t maxPodBytes = kube::View::kMaxBytes);

  [[nodiscard]] kube::Facts facts(const std::string& podUid) const override;
  void podWaits(const std::string& podUid) override;
  void podGone(const std::string& podUid) override;
  /// Called with the uid of each pod whose specification becomes known or changes.
  void onChange(std::function<void(const std::string& podUid)> tell) { changed_ = std::move(tell); }
  /// Called for each description of a pod, even if only its status differs; without a uid for a list of pods.
  void onStatus(std::function<void(const std::string& podUid)> tell) { described_ = std::move(tell); }

  /// Called with what namespaces' annotations pause, by start() at the latest and at each change. Set it
  /// before start().
  void onPauses(std::function<void(const config::Pause::Orders&)> tell) { pauses_ = std::move(tell); }
  /// The state of the watch of namespaces; absent: it is not configured.
  [[nodiscard]] const std::optional<kube::SourceState>& namespaces() const { return namespaces_; }

  /// Starts what `settings` name; without sources nothing runs and no file is touched.
  void start(const boost::asio::any_io_executor& loop, const config::Config& config, const Options& options);
  /// Blocks until the view is saved.
  void stop() {
    later_.reset();
    sources_.reset();
  }

  /// No effect unless Events are configured. Never waits.
  void tell(kube::EventNote note);
  /// Absent: they are not configured.
  [[nodiscard]] const std::optional<kube::EventState>& events() const { return events_; }

  [[nodiscard]] const kube::Pods& pods() const { return pods_; }
  /// Whether the pod's revision has been rolled out, according to its owner when the pod began to wait.
  [[nodiscard]] std::optional<kube::RolloutView> rollout(const std::string& podUid) const;
  /// The same for the decision about a stand-in.
  [[nodiscard]] std::optional<standin::RolloutFacts> rolloutFacts(const std::string& podUid) const;
  /// Requests the pod's owner again. Does not wait.
  void askRollout(const std::string& podUid);
  /// Which of its owner's pods are ready, as far as it is known. Nothing: the pod is not known, or has no
  /// owner.
  [[nodiscard]] std::optional<standin::EndpointFacts> endpoints(const std::string& podUid) const;
  /// Requests them again. Does not wait.
  void askEndpoints(const std::string& podUid);
  /// Whether the pod is Ready with a different container than this one; nothing: no status shows one.
  [[nodiscard]] std::optional<bool> readyWithout(const std::string& podUid, const std::string& container,
                                                 const std::string& containerId) const;
  [[nodiscard]] bool isDeleting(const std::string& podUid) const;
  /// Sets for which pods ConfigMaps and Secrets are read; until then for none.
  void readFor(std::function<bool(const kube::PodObject&)> wanted) { wanted_ = std::move(wanted); }
  /// The result of readFor()'s function may have changed.
  void reconsider();

 private:
  /// What a pod's owner was asked, and what it answered.
  struct Rollout {
    bool asked = false;
    std::optional<kube::RolloutView> answer;
    std::optional<Stamp> answeredAt;
  };

  struct Parsed {
    kube::PodPtr object;
    watcher::SpecPtr spec;
    std::size_t unreadable = 0;  // the hash of what was reported as unreadable
    bool lacked = false;         // it was requested when there was no room for its text
  };

  /// The objects that a pod's variables name.
  struct Named {
    std::string namespaceName;
    kube::Facts facts;
    std::size_t bytes = 0;
    bool asking = false;
    bool again = false;  // asked for while an answer was under way
  };

  [[nodiscard]] watcher::SpecPtr described(const std::string& podUid) const override;
  void tell(const kube::SourceState& state);
  void podsChanged(const std::string& podUid);
  void tellIfOther(const kube::PodObject& pod);
  boost::asio::awaitable<void> askLater(std::string podUid);
  void askOwner(const kube::PodPtr& pod, std::chrono::nanoseconds maxAge = {});
  void askAgain(const std::string& podUid, std::chrono::nanoseconds maxAge);
  void askObjects(const kube::PodObject& pod);
  void learn(const std::string& podUid, const std::string& podNamespace, kube::ObjectAnswers found);
  void sayOnce(const std::string& trouble);
  void eventsChanged(const kube::EventState& now);
  void namespacesChanged(const kube::SourceState& now);

  telemetry::Log& log_;
  kube::Pods pods_;
  mutable std::map<std::string, Parsed> parsed_;  // by uid; made on demand
  std::map<std::string, std::size_t> announced_;  // by uid: the hash of all but the status
  std::map<std::string, Rollout> rollouts_;       // by uid, of pods that waited; described, or with a sandbox
  std::map<std::string, Named> named_;            // by uid
  std::function<bool(const kube::PodObject&)> wanted_ = [](const auto&) { return false; };
  std::set<std::string> troubles_;  // with objects; logged once
  std::function<void(const std::string&)> changed_;
  std::function<void(const std::string&)> described_;
  std::function<void(const config::Pause::Orders&)> pauses_;
  std::optional<kube::SourceState> namespaces_;
  std::optional<kube::EventState> events_;
  const Clock* clock_ = &Clock::system();  // the loop's, from start() on
  std::optional<kube::Sources> sources_;
  std::set<std::string> toAsk_;  // by uid: askLater() is under way
  std::optional<TaskGroup> later_;
};

}  // namespace fallbackd::app
