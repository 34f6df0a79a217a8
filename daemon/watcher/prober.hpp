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
#include "domain/cause.hpp"
#include "domain/image_reference.hpp"
#include "watcher/credential_sources.hpp"
#include "watcher/registry_health.hpp"
#include "watcher/traffic.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>

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
};

struct Verdict {
  enum class Kind : std::uint8_t {
    pulled,     // the image is on the node now
    failed,     // the registry, or the way to it, failed: see cause
    undecided,  // containerd could not be asked
  };
  Kind kind = Kind::undecided;
  Cause cause = Cause::unknown;
  std::string text;                  // containerd's words
  Extent extent = Extent::registry;  // of a failure
  bool stalled = false;          // of a timeout: not answered at once (408), so that kubelet's own pull hangs
  bool moves = false;            // of an undecided one: the pull moved, and gave up its place
  bool fresh = false;            // of a pull that nobody has reported yet
  bool withCredentials = false;  // a password or token was sent along
  std::string trouble;           // what the operator should fix: credentials that could not be obtained
  bool remembered = false;       // known from a circuit: nothing was asked
  Stamp started;
  Stamp ended;
};

class Prober {
 public:
  /// Called when a registry that failed answers again, as far as the scope can tell.
  using Reopened = std::function<void(const std::string& host, const Scope& scope)>;

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
  [[nodiscard]] CredentialSources& credentials() { return credentials_; }
  [[nodiscard]] const CredentialSources& credentials() const { return credentials_; }

  void reconfigure(std::size_t maxConcurrent, std::chrono::nanoseconds reprobeInterval);

  [[nodiscard]] std::vector<Circuits::Host> registries() const { return health_.hosts(clock_.now()); }

  /// How many pulls wait for their turn.
  [[nodiscard]] std::size_t queued() const { return gate_.queue().waiting(); }
  /// How many pulls were really sent, for the metrics and for tests.
  [[nodiscard]] std::size_t pullsSent() const { return pullsSent_; }
  /// How many of them go on though their verdict was given.
  [[nodiscard]] std::size_t lingering() const { return lingering_.size(); }
  /// How long such a pull may stand still, and how long it may take in all.
  void lingerFor(std::chrono::nanoseconds still, std::chrono::nanoseconds inAll) {
    lingerStill_ = still;
    lingerInAll_ = inAll;
  }

 private:
  struct Flight;
  struct Pull;
  class Asker;

  cri::Awaitable<void> fly(std::shared_ptr<Flight> flight);
  cri::Awaitable<Verdict> pullWatched(Question question);
  cri::Awaitable<void> run(std::shared_ptr<Pull> pull, std::optional<cri::Credentials> credentials);
  static cri::Awaitable<void> ended(std::shared_ptr<Pull> pull);
  static void judgeUnfinished(const Pull& pull, std::chrono::nanoseconds stood, Verdict& verdict);
  cri::Awaitable<void> linger(std::shared_ptr<Pull> pull);
  [[nodiscard]] bool isWorthLingering(const Pull& pull) const;
  void stopLingering(const std::string& image);
  cri::Awaitable<void> untilTurnIsOver(FairGroup group);
  cri::Awaitable<std::chrono::nanoseconds> untilStalled(std::shared_ptr<Pull> pull);
  cri::Awaitable<void> lookAtStore(std::shared_ptr<Pull> pull);
  cri::Awaitable<std::chrono::nanoseconds> lookAtConnections(std::shared_ptr<Pull> pull);
  void settle(const Flight& flight);

  boost::asio::any_io_executor executor_;
  const Clock& clock_;
  cri::Runtime& runtime_;
  Traffic& traffic_;
  FairGate gate_;
  std::chrono::nanoseconds reprobeInterval_;
  Reopened reopened_;
  CredentialSources credentials_;
  std::size_t pullsSent_ = 0;
  RegistryHealth health_;
  Jitter jittered_;
  std::map<std::string, std::shared_ptr<Flight>> flights_;
  std::map<std::string, std::shared_ptr<Pull>> lingering_;  // by image
  // containerd gives a host up after 30 s without a connection, and turns to the next.
  std::chrono::nanoseconds lingerStill_ = std::chrono::seconds(45);
  std::chrono::nanoseconds lingerInAll_ = std::chrono::minutes(10);
  TaskGroup tasks_;
};

}  // namespace fallbackd::watcher
