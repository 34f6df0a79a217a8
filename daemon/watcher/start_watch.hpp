// SPDX-License-Identifier: Apache-2.0
// Judges containers whose images are on the node while they are not created: is kubelet known to be held up?
// If that is not known a fallback would be wrong, since kubelet may be refusing the container. Pure, except
// for the clock that it reads. One thread.
#pragma once

#include "base/clock.hpp"
#include "domain/image_reference.hpp"
#include "watcher/held_up.hpp"
#include "watcher/match.hpp"
#include "watcher/pod_view.hpp"
#include "watcher/prober.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace fallbackd::watcher {

class StartWatch {
 public:
  using Key = ContainerKey;

  /// Whether we saw the pod begin, or found it already there.
  enum class Seen : std::uint8_t { from_its_beginning, later };

  /// What kubelet must have done before it creates the container, as far as we know.
  struct Start {
    WorkloadPtr workload;
    ImageReference reference;              // of its image
    bool seenToBegin = false;              // watched from the beginning of its pod
    bool present = false;                  // the last look found the image
    bool asked = false;                    // whether the image is there
    bool needsNoPull = false;              // it was there before kubelet could ask
    std::optional<Stamp> imageSince = {};  // since when it is known to be there
    std::optional<Stamp> failed = {};      // the end of the last pull that failed
    std::optional<Stamp> hangsSince = {};  // when it began, while it is known to have stalled
    bool onlyOutages = true;               // all of them failed at once, in a way that kubelet's failed too
    std::optional<HeldUp> heldUp = {};     // judged when the container was due
  };
  using Starts = std::map<Key, Start>;

  struct Judgement {
    bool overdue = false;  // if not, kubelet still has time
    // If overdue:
    std::optional<HeldUp> heldUp = {};
    bool wasHeldUp = false;
    std::string text = {};
    Stamp since = {};
  };
  /// Called whenever a container is judged; by end() and the calls about pulls also for other containers.
  using Judged = std::function<void(const Key&, const Judgement&)>;

  /// `pods` must know the sandbox of each container that is watched.
  StartWatch(const PodView& pods, const Clock& clock, Judged judged)
      : pods_(pods), clock_(clock), judged_(std::move(judged)) {}

  /// `before`: what is known already, if it is about the same image.
  void begin(const Key& key, WorkloadPtr workload, ImageReference reference, Seen seen,
             const Starts& before = {});
  void end(const Key& key);
  /// Ends all; returns what is known, for begin().
  Starts endAll();

  // What a look found out. Containers that are not watched are ignored.

  /// The image was there without a probe pull.
  void imageFound(const Key& key);
  /// A probe pull brought it.
  void imagePulled(const Key& key, Stamp at);
  void imageIsMissing(const Key& key);
  void pullFailed(const Key& key, const Question& question, const Verdict& verdict);
  /// The pull of this container's image is no longer known to have stalled.
  void pullMoves(const Key& key);

  /// When the container counts as missing; nothing while its image is not known to be there.
  [[nodiscard]] std::optional<Stamp> due(const Key& key) const;
  /// Judges it now, if its image is there.
  void judge(const Key& key);

  /// Null if it is not watched.
  [[nodiscard]] const Start* find(const Key& key) const;
  /// The last look found its image.
  [[nodiscard]] bool imagePresent(const Key& key) const;

 private:
  enum class Which : std::uint8_t { held_up, not_held_up };

  void imageIsThere(Start& start, const Key& key, Stamp at);
  void judgeAll(Which which);
  [[nodiscard]] std::optional<HeldUp> heldUp(const Key& key) const;

  const PodView& pods_;
  const Clock& clock_;
  Judged judged_;
  Starts starts_;
  StalledPulls stalled_;  // of starts_
};

}  // namespace fallbackd::watcher
