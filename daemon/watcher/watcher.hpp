// SPDX-License-Identifier: Apache-2.0
// Watches containerd: which pods wait for a container, why its image cannot be pulled, and when the wait is
// over. Tells a Listener. Everything runs on one io_context thread; nothing blocks.
#pragma once

#include "base/async/event.hpp"
#include "base/async/jitter.hpp"
#include "base/task_group.hpp"
#include "cri/runtime.hpp"
#include "watcher/held_up.hpp"
#include "watcher/match.hpp"
#include "watcher/prober.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::watcher {

/// A container of a pod that is missing for a cause that triggers: its image cannot be pulled, or it is there
/// and kubelet is known to be held up.
struct Detection {
  cri::Sandbox sandbox;
  WorkloadPtr workload;
  Cause cause = Cause::unknown;
  std::string text;    // containerd's words
  Stamp waitingSince;  // when the sandbox started, or when we first saw it wait
  Stamp failureKnown;
  std::chrono::nanoseconds verdictTook{};  // from our probe pull to its verdict; 0: it was known already
  std::optional<cri::SandboxStatus> status = {};  // where CRI knew the sandbox by then
};

/// Called on the loop's thread; must not block.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void detected(Detection detection) = 0;
  /// What was detected as not_started is not known to be held up any more. What runs already runs on.
  virtual void heldUpNoMore(const std::string& sandboxId, const std::string& container) = 0;
  /// Kubelet made a container in the pod, of whichever image: its process starts about 90 ms later.
  virtual void containerCreated(const std::string& podUid, const cri::Container& container) = 0;
  virtual void containerStarted(const std::string& id, Stamp at) = 0;
  /// The pod's pause process runs: from now on a container could be in it.
  virtual void sandboxStarted(const std::string& sandboxId, Stamp at) = 0;
  virtual void sandboxGone(const std::string& sandboxId) = 0;
  virtual void imageArrived(const std::string& reference) = 0;
  /// A probe pull ended: once for each pull, however many pods waited for it.
  virtual void probed(const config::Workload& workload, const Verdict& verdict) = 0;
  /// Whether sandboxes can be made: without their own image no pod has a sandbox that could be joined.
  virtual void sandboxImage(const std::string& reference, bool present) = 0;
  /// Something that a person should mend. The same words may come again and again.
  virtual void trouble(const std::string& what) = 0;
  /// The event stream stands and the pod view is complete (true), or was lost (false, with the reason).
  virtual void connection(bool up, const std::string& why) = 0;
};

/// A container that is not there yet, and what is known of it.
struct Waiting {
  cri::Sandbox sandbox;
  WorkloadPtr workload;
  Stamp since;
  /// "asking", "failed", "undecided", "image present", "not started", "after init containers", "never pulled"
  std::string state;
  Cause cause = Cause::unknown;  // of failed, undecided and not started
  std::string text;
  std::optional<std::chrono::nanoseconds> verdictTook;  // where there was a verdict
  std::optional<HeldUp> heldUp = {};                    // of not started; absent where nothing is known
  std::optional<Stamp> imageSince = {};                 // when the image was first seen on the node
  std::string trouble = {};                             // why there were no credentials, if so
};

/// A pod whose sandbox is ready, and the containers that were made in it.
struct PodView {
  struct Container {
    std::string name;
    std::optional<int> exitCode;  // where it has ended and we know
  };
  cri::Sandbox sandbox;  // without its annotations
  std::vector<Container> containers;
  PodChoices choices = {};
  std::size_t overLimit = 0;  // containers that do not wait, since so many of the namespace do
  /// The containers' names, as workloadsFor() wants them.
  [[nodiscard]] std::set<std::string> made() const;
};

/// Annotations of all pods that are not followed: see Covering.
struct IgnoredAnnotations {
  std::size_t refused = 0;
  std::size_t cutOff = 0;
};

class Watcher {
 public:
  Watcher(boost::asio::any_io_executor executor, cri::Runtime& runtime, cri::EventSource& events,
          Traffic& traffic, Listener& listener, config::ConfigPtr config);

  /// Runs until cancelled: subscribes, lists, follows events, subscribes again with back-off.
  cri::Awaitable<void> run();

  /// From now on this configuration counts; waiting pods are checked again.
  void reconfigure(config::ConfigPtr config);

  [[nodiscard]] std::size_t waiting() const { return attended_.size(); }
  [[nodiscard]] std::vector<Waiting> waitingContainers() const;
  [[nodiscard]] std::vector<PodView> pods() const;
  /// See Prober.
  [[nodiscard]] CredentialSources& credentials() { return prober_.credentials(); }

  [[nodiscard]] std::vector<Circuits::Host> registries() const { return prober_.registries(); }
  [[nodiscard]] IgnoredAnnotations ignoredAnnotations() const;
  /// Running containers of each configured workload at the last look at all pods.
  [[nodiscard]] const std::map<std::string, VersionSkew>& runningContainers() const { return running_; }

 private:
  struct KnownContainer {
    std::string name;
    Stamp seen;
    std::optional<int> exitCode;  // where it has ended and we know
    Stamp exited{};
  };
  struct Pod {
    Pod(Stamp now, Stamp started) : seen(now), since(started) {}
    [[nodiscard]] std::set<std::string> made() const;

    cri::Sandbox sandbox;                      // without its annotations
    PodChoices choices;                        // what they ask for
    Stamp seen;                                // when we first heard of it
    Stamp since;                               // when its pause process started, as far as known
    std::optional<cri::SandboxStatus> status;  // for a launch, once CRI has it; does not change
    bool statusAsked = false;
    std::map<std::string, KnownContainer> containers;  // by container id
    IgnoredAnnotations ignored;
    std::size_t overLimit = 0;
    std::set<std::string> everMade;  // names of kubelet's containers, those that are gone included
    std::vector<std::string> told;   // of its annotations, to the listener
  };
  using Key = std::pair<std::string, std::string>;  // sandbox id, container name
  /// Set to look again at once; during a look it ends the next pause.
  using LookAgain = Event;
  /// A sandbox whose annotations are being asked for.
  struct Learning {
    Learning(const boost::asio::any_io_executor& executor, std::string uid, Stamp at)
        : podUid(std::move(uid)), since(at), next(executor) {}
    std::string podUid;
    Stamp since;  // of its process, once that has started
    Event next;
  };
  /// Whether we saw the pod come, or found it when it was there already.
  enum class Seen : std::uint8_t { to_begin, later };
  /// What kubelet must have done before it makes the container, as far as we know.
  struct Start {
    bool seenToBegin = false;           // looked at from the beginning of its pod
    bool asked = false;                 // whether the image is there
    bool needsNoPull = false;           // it was there before kubelet could ask
    std::optional<Stamp> imageSince;    // it is known to be there since
    std::optional<Stamp> failed;        // the end of the last pull that failed
    bool onlyOutages = true;            // all of them failed at once, in a way that kubelet's failed too
    std::optional<HeldUp> heldUp = {};  // judged when the container was due
  };
  struct Attendance {
    Attendance(WorkloadPtr covering, ImageReference image)
        : workload(std::move(covering)), reference(std::move(image)) {}
    WorkloadPtr workload;
    ImageReference reference;  // of its image
    Start start;
    TaskGroup::Id task = 0;
    std::shared_ptr<LookAgain> again;
    std::string state = "asking";
    Cause cause = Cause::unknown;
    std::string text;
    std::optional<std::chrono::nanoseconds> verdictTook;
    std::string trouble;
  };

  cri::Awaitable<Result<>> follow();
  cri::Awaitable<Result<>> resync();
  cri::Awaitable<void> resyncRegularly();
  cri::Awaitable<void> handle(cri::Event event);
  cri::Awaitable<void> learn(std::string id, Stamp at);
  cri::Awaitable<void> learnAnnotated(std::string id, std::shared_ptr<Learning> learning);
  cri::Awaitable<void> learnStatus(std::string id);
  cri::Awaitable<void> checkSandboxImage();
  cri::Awaitable<void> attend(Key key, WorkloadPtr workload, ImageReference reference,
                              std::shared_ptr<LookAgain> again);
  cri::Awaitable<std::chrono::nanoseconds> lookOnce(Key key, WorkloadPtr workload, ImageReference reference);
  cri::Awaitable<void> untilNextLook(Key key, std::shared_ptr<LookAgain> again, Stamp next);

  // Containers whose image is there: not_started.cpp.
  [[nodiscard]] std::optional<Stamp> startDue(const Key& key) const;
  void imageIsThere(const Key& key, Stamp at);
  void imageIsMissing(const Key& key);
  void noteIfThereBefore(const Key& key, config::PullPolicy policy);
  void pullFailed(const Key& key, const Question& question, const Verdict& verdict);
  void pullMoves(const Key& key);
  [[nodiscard]] std::optional<HeldUp> heldUp(const Key& key) const;
  void judgeStart(const Key& key);

  cri::Awaitable<Result<bool>> predecessorsEnded(Key key, WorkloadPtr workload);
  void note(const Key& key, std::string state, const Verdict* verdict = nullptr);
  void wake(const std::function<bool(const Key&, const Attendance&)>& which);
  void exited(const cri::Event& event);
  [[nodiscard]] std::string credentialsFor(const config::Workload& workload,
                                           const ImageReference& reference) const;
  [[nodiscard]] std::optional<config::CredentialProviders> providersFor(
      const config::Workload& workload) const;
  [[nodiscard]] Question questionFor(const config::Workload& workload, const ImageReference& reference,
                                     const std::string& podNamespace) const;
  void report(const config::Workload& workload, const Verdict& verdict);
  Stamp waitingSince(const Pod& pod, const config::Workload& workload) const;

  cri::Awaitable<void> learnImages(const std::vector<cri::Container>& containers);
  void countRunning(const Pod& pod, const std::vector<const cri::Container*>& containers);
  [[nodiscard]] std::optional<bool> runsVersion(const cri::Container& container,
                                                const config::Workload& workload) const;
  void addSandbox(cri::Sandbox sandbox, Stamp since);
  void keep(Pod& pod, cri::Sandbox sandbox) const;
  static void keepStatus(Pod& pod, Result<cri::SandboxStatus> status);
  void addContainer(const std::string& sandboxId, const cri::Container& container);
  void place(const std::string& podUid, const cri::Container& container);
  void dropContainer(const std::string& id);
  void dropSandbox(const std::string& sandboxId);
  void attendAll(Pod& pod, Seen seen, const std::map<Key, Attendance>& before = {});
  void tell(Pod& pod, const Covering& covering);
  [[nodiscard]] bool overLimit(const Pod& pod, const config::Workload& workload) const;
  void leave(const Key& key);
  void useConfig(config::ConfigPtr config);

  boost::asio::any_io_executor executor_;
  const Clock& clock_;
  cri::Runtime& runtime_;
  cri::EventSource& events_;
  Listener& listener_;
  config::ConfigPtr config_;
  Prober prober_;
  std::map<std::string, Pod> pods_;               // by sandbox id
  std::map<std::string, std::string> sandboxOf_;  // container id -> sandbox id
  std::map<Key, Attendance> attended_;
  std::set<Key> ready_;                          // of attended_: those whose image is there
  StalledPulls stalled_;                         // of attended_
  std::map<std::string, std::size_t> chosenOf_;  // of attended_, by namespace: those of annotated images
  // That workloads of the configuration name, each with the file of its credentials, and whether providers
  // are asked.
  std::set<std::tuple<std::string, std::string, bool>> configuredImages_;
  std::set<std::string> matchedLabels_;                        // by which they choose pods
  std::map<std::string, VersionSkew> running_;                 // by workload
  std::map<std::string, std::vector<std::string>> imageTags_;  // by image id, of those that run unnamed
  std::map<std::string, std::shared_ptr<Learning>> learning_;  // by sandbox id
  struct Unplaced {
    std::string podUid;
    cri::Container container;
  };
  std::vector<Unplaced> unplaced_;  // containers of pods whose sandbox is in learning_
  Jitter jittered_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::watcher
