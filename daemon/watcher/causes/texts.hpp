// SPDX-License-Identifier: Apache-2.0
// The texts that the parser knows, as tables. docs/causes.md says where each comes from.
#pragma once

#include "domain/cause.hpp"
#include "watcher/causes/operation.hpp"
#include "watcher/causes/scanner.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace fallbackd::watcher {

/// A segment that is followed by the error that it wraps.
struct Wrapper {
  std::string_view words;  // the segment begins with them
  enum class Kind : std::uint8_t {
    operation,
    network,  // net.OpError: "dial tcp ADDRESS"
    tunnel,   // the same with a name as the address: "socks connect tcp PROXY->NAME"
    lookup,   // net.DNSError: "lookup NAME on SERVER"
    url,      // url.Error: METHOD "URL"
    status,   // an HTTP status follows
    passes,   // says nothing that counts
  };
  Kind kind = Kind::passes;
  Operation operation = Operation::none;
};

/// What ends a chain.
enum class Effect : std::uint8_t {
  unreachable,
  dns,
  timeout,
  tls,
  server_error,
  rate_limited,
  unauthorized,
  not_found,
  policy,
  disk,
  unknown,
  cancelled,    // containerd gave up; nothing else cancels a pull that is still waited for
  undecided,    // says nothing about the registry: ask again
  no_ipv6,      // unreachable on IPv6; on IPv4 this node has run out of ports
  lost_packet,  // unreachable if a connection was being made; otherwise a fault of this node
};

struct Ending {
  std::string_view words;
  enum class Match : std::uint8_t {
    whole,    // the words are the whole segment
    prefix,   // the line begins with them here
    foreign,  // as prefix; a registry or a verifier wrote the rest, to the end of the text
  };
  Match match = Match::whole;
  Effect effect = Effect::unknown;
};

/// The wrapper that the segment at `at` begins with.
const Wrapper* wrapperAt(const Scanner& scanner, std::size_t at);
/// The ending at `at`.
const Ending* endingAt(const Scanner& scanner, std::size_t at);

/// containerd's own, of 1.6 to 2.3.
std::span<const Wrapper> containerdWrappers();
std::span<const Ending> containerdEndings();
/// Go's net, net/http, net/url, crypto/tls, crypto/x509, syscall, context, io, and golang.org/x/net/http2.
std::span<const Wrapper> libraryWrappers();
std::span<const Ending> libraryEndings();

}  // namespace fallbackd::watcher
