// SPDX-License-Identifier: Apache-2.0
// Probe pulls: ask the registry through containerd why an image cannot be pulled. One pull per image at a
// time, however many pods wait for it; a bounded number of pulls in all and per host; none if the answer is
// known. Namespaces take turns, and images that only annotations name never take all places. One io_context
// thread.
#pragma once

#include "base/async/jitter.hpp"
#include "base/clock.hpp"
#include "base/fair_gate.hpp"
#include "base/task_group.hpp"
#include "cri/runtime.hpp"
#include "watcher/credential_sources.hpp"
#include "watcher/node_images.hpp"
#include "watcher/probe_pulls.hpp"
#include "watcher/question.hpp"
#include "watcher/registry_health.hpp"
#include "watcher/traffic.hpp"

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::watcher {

class Prober {
 public:
  using Reopened = ProbePulls::Reopened;

  Prober(boost::asio::any_io_executor executor, cri::Runtime& runtime, Traffic& traffic,
         std::size_t maxConcurrent, std::chrono::nanoseconds reprobeInterval, Reopened reopened);

  /// Pulls the image, joins the pull of it that is under way, or returns what is known of its registry. A
  /// pull that stands still counts as a timeout after `stallTimeout` without a connection, or after
  /// `responseTimeout` (more where its registry is known to be slow) with one. One that moves is left alone;
  /// but one of an image that only an annotation names gives up its place after a while, undecided, if
  /// another namespace waits for it. A pull that stalled before there was anything to download goes on for a
  /// while after its verdict: the next mirror may answer, or a slow registry in the end.
  cri::Awaitable<Verdict> probe(Question question);

  /// Where credentials come from.
  [[nodiscard]] CredentialSources& credentials() { return pulls_.credentials(); }
  [[nodiscard]] const CredentialSources& credentials() const { return pulls_.credentials(); }

  /// See ProbePulls.
  [[nodiscard]] Unsticker& unsticker() { return pulls_.unsticker(); }
  [[nodiscard]] const Unsticker& unsticker() const { return pulls_.unsticker(); }

  /// Pulls that it answers say nothing about registries. It must outlive this object.
  void tellApart(const NodeImages& images) { pulls_.tellApart(images); }
  /// See readFailure().
  void nameMirrors(std::set<std::string> addresses) { pulls_.nameMirrors(std::move(addresses)); }
  /// Whether the pull of this verdict was answered by the node itself.
  [[nodiscard]] bool cameFromNode(const Question& question, const Verdict& verdict) const {
    return pulls_.cameFromNode(question, verdict.started);
  }

  /// See RegistryHealth::recent. Any thread.
  [[nodiscard]] std::optional<Failure> recentFailure(const ImageReference& image) const {
    return health_.recent(image.host(), image.toString(), clock_.now());
  }

  void reconfigure(std::size_t maxConcurrent, std::chrono::nanoseconds reprobeInterval);

  [[nodiscard]] std::vector<Circuits::Host> registries() const { return health_.hosts(clock_.now()); }

  /// How many pulls wait for their turn.
  [[nodiscard]] std::size_t queued() const { return gate_.queue().waiting(); }
  /// How many pulls were really sent, for the metrics and for tests.
  [[nodiscard]] std::size_t pullsSent() const { return pulls_.sent(); }
  /// How many of them go on although their verdict was given.
  [[nodiscard]] std::size_t lingering() const { return pulls_.lingering(); }
  /// How long such a pull may stand still, and how long it may take in all.
  void lingerFor(std::chrono::nanoseconds still, std::chrono::nanoseconds inAll) {
    pulls_.lingerFor(still, inAll);
  }

 private:
  struct Flight;
  class Asker;

  cri::Awaitable<void> fly(std::shared_ptr<Flight> flight);
  void settle(const Flight& flight);

  boost::asio::any_io_executor executor_;
  const Clock& clock_;
  FairGate gate_;
  std::chrono::nanoseconds reprobeInterval_;
  Reopened reopened_;
  RegistryHealth health_;
  ProbePulls pulls_;
  Jitter jittered_;
  std::map<std::string, std::shared_ptr<Flight>> flights_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::watcher
