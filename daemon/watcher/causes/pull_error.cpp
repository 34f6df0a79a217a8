// SPDX-License-Identifier: Apache-2.0
#include "watcher/causes/pull_error.hpp"

#include "watcher/causes/chain_reader.hpp"
#include "watcher/causes/reference_forms.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace fallbackd::watcher {

namespace {

// Registries are quoted at length, and everything that decides comes first.
constexpr std::size_t kMaxText = 64UL * 1024;
constexpr std::size_t kMaxLines = 64;
constexpr std::size_t kMaxWords = 200;

Cause registryCause(Effect effect) {
  switch (effect) {
    case Effect::unreachable:
    case Effect::no_ipv6:
    case Effect::lost_packet:
      return Cause::unreachable;
    case Effect::dns:
      return Cause::dns;
    case Effect::timeout:
    case Effect::cancelled:
      return Cause::timeout;
    case Effect::tls:
      return Cause::tls;
    case Effect::server_error:
      return Cause::server_error;
    case Effect::rate_limited:
      return Cause::rate_limited;
    case Effect::unauthorized:
      return Cause::unauthorized;
    case Effect::not_found:
      return Cause::not_found;
    case Effect::policy:
      return Cause::policy;
    case Effect::disk:
      return Cause::disk;
    case Effect::unknown:
    case Effect::undecided:
      break;
  }
  return Cause::unknown;
}

/// A damaged content store says "unexpected EOF" too. Network errors count only where a registry was asked.
bool ofNetwork(Effect effect) {
  return effect == Effect::unreachable || effect == Effect::no_ipv6 || effect == Effect::lost_packet ||
         effect == Effect::dns || effect == Effect::tls;
}

std::optional<Cause> causeOf(const Chain& chain) {
  if (chain.effect == Effect::policy || chain.effect == Effect::disk) return registryCause(*chain.effect);
  if (chain.operation == Operation::verifier) return Cause::policy;
  if (chain.place() == Place::node) return Cause::unknown;
  if (!chain.effect) return std::nullopt;
  if (chain.place() != Place::registry && ofNetwork(*chain.effect)) return Cause::unknown;
  return registryCause(*chain.effect);
}

/// Host and port of a URL as Go prints it. Both names and passwords may stand before a "@".
std::string hostOf(std::string_view url) {
  const auto mark = url.find("://");
  if (mark == std::string_view::npos) return {};
  const auto scheme = url.substr(0, mark);
  auto host = url.substr(mark + 3);
  host = host.substr(0, host.find_first_of("/?#\""));
  if (const auto at = host.rfind('@'); at != std::string_view::npos) host.remove_prefix(at + 1);
  const bool hasPort = host.rfind(':') != std::string_view::npos && !host.ends_with(']');
  if (hasPort) return std::string(host);
  return std::string(host) + (scheme == "http" ? ":80" : ":443");
}

bool isHostOf(std::string_view url, std::string_view reference) {
  const auto slash = reference.find('/');
  if (slash == std::string_view::npos) return false;
  const auto name = reference.substr(0, slash);
  // containerd asks Docker Hub there.
  const std::string host(name == "docker.io" ? "registry-1.docker.io" : name);
  return hostOf(url) == hostOf(std::string(url.substr(0, url.find("://"))) + "://" + host);
}

/// Content comes from wherever the registry redirects to or, for foreign layers, from where the manifest
/// says.
Extent extentOf(const Chain& chain, std::string_view reference) {
  return chain.resolves || isHostOf(chain.url, reference) ? Extent::registry : Extent::one_image;
}

/// One download that fails cancels the others, and so does one layer that cannot be extracted.
bool follows(const Chain& chain) {
  return chain.effect == Effect::cancelled || chain.words == "aborted";
}

/// Several chains are mirrors in the order in which they were asked, or layers. A fault of this node is not
/// excused by a registry; otherwise the last host decides, which is the upstream.
const Chain& deciding(const std::vector<Chain>& chains) {
  const auto local = std::find_if(chains.begin(), chains.end(), [](const Chain& chain) {
    return !follows(chain) && (chain.place() == Place::node || chain.effect == Effect::disk);
  });
  if (local != chains.end()) return *local;
  const auto last = std::find_if_not(chains.rbegin(), chains.rend(), follows);
  return last == chains.rend() ? chains.front() : *last;
}

}  // namespace

PullError readPullError(std::string_view text, std::string_view reference) {
  const ReferenceForms forms(reference);
  const Scanner scanner(text.substr(0, kMaxText), forms);
  ChainReader reader(scanner, forms);
  std::vector<Chain> chains;
  do {
    chains.push_back(reader.next());
  } while (!reader.done() && chains.size() < kMaxLines);

  const auto& chain = deciding(chains);
  PullError error;
  error.operation = chain.operation;
  error.place = chain.place();
  error.cause = causeOf(chain);
  error.extent = extentOf(chain, reference);
  error.ofPull = std::any_of(chains.begin(), chains.end(), [](const Chain& one) { return one.ofPull; });
  // A cancellation that names no pull is containerd's own end.
  error.undecided = chain.effect == Effect::undecided || (chain.effect == Effect::cancelled && !error.ofPull);
  error.asked = hostOf(chain.url);
  error.words = chain.words.substr(0, kMaxWords);
  return error;
}

std::string describe(const PullError& error) {
  return std::string(toString(error.operation)) + ": " + (error.words.empty() ? "no words" : error.words);
}

}  // namespace fallbackd::watcher
