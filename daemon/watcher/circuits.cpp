// SPDX-License-Identifier: Apache-2.0
#include "watcher/circuits.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::watcher {

namespace {

constexpr std::size_t kSuspectsThatOpen = 2;
// This long after an open circuit was due to be asked again, no pod waits for its host any more: a pod that
// waits asks within about one pause. The other pauses are for many pods that wait for their turn to pull.
constexpr int kPausesUntilQuiet = 6;

/// Makes room for one more: removes a closed entry, or else the one that has been in its state longest.
template <class Map>
void makeRoom(Map& map, std::size_t limit) {
  if (map.size() < limit) return;
  map.erase(std::min_element(map.begin(), map.end(), [](const auto& a, const auto& b) {
    const auto rank = [](const auto& one) {
      return std::pair(one.second.state != Circuits::State::closed, one.second.since);
    };
    return rank(a) < rank(b);
  }));
}

}  // namespace

Blame blameOf(const Failure& failure) {
  switch (failure.cause) {
    case Cause::unreachable:
    case Cause::dns:
    case Cause::tls:
      return failure.extent == Extent::registry ? Blame::host : Blame::suspect;
    case Cause::timeout:
    case Cause::server_error:
    case Cause::rate_limited:
      return Blame::suspect;
    case Cause::unauthorized:
    case Cause::not_found:
      return Blame::none;
    case Cause::policy:
    case Cause::disk:
    case Cause::not_started:
    case Cause::unknown:
      break;
  }
  return Blame::unclear;
}

std::string_view toString(Circuits::State state) {
  switch (state) {
    case Circuits::State::closed:
      return "closed";
    case Circuits::State::half_open:
      return "half_open";
    case Circuits::State::open:
      break;
  }
  return "open";
}

std::optional<Failure> Circuits::refusal(const Map& map, const std::string& name, Stamp now) {
  const auto found = map.find(name);
  if (found == map.end() || found->second.state == State::closed) return std::nullopt;
  const auto& circuit = found->second;
  if (circuit.state == State::open && now >= circuit.retryAt) return std::nullopt;
  return circuit.failure;
}

std::optional<Failure> Circuits::known(const std::string& host, const std::string& image, Stamp now) const {
  if (auto failure = refusal(hosts_, host, now)) return failure;
  // A host that is due to be asked again is asked by any of its images.
  if (const auto found = hosts_.find(host); found != hosts_.end() && found->second.state != State::closed) {
    return std::nullopt;
  }
  const auto images = images_.find(host);
  return images == images_.end() ? std::nullopt : refusal(images->second, image, now);
}

std::optional<Failure> Circuits::recent(const std::string& host, const std::string& reference,
                                        Stamp now) const {
  const auto counts = [&](const Circuit& one) { return one.state == State::open && now < one.retryAt; };
  if (const auto found = hosts_.find(host); found != hosts_.end() && counts(found->second)) {
    return found->second.failure;
  }
  const auto images = images_.find(host);
  if (images == images_.end()) return std::nullopt;
  // See imageKeyOf(): the reference, then whose credentials.
  const auto prefix = reference + "\n";
  for (auto one = images->second.lower_bound(prefix);
       one != images->second.end() && one->first.starts_with(prefix); ++one) {
    if (counts(one->second)) return one->second.failure;
  }
  return std::nullopt;
}

std::optional<Failure> Circuits::enter(const std::string& host, const std::string& image, Stamp now) {
  if (auto failure = known(host, image, now)) return failure;
  if (const auto found = hosts_.find(host); found != hosts_.end() && found->second.state == State::open) {
    found->second.state = State::half_open;
  }
  if (const auto images = images_.find(host); images != images_.end()) {
    if (const auto found = images->second.find(image); found != images->second.end()) {
      found->second.state = State::half_open;
    }
  }
  return std::nullopt;
}

void Circuits::trip(Circuit& circuit, const Failure& failure, Stamp now, std::chrono::nanoseconds pause) {
  if (circuit.state == State::closed) circuit.since = now;
  circuit.state = State::open;
  circuit.failure = failure;
  const auto length = std::chrono::duration_cast<Monotonic::duration>(pause);
  circuit.retryAt = now + length;
  circuit.quietAt = circuit.retryAt + kPausesUntilQuiet * length;
}

Circuits::Circuit& Circuits::hostOf(const std::string& host) {
  if (const auto found = hosts_.find(host); found != hosts_.end()) return found->second;
  makeRoom(hosts_, limits_.hosts);
  // Images go with their host: one that was forgotten has none.
  std::erase_if(images_, [&](const auto& one) { return !hosts_.contains(one.first); });
  return hosts_[host];
}

bool Circuits::close(const std::string& host, Stamp now) {
  auto& circuit = hostOf(host);
  circuit.suspects.clear();
  if (circuit.state == State::closed) {
    if (circuit.since == Stamp{}) circuit.since = now;
    return false;
  }
  circuit.state = State::closed;
  circuit.since = now;
  images_.erase(host);  // what failed with it may be available now
  return true;
}

bool Circuits::succeeded(const std::string& host, const std::string& image, Stamp now) {
  const bool closed = close(host, now);
  if (const auto images = images_.find(host); images != images_.end()) images->second.erase(image);
  return closed;
}

bool Circuits::failed(const std::string& host, const std::string& image, const Failure& failure, Stamp now,
                      std::chrono::nanoseconds pause) {
  const auto blame = blameOf(failure);
  const bool closed = blame == Blame::none && close(host, now);
  auto& circuit = hostOf(host);
  if (blame == Blame::suspect && circuit.suspects.size() < kSuspectsThatOpen) circuit.suspects.insert(image);
  if (blame == Blame::host || circuit.state != State::closed ||
      circuit.suspects.size() >= kSuspectsThatOpen) {
    // A full disk says nothing new about a registry that is known to fail.
    const Failure known = blame == Blame::unclear ? circuit.failure : failure;
    trip(circuit, known, now, pause);
  }
  auto& images = images_[host];
  if (!images.contains(image)) makeRoom(images, limits_.imagesOfHost);
  trip(images[image], failure, now, pause);
  return closed;
}

void Circuits::abandoned(const std::string& host, const std::string& image) {
  if (const auto found = hosts_.find(host);
      found != hosts_.end() && found->second.state == State::half_open) {
    found->second.state = State::open;  // still due: the next one asks
  }
  if (const auto images = images_.find(host); images != images_.end()) {
    if (const auto found = images->second.find(image);
        found != images->second.end() && found->second.state == State::half_open) {
      found->second.state = State::open;
    }
  }
}

std::vector<Circuits::Host> Circuits::hosts(Stamp now) const {
  std::vector<Host> all;
  for (const auto& [name, circuit] : hosts_) {
    const bool quiet = circuit.state == State::open && now >= circuit.quietAt;
    all.push_back(
        {name, quiet ? State::half_open : circuit.state, circuit.failure, circuit.since, {}, quiet});
  }
  return all;
}

}  // namespace fallbackd::watcher
