#include "watcher/classify.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace fallbackd::watcher {

namespace {

// gRPC's numbers, see grpc/status.h. This file stays free of gRPC.
constexpr int kCancelled = 1;
constexpr int kDeadlineExceeded = 4;
constexpr int kNotFound = 5;
constexpr int kUnavailable = 14;

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// The HTTP status in "... unexpected status from HEAD request to URL: 502 Bad Gateway" and its kin.
std::optional<int> httpStatus(std::string_view text) {
  // "unexpected status: 503 Service Unavailable" is what 1.6 says of a token endpoint.
  constexpr std::array<std::string_view, 2> kLeads{"failed with status code", "unexpected status"};
  for (const auto lead : kLeads) {
    auto at = text.find(lead);
    if (at == std::string_view::npos) continue;
    // The number follows a colon and a space; a port in the URL follows a colon alone.
    for (at = text.find(": ", at); at != std::string_view::npos; at = text.find(": ", at + 1)) {
      const auto rest = text.substr(at + 2);
      const auto digits = static_cast<std::size_t>(
          std::find_if_not(rest.begin(), rest.end(), [](char c) { return c >= '0' && c <= '9'; }) -
          rest.begin());
      if (digits == 3) return (rest[0] - '0') * 100 + (rest[1] - '0') * 10 + (rest[2] - '0');
    }
  }
  return std::nullopt;
}

std::optional<Cause> causeOfStatus(int status) {
  if (status == 401 || status == 403) return Cause::unauthorized;
  if (status == 404) return Cause::not_found;
  if (status == 429) return Cause::rate_limited;
  if (status >= 500 && status <= 599) return Cause::server_error;
  return std::nullopt;
}

struct Pattern {
  std::string_view text;
  Cause cause;
};
// The first that fits counts. A failed name look-up can also say "i/o timeout", so dns comes before
// timeout; "authorization failed" wraps an inner cause where there is one, so it comes late.
constexpr std::array kPatterns{
    Pattern{"no space left on device", Cause::disk},
    Pattern{"no such host", Cause::dns},
    Pattern{"dial tcp: lookup ", Cause::dns},
    Pattern{"server misbehaving", Cause::dns},
    Pattern{"connect: connection refused", Cause::unreachable},
    Pattern{"connect: no route to host", Cause::unreachable},
    Pattern{"connect: network is unreachable", Cause::unreachable},
    Pattern{"connection reset by peer", Cause::unreachable},
    Pattern{"i/o timeout", Cause::timeout},
    Pattern{"TLS handshake timeout", Cause::timeout},
    Pattern{"context deadline exceeded", Cause::timeout},
    Pattern{"x509: ", Cause::tls},
    Pattern{"tls: ", Cause::tls},
    Pattern{"pull access denied", Cause::unauthorized},
    Pattern{"authorization failed", Cause::unauthorized},
};

}  // namespace

std::optional<Cause> classify(const cri::PullOutcome& outcome) {
  const std::string_view text = outcome.text;
  if (outcome.kind == cri::PullOutcome::Kind::cancelled) return std::nullopt;
  // Our own connection to containerd broke, or it is not there: nobody asked the registry. What containerd
  // says of a registry always names the pull.
  const bool fromContainerd = has(text, "failed to pull") || has(text, "failed to resolve");
  if (outcome.grpcCode == kUnavailable && !fromContainerd) return std::nullopt;

  if (has(text, "image verifier") && has(text, "blocked pull")) return Cause::policy;
  if (const auto status = httpStatus(text)) {
    if (const auto cause = causeOfStatus(*status)) return cause;
  }
  for (const auto& pattern : kPatterns) {
    if (has(text, pattern.text)) return pattern.cause;
  }
  if (outcome.grpcCode == kNotFound || text.ends_with(": not found")) return Cause::not_found;
  // containerd 1.7.0 gives up on a silent peer with Canceled; nobody else cancels a pull that we still wait
  // for.
  if (outcome.grpcCode == kDeadlineExceeded || outcome.grpcCode == kCancelled) return Cause::timeout;
  return Cause::unknown;
}

}  // namespace fallbackd::watcher
