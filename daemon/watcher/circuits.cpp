#include "watcher/circuits.hpp"

namespace fallbackd::watcher {

namespace {

constexpr std::size_t kMaxHosts = 1024;
constexpr std::size_t kMaxImagesOfHost = 4096;

/// What a failure says about its registry as a whole.
enum class Blame : std::uint8_t {
  host,     // it cannot be talked to, whatever the image
  suspect,  // one image may be ill; two are no accident
  none,     // it answered: it is well
  unclear,
};

Blame blameOf(Cause cause) {
  switch (cause) {
    case Cause::unreachable:
    case Cause::dns:
    case Cause::tls:
      return Blame::host;
    case Cause::timeout:
    case Cause::server_error:
    case Cause::rate_limited:
      return Blame::suspect;
    case Cause::unauthorized:
    case Cause::not_found:
      return Blame::none;
    case Cause::policy:
    case Cause::disk:
    case Cause::unknown:
      break;
  }
  return Blame::unclear;
}

constexpr std::size_t kSuspectsThatOpen = 2;

}  // namespace

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
  circuit.retryAt = now + std::chrono::duration_cast<Monotonic::duration>(pause);
}

bool Circuits::close(const std::string& host, Stamp now) {
  auto& circuit = hosts_[host];
  circuit.suspects.clear();
  if (circuit.state == State::closed) {
    if (circuit.since == Stamp{}) circuit.since = now;
    return false;
  }
  circuit.state = State::closed;
  circuit.since = now;
  images_.erase(host);  // what failed with it may be had now
  return true;
}

bool Circuits::succeeded(const std::string& host, const std::string& image, Stamp now) {
  const bool closed = close(host, now);
  if (const auto images = images_.find(host); images != images_.end()) images->second.erase(image);
  return closed;
}

bool Circuits::failed(const std::string& host, const std::string& image, const Failure& failure, Stamp now,
                      std::chrono::nanoseconds pause) {
  // Hosts come from the configuration and from pods' annotations: many is a mistake, not a need.
  if (hosts_.size() >= kMaxHosts) hosts_.clear();
  const auto blame = blameOf(failure.cause);
  const bool closed = blame == Blame::none && close(host, now);
  auto& circuit = hosts_[host];
  if (blame == Blame::suspect) circuit.suspects.insert(image);
  if (blame == Blame::host || circuit.state != State::closed ||
      circuit.suspects.size() >= kSuspectsThatOpen) {
    // A full disk says nothing new about a registry that is known to fail.
    const Failure known = blame == Blame::unclear ? circuit.failure : failure;
    trip(circuit, known, now, pause);
  }
  auto& images = images_[host];
  if (images.size() >= kMaxImagesOfHost) images.clear();
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

std::vector<Circuits::Host> Circuits::hosts() const {
  std::vector<Host> all;
  for (const auto& [name, circuit] : hosts_) {
    all.push_back({name, circuit.state, circuit.failure, circuit.since});
  }
  return all;
}

}  // namespace fallbackd::watcher
