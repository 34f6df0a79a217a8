// SPDX-License-Identifier: Apache-2.0
// Looks after each container that waits: requests its image repeatedly, and reports to the listener why it
// cannot be pulled, or that kubelet is held up. Goes on while a fallback runs: the probe pull that succeeds
// at the end of the outage puts the image on the node, and kubelet starts the container at its next sync.
// One io_context thread; nothing blocks.
#pragma once

#include "base/async/event.hpp"
#include "base/async/jitter.hpp"
#include "base/task_group.hpp"
#include "cri/runtime.hpp"
#include "watcher/listener.hpp"
#include "watcher/match.hpp"
#include "watcher/pod_specs.hpp"
#include "watcher/pod_view.hpp"
#include "watcher/probe_questions.hpp"
#include "watcher/prober.hpp"
#include "watcher/start_watch.hpp"
#include "watcher/waiting.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::watcher {

/// Annotations of all pods that are not followed: see Covering.
struct IgnoredAnnotations {
  std::size_t refused = 0;
  std::size_t cutOff = 0;
};

class Attendance {
 public:
  using Key = ContainerKey;
  using Seen = StartWatch::Seen;

  /// Looks at `pods` whenever it is called, and stores in it what CRI reports about a sandbox.
  Attendance(boost::asio::any_io_executor executor, cri::Runtime& runtime, Traffic& traffic, PodView& pods,
             Listener& listener, config::ConfigPtr config, PodSpecs& specs);

  /// A pod whose image kubelet can get from the node gets no fallback. It must outlive this object.
  void useNodeImages(NodeImages& images) {
    nodeImages_ = &images;
    prober_.tellApart(images);
  }

  /// From now on this configuration applies; all pods are looked at again.
  void reconfigure(config::ConfigPtr config);

  /// Attends to each container of the pod that a workload covers and that is not there. The pod must be
  /// known.
  void attendAll(const std::string& sandboxId, Seen seen);
  /// The pod's specification became known, or changed.
  void specChanged(const std::string& sandboxId);
  /// The container is there.
  void leave(const Key& key);
  /// Before the pod is forgotten.
  void leavePod(const std::string& sandboxId);

  enum class Unseen : std::uint8_t { counts, is_normal };
  void checkUnstick(Unseen unseen);

  /// A container of the pod ended: the next one's turn may have come.
  void containerExited(const std::string& sandboxId);
  void imageArrived(const ImageReference& reference);

  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] std::vector<Waiting> waitingContainers() const;
  /// Containers of a pod that do not wait, since too many of its namespace do.
  [[nodiscard]] std::size_t overLimit(const std::string& sandboxId) const;
  [[nodiscard]] IgnoredAnnotations ignoredAnnotations() const;
  [[nodiscard]] Prober& prober() { return prober_; }
  [[nodiscard]] const Prober& prober() const { return prober_; }

 private:
  /// Set to look again at once; during a look it ends the next pause.
  using LookAgain = Event;
  struct Attended {
    Attended(WorkloadPtr covering, ImageReference image, const boost::asio::any_io_executor& executor)
        : workload(std::move(covering)),
          reference(std::move(image)),
          again(std::make_shared<LookAgain>(executor)) {}
    WorkloadPtr workload;
    ImageReference reference;  // of its image
    std::shared_ptr<LookAgain> again;
    TaskGroup::Id task = 0;
    Waiting::State state = Waiting::State::asking;
    Cause cause = Cause::unknown;
    std::string text;
    std::optional<std::chrono::nanoseconds> verdictTook;
    std::string trouble;
    bool onNode = false;  // its image is, and the latest pull came from there: kubelet's own will, too
  };
  /// What concerns all containers of a pod.
  struct PodNotes {
    IgnoredAnnotations ignored;
    std::size_t overLimit = 0;
    std::vector<std::string> reported;  // of its annotations, to the listener
    bool statusAsked = false;
    std::vector<WorkloadPtr> withoutSpec;  // that cover it; its specification is not known
    std::optional<Seen> seen;              // while withoutSpec is not empty: how we met the pod
  };

  /// Whether a container of the pod that a workload covers is not there.
  bool attendAll(const std::string& sandboxId, Seen seen, const StartWatch::Starts& before);
  [[nodiscard]] Covering coveringOf(const PodView::Pod& pod) const;
  void awaitSpec(const PodView::Pod& pod, Seen seen, const Covering& covering);
  [[nodiscard]] bool overLimit(const PodView::Pod& pod, const config::Workload& workload) const;
  void reportAnnotations(const PodView::Pod& pod, const Covering& covering);

  cri::Awaitable<void> attend(Key key, WorkloadPtr workload, ImageReference reference,
                              std::shared_ptr<LookAgain> again);
  cri::Awaitable<std::chrono::nanoseconds> lookOnce(Key key, WorkloadPtr workload, ImageReference reference);
  cri::Awaitable<bool> askNodeFirst(ImageReference reference, Question& question);
  cri::Awaitable<bool> askRegistry(Key key, WorkloadPtr workload, ImageReference reference);
  void rehearse(const Key& key, const WorkloadPtr& workload);
  void tellFailure(const Key& key, const WorkloadPtr& workload, const Verdict& verdict);
  cri::Awaitable<void> untilNextLook(Key key, std::shared_ptr<LookAgain> again, Stamp next);
  cri::Awaitable<Result<bool>> predecessorsSucceeded(Key key, WorkloadPtr workload);
  void learnStatusOnce(const std::string& sandboxId);
  cri::Awaitable<void> learnStatus(std::string sandboxId);

  void wake(const std::function<bool(const Key&, const Attended&)>& which);
  void setState(const Key& key, Waiting::State state, const Verdict* verdict = nullptr);
  void judged(const Key& key, const StartWatch::Judgement& judgement);
  void report(const config::Workload& workload, const Verdict& verdict);

  boost::asio::any_io_executor executor_;
  const Clock& clock_;
  cri::Runtime& runtime_;
  PodView& pods_;
  Listener& listener_;
  config::ConfigPtr config_;
  PodSpecs& specs_;
  ProbeQuestions questions_;
  Prober prober_;
  NodeImages* nodeImages_ = nullptr;
  std::map<Key, Attended> attended_;
  StartWatch starts_;                            // of attended_
  std::map<std::string, std::size_t> chosenOf_;  // of attended_, by namespace: those of images that pods name
  std::map<std::string, PodNotes> notes_;        // by sandbox id
  Jitter jittered_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::watcher
