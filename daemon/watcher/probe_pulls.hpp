// SPDX-License-Identifier: Apache-2.0
// The pulls that probes send: each is watched until its verdict, and some for a while after it. One
// io_context thread.
#pragma once

#include "base/clock.hpp"
#include "base/fair_gate.hpp"
#include "base/task_group.hpp"
#include "cri/runtime.hpp"
#include "watcher/credential_sources.hpp"
#include "watcher/node_images.hpp"
#include "watcher/question.hpp"
#include "watcher/registry_health.hpp"
#include "watcher/traffic.hpp"
#include "watcher/unsticker.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::watcher {

class ProbePulls {
 public:
  /// Called when a registry that failed answers again, as far as the scope can tell.
  using Reopened = std::function<void(const std::string& host, const Scope& scope)>;

  /// The health and the gate must outlive this object.
  ProbePulls(boost::asio::any_io_executor executor, cri::Runtime& runtime, Traffic& traffic,
             RegistryHealth& health, FairGate& gate, std::chrono::nanoseconds reprobeInterval,
             Reopened reopened);

  /// Sends one pull; the caller has a place for it. See Prober::probe for what counts as a verdict.
  cri::Awaitable<Verdict> send(Question question);

  /// Ends the pull of this image that goes on although its verdict was given, if there is one.
  void stopLingering(const std::string& image);
  void lingerFor(std::chrono::nanoseconds still, std::chrono::nanoseconds inAll) {
    lingerStill_ = still;
    lingerInAll_ = inAll;
  }

  /// See Prober.
  void tellApart(const NodeImages& images) { nodeImages_ = &images; }
  /// See readFailure().
  void nameMirrors(std::set<std::string> addresses) { mirrors_ = std::move(addresses); }
  /// Whether a pull that began then was answered by the node itself.
  [[nodiscard]] bool cameFromNode(const Question& question, Stamp begin) const {
    return nodeImages_ != nullptr && nodeImages_->servedSince(question.reference.toString(), begin);
  }

  /// A verdict is valid for two of these.
  void reprobeEvery(std::chrono::nanoseconds interval) { reprobeInterval_ = interval; }

  /// Ends connections of containerd to registries whose verdict is timeout.
  [[nodiscard]] Unsticker& unsticker() { return unsticker_; }
  [[nodiscard]] const Unsticker& unsticker() const { return unsticker_; }

  [[nodiscard]] CredentialSources& credentials() { return credentials_; }
  [[nodiscard]] const CredentialSources& credentials() const { return credentials_; }
  [[nodiscard]] std::size_t sent() const { return sent_; }
  [[nodiscard]] std::size_t lingering() const { return lingering_.size(); }

 private:
  struct Pull;

  std::shared_ptr<Pull> begin(const Question& question, PullLimits limits,
                              std::optional<cri::Credentials> credentials);
  cri::Awaitable<void> run(std::shared_ptr<Pull> pull, std::optional<cri::Credentials> credentials);
  static cri::Awaitable<void> ended(std::shared_ptr<Pull> pull);
  static void judgeUnfinished(const Pull& pull, std::chrono::nanoseconds stood, Verdict& verdict);
  cri::Awaitable<void> linger(std::shared_ptr<Pull> pull);
  [[nodiscard]] bool isWorthLingering(const Pull& pull) const;
  cri::Awaitable<void> untilTurnIsOver(FairGroup group);
  cri::Awaitable<std::chrono::nanoseconds> untilStalled(std::shared_ptr<Pull> pull);
  cri::Awaitable<void> lookAtStore(std::shared_ptr<Pull> pull);
  cri::Awaitable<std::chrono::nanoseconds> lookAtConnections(std::shared_ptr<Pull> pull);
  void pulledLate(const Pull& pull);
  void proveHealthy(const Pull& pull);

  [[nodiscard]] std::set<std::string> stillPeers(const Pull& pull) const;
  static PullLimits unstickLimits(const Pull& pull);
  [[nodiscard]] Stamp verdictValidUntil(const Pull& pull) const;
  bool unstick(const std::shared_ptr<Pull>& pull, const std::optional<cri::Credentials>& credentials);
  cri::Awaitable<void> walk(std::shared_ptr<Pull> first, std::optional<cri::Credentials> credentials,
                            std::set<std::string> suspects);
  cri::Awaitable<void> meetAgain(std::shared_ptr<Pull> pull, std::set<std::string> suspects);
  cri::Awaitable<void> spareOwn(std::shared_ptr<Pull> pull);

  boost::asio::any_io_executor executor_;
  const Clock& clock_;
  cri::Runtime& runtime_;
  Unsticker unsticker_;
  RegistryHealth& health_;
  FairGate& gate_;
  std::chrono::nanoseconds reprobeInterval_;
  Reopened reopened_;
  CredentialSources credentials_;
  const NodeImages* nodeImages_ = nullptr;
  std::set<std::string> mirrors_;  // our own, HOST:PORT
  std::size_t sent_ = 0;
  std::map<std::string, std::shared_ptr<Pull>> lingering_;  // by image
  std::set<std::string> walking_;                           // hosts whose addresses are being found
  // containerd gives a host up after 30 s without a connection, and turns to the next.
  std::chrono::nanoseconds lingerStill_ = std::chrono::seconds(45);
  std::chrono::nanoseconds lingerInAll_ = std::chrono::minutes(10);
  TaskGroup tasks_;
};

}  // namespace fallbackd::watcher
