// SPDX-License-Identifier: Apache-2.0
// What is known about registries without asking: a circuit breaker for each host and each image. Of a hundred
// pods that wait for a dead registry, all but the first learn its cause at once and send no pull. Knows one
// scope; see registry_health.hpp for who may decide for whom.
#pragma once

#include "base/clock.hpp"
#include "domain/cause.hpp"
#include "watcher/causes/pull_error.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::watcher {

struct Failure {
  Cause cause = Cause::unknown;
  std::string text;  // containerd's words
  Extent extent = Extent::registry;
  bool stalled = false;  // see Verdict
};

/// What a failure says about its registry as a whole.
enum class Blame : std::uint8_t {
  host,     // it cannot be reached, whatever the image
  suspect,  // one image may be at fault; two are not a coincidence
  none,     // it answered: it is healthy
  unclear,
};
Blame blameOf(const Failure& failure);

class Circuits {
 public:
  /// How much is remembered. Beyond that, what is closed or oldest is forgotten.
  struct Limits {
    std::size_t hosts = 1024;
    std::size_t imagesOfHost = 4096;
  };
  enum class State : std::uint8_t { closed, half_open, open };
  struct Host {
    std::string name;
    State state = State::closed;
    Failure failure;  // while not closed
    Stamp since;      // of the state closed or not closed
    /// Namespaces for whose pods alone it is not closed.
    std::vector<std::string> namespaces = {};
    /// Half open because it has not been asked for long: whether it still fails is not known.
    bool quiet = false;
  };

  Circuits() = default;
  explicit Circuits(Limits limits) : limits_(limits) {}

  /// How a pull would fail now, as far as known; nothing if the registry must be asked. `image` distinguishes
  /// the pulls of one host: the reference, and whose credentials.
  [[nodiscard]] std::optional<Failure> known(const std::string& host, const std::string& image,
                                             Stamp now) const;

  /// How a pull of this reference failed less than its pause ago, whatever credentials it had. Once it is due
  /// to be asked again, nothing: a pull has to find out.
  [[nodiscard]] std::optional<Failure> recent(const std::string& host, const std::string& reference,
                                              Stamp now) const;

  /// The same for a caller that is about to pull. If nothing is returned, this pull finds out whether an open
  /// circuit may close: succeeded(), failed() or abandoned() must follow.
  std::optional<Failure> enter(const std::string& host, const std::string& image, Stamp now);

  /// The image was pulled. True if this closed the host's circuit.
  bool succeeded(const std::string& host, const std::string& image, Stamp now);
  /// The pull failed; it is not asked again before `pause` is over. True if this closed the host's circuit: a
  /// registry that answers "not found" is healthy.
  bool failed(const std::string& host, const std::string& image, const Failure& failure, Stamp now,
              std::chrono::nanoseconds pause);
  /// Nothing was learned.
  void abandoned(const std::string& host, const std::string& image);

  /// Every host that was asked lately, to be shown; decides nothing. An open circuit that has not been asked
  /// about for long is shown as half open.
  [[nodiscard]] std::vector<Host> hosts(Stamp now) const;

 private:
  struct Circuit {
    State state = State::closed;
    Failure failure;
    Stamp since{};
    Stamp retryAt{};
    Stamp quietAt{};                 // from then on it has not been asked about for long
    std::set<std::string> suspects;  // of a host: images that failed since the last good answer
  };
  using Map = std::map<std::string, Circuit, std::less<>>;

  static std::optional<Failure> refusal(const Map& map, const std::string& name, Stamp now);
  static void trip(Circuit& circuit, const Failure& failure, Stamp now, std::chrono::nanoseconds pause);
  bool close(const std::string& host, Stamp now);
  Circuit& hostOf(const std::string& host);

  Limits limits_;
  Map hosts_;
  std::map<std::string, Map, std::less<>> images_;  // by host
};

std::string_view toString(Circuits::State state);

}  // namespace fallbackd::watcher
