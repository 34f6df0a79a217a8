// SPDX-License-Identifier: Apache-2.0
#include "watcher/registry_health.hpp"

#include <algorithm>

namespace fallbackd::watcher {

namespace {

constexpr std::size_t kMaxAccusations = 64;  // of a namespace
constexpr std::size_t kNamespacesThatDecide = 2;
constexpr std::size_t kImagesThatDecide = 2;

}  // namespace

std::optional<RegistryHealth::Accusation> RegistryHealth::agreedOn(const std::string& host, Stamp now) const {
  std::size_t namespaces = 0;
  std::set<std::string> images;
  bool whole = false;  // the host as a whole, whatever the image
  std::optional<Accusation> latest;
  for (const auto& [name, one] : namespaces_) {
    const auto found = one.accusations.find(host);
    if (found == one.accusations.end() || now >= found->second.until) continue;
    const auto& accusation = found->second;
    ++namespaces;
    images.insert(accusation.images.begin(), accusation.images.end());
    whole = whole || blameOf(accusation.failure) == Blame::host;
    if (!latest || accusation.at > latest->at) latest = accusation;
  }
  const bool agreed = namespaces >= kNamespacesThatDecide && (whole || images.size() >= kImagesThatDecide);
  return agreed ? latest : std::nullopt;
}

std::optional<Failure> RegistryHealth::known(const Scope& scope, const std::string& host,
                                             const std::string& image, Stamp now) const {
  // The circuits of single images are the scope's own: elsewhere the same image has other credentials.
  {
    const std::lock_guard lock(guard_);
    if (auto failure = node_.known(host, scope ? std::string() : image, now)) return failure;
  }
  const auto own = scope ? namespaces_.find(*scope) : namespaces_.end();
  // A namespace that found the host failing asks again by itself; the others wait for what it finds.
  if (own == namespaces_.end() || !own->second.accusations.contains(host)) {
    if (auto agreed = agreedOn(host, now)) return std::move(agreed->failure);
  }
  return own == namespaces_.end() ? std::nullopt : own->second.circuits.known(host, image, now);
}

std::optional<Failure> RegistryHealth::enter(const Scope& scope, const std::string& host,
                                             const std::string& image, Stamp now) {
  if (auto failure = known(scope, host, image, now)) return failure;
  // Only an image whose verdict counts for the node finds out whether a circuit of the node may close.
  const std::lock_guard lock(guard_);
  return scope ? asking(*scope, now).circuits.enter(host, image, now) : node_.enter(host, image, now);
}

RegistryHealth::Namespace& RegistryHealth::asking(const std::string& name, Stamp now) {
  if (!namespaces_.contains(name) && namespaces_.size() >= kMaxNamespaces) {
    namespaces_.erase(
        std::min_element(namespaces_.begin(), namespaces_.end(),
                         [](const auto& a, const auto& b) { return a.second.asked < b.second.asked; }));
  }
  auto& one = namespaces_[name];
  one.asked = now;
  return one;
}

bool RegistryHealth::succeeded(const Scope& scope, const std::string& host, const std::string& image,
                               Stamp now) {
  const std::lock_guard lock(guard_);
  if (!scope) return node_.succeeded(host, image, now);
  auto& one = asking(*scope, now);
  one.accusations.erase(host);
  return one.circuits.succeeded(host, image, now);
}

bool RegistryHealth::failed(const Scope& scope, const std::string& host, const std::string& image,
                            const Failure& failure, Stamp now, std::chrono::nanoseconds pause) {
  const std::lock_guard lock(guard_);
  if (!scope) return node_.failed(host, image, failure, now, pause);
  auto& one = asking(*scope, now);
  accuse(one, host, image, failure, now, pause);
  return one.circuits.failed(host, image, failure, now, pause);
}

void RegistryHealth::accuse(Namespace& by, const std::string& host, const std::string& image,
                            const Failure& failure, Stamp now, std::chrono::nanoseconds pause) {
  const auto blame = blameOf(failure);
  if (blame == Blame::none) by.accusations.erase(host);
  if (blame != Blame::host && blame != Blame::suspect) return;
  auto& all = by.accusations;
  if (!all.contains(host) && all.size() >= kMaxAccusations) {
    all.erase(std::min_element(all.begin(), all.end(),
                               [](const auto& a, const auto& b) { return a.second.at < b.second.at; }));
  }
  auto& accusation = all[host];
  accusation.failure = failure;
  if (accusation.images.size() < kImagesThatDecide) accusation.images.insert(image);
  accusation.at = now;
  // Until the namespace's next verdict, which comes after the pause.
  accusation.until = now + 2 * std::chrono::duration_cast<Monotonic::duration>(pause);
}

void RegistryHealth::abandoned(const Scope& scope, const std::string& host, const std::string& image) {
  const std::lock_guard lock(guard_);
  if (!scope) return node_.abandoned(host, image);
  if (const auto own = namespaces_.find(*scope); own != namespaces_.end())
    own->second.circuits.abandoned(host, image);
}

std::chrono::nanoseconds RegistryHealth::usualAnswer(const Scope& scope, const std::string& host) const {
  const auto own = scope ? namespaces_.find(*scope) : namespaces_.end();
  const auto known = answers_.usual(host);
  return own == namespaces_.end() ? known : std::max(known, own->second.answers.usual(host));
}

void RegistryHealth::answered(const Scope& scope, const std::string& host, std::chrono::nanoseconds took) {
  if (!scope) return answers_.add(host, took);
  if (const auto own = namespaces_.find(*scope); own != namespaces_.end())
    own->second.answers.add(host, took);
}

std::vector<Circuits::Host> RegistryHealth::hosts(Stamp now) const {
  std::map<std::string, Circuits::Host> all;
  {
    const std::lock_guard lock(guard_);
    for (auto& host : node_.hosts(now)) all.emplace(host.name, std::move(host));
  }
  for (const auto& [name, one] : namespaces_) {
    for (const auto& host : one.circuits.hosts(now)) {
      auto& merged =
          all.try_emplace(host.name, Circuits::Host{host.name, Circuits::State::closed, {}, host.since})
              .first->second;
      if (host.state != Circuits::State::closed && !host.quiet) merged.namespaces.push_back(name);
    }
  }
  std::vector<Circuits::Host> list;
  for (auto& [name, host] : all) {
    if (host.state == Circuits::State::closed || host.quiet) {
      if (auto agreed = agreedOn(name, now)) {
        host.state = Circuits::State::open;
        host.quiet = false;
        host.failure = std::move(agreed->failure);
        host.since = agreed->at;
      }
    }
    list.push_back(std::move(host));
  }
  return list;
}

}  // namespace fallbackd::watcher
