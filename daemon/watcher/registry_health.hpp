// SPDX-License-Identifier: Apache-2.0
// Who may decide for whom about a registry. A verdict about an image that the operator's configuration names
// counts for the node. One about an image that only an annotation names was caused by someone who may create
// a pod: it counts for the pods of that namespace alone, until a second namespace finds the same.
#pragma once

#include "watcher/answer_times.hpp"
#include "watcher/circuits.hpp"

#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace fallbackd::watcher {

/// For whom a verdict counts: the pods of a namespace, or, without one, the node.
using Scope = std::optional<std::string>;

class RegistryHealth {
 public:
  /// Beyond that, only the namespaces that asked last are remembered. A node has fewer pods.
  static constexpr std::size_t kMaxNamespaces = 512;

  /// How a pull of this scope would fail now, as far as known; nothing if the registry must be asked. See
  /// Circuits for this and the following ones.
  [[nodiscard]] std::optional<Failure> known(const Scope& scope, const std::string& host,
                                             const std::string& image, Stamp now) const;
  /// See Circuits; what counts for the node. Any thread: the mirror cannot wait for the loop.
  [[nodiscard]] std::optional<Failure> recent(const std::string& host, const std::string& reference,
                                              Stamp now) const {
    const std::lock_guard lock(guard_);
    return node_.recent(host, reference, now);
  }
  std::optional<Failure> enter(const Scope& scope, const std::string& host, const std::string& image,
                               Stamp now);

  /// True if this closed the host's circuit of the scope.
  bool succeeded(const Scope& scope, const std::string& host, const std::string& image, Stamp now);
  bool failed(const Scope& scope, const std::string& host, const std::string& image, const Failure& failure,
              Stamp now, std::chrono::nanoseconds pause);
  void abandoned(const Scope& scope, const std::string& host, const std::string& image);

  /// How long a host usually takes to begin an answer: learned from the pulls of this scope that succeeded,
  /// and for a namespace also from those of the node. Zero if nothing is known.
  [[nodiscard]] std::chrono::nanoseconds usualAnswer(const Scope& scope, const std::string& host) const;
  void answered(const Scope& scope, const std::string& host, std::chrono::nanoseconds took);

  /// Every host that was asked lately, in any scope; its state is that of the node. Namespaces that have not
  /// asked for long are left out. See Circuits.
  [[nodiscard]] std::vector<Circuits::Host> hosts(Stamp now) const;

 private:
  /// That a namespace found a host failing.
  struct Accusation {
    Failure failure;
    std::set<std::string> images;  // two suffice
    Stamp at{};
    Stamp until{};
  };
  struct Namespace {
    Stamp asked{};
    Circuits circuits{Circuits::Limits{64, 16}};
    AnswerTimes answers{64};
    std::map<std::string, Accusation> accusations;  // by host
  };

  Namespace& asking(const std::string& name, Stamp now);
  void accuse(Namespace& by, const std::string& host, const std::string& image, const Failure& failure,
              Stamp now, std::chrono::nanoseconds pause);
  /// What two namespaces found, each for itself.
  [[nodiscard]] std::optional<Accusation> agreedOn(const std::string& host, Stamp now) const;

  mutable std::mutex guard_;
  Circuits node_;  // guarded
  AnswerTimes answers_{1024};
  std::map<std::string, Namespace> namespaces_;  // whose pods asked for an image of their own choice
};

}  // namespace fallbackd::watcher
