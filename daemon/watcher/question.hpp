// SPDX-License-Identifier: Apache-2.0
// What a probe asks about an image, and the verdict on it.
#pragma once

#include "base/clock.hpp"
#include "base/fair_queue.hpp"
#include "domain/cause.hpp"
#include "domain/image_reference.hpp"
#include "watcher/credential_sources.hpp"
#include "watcher/registry_health.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace fallbackd::watcher {

struct Question {
  ImageReference reference;
  std::string credentialsFile;  // dockerconfigjson; empty: none
  std::chrono::nanoseconds stallTimeout{};
  Scope scope = {};                             // for whom the verdict counts
  std::string podNamespace = {};                // of the pod that asks
  std::chrono::nanoseconds responseTimeout{0};  // see DetectionSettings; at least stallTimeout counts
  /// Asked if the file has no credentials; absent: not at all.
  std::optional<config::CredentialProviders> providers = {};
  /// Whether what is known of the registry answers the question, or only a pull does: one that may be
  /// answered by the node itself.
  enum class Memory : std::uint8_t { counts, does_not_count };
  Memory memory = Memory::counts;
};

struct Verdict {
  static constexpr std::size_t kMaxText = 1024;  // bytes

  enum class Kind : std::uint8_t {
    pulled,     // the image is on the node now
    failed,     // the registry, or the way to it, failed: see cause
    undecided,  // containerd could not be asked
  };
  Kind kind = Kind::undecided;
  Cause cause = Cause::unknown;
  std::string text;                  // containerd's words, which repeat the registry's; through cleanUtf8()
  Extent extent = Extent::registry;  // of a failure
  bool stalled = false;          // of a timeout: not answered at once (408), so that kubelet's own pull hangs
  bool moves = false;            // of an undecided one: the pull moved, and gave up its place
  bool fresh = false;            // of a pull that has not been reported yet
  bool withCredentials = false;  // a password or token was sent along
  std::string trouble;           // what the operator should fix: credentials that could not be obtained
  bool remembered = false;       // known from a circuit: nothing was asked
  Stamp started;
  Stamp ended;
};

/// What distinguishes images: the same one with different credentials is a different question.
std::string imageKeyOf(const Question& question);
/// In whose name a pull waits for its turn.
FairGroup groupOf(const Question& question);

}  // namespace fallbackd::watcher
