// SPDX-License-Identifier: Apache-2.0
#include "watcher/causes/texts.hpp"

#include <array>

namespace fallbackd::watcher {

namespace {

using Kind = Wrapper::Kind;
using Match = Ending::Match;

constexpr Wrapper network(std::string_view words) {
  return {words, Kind::network, Operation::none};
}
constexpr Wrapper url(std::string_view words) {
  return {words, Kind::url, Operation::none};
}
constexpr Wrapper passes(std::string_view words) {
  return {words, Kind::passes, Operation::none};
}

constexpr std::array kGoWrappers{
    // net.OpError; the longer network names first
    network("dial tcp4"),
    network("dial tcp6"),
    network("dial tcp"),
    network("read tcp4"),
    network("read tcp6"),
    network("read tcp"),
    network("write tcp4"),
    network("write tcp6"),
    network("write tcp"),
    network("proxyconnect tcp"),

    network("dial udp"),
    network("read udp"),
    network("write udp"),
    network("set tcp"),
    network("close tcp"),
    Wrapper{"socks connect", Kind::tunnel, Operation::none},
    Wrapper{"dial unix", Kind::operation, Operation::plugin},
    Wrapper{"read unix", Kind::operation, Operation::plugin},
    Wrapper{"write unix", Kind::operation, Operation::plugin},
    Wrapper{"lookup", Kind::lookup, Operation::none},
    // os.SyscallError
    passes("connect"),
    passes("read"),
    passes("write"),
    passes("socket"),
    passes("sendto"),
    passes("getsockopt"),
    passes("setsockopt"),
    passes("bind"),
    // url.Error
    url("Head"),
    url("Get"),
    url("Post"),
    url("Put"),
    url("Patch"),
    url("Delete"),
    url("Options"),
    Wrapper{"parse", Kind::operation, Operation::configuration},
    // net/http and x/net/http2
    passes("net/http: HTTP/1.x transport connection broken"),
    passes("net/http: Transport failed to read from server"),
    passes("readLoopPeekFailLocked"),
    passes("write error"),
    passes("remote error"),
    passes("local error"),
    passes("http2: failed reading the frame payload"),
};

constexpr std::array kNetworkEndings{
    // syscall, after a connection was attempted or made
    Ending{"connection refused", Match::whole, Effect::unreachable},
    Ending{"connection reset by peer", Match::whole, Effect::unreachable},
    Ending{"connection reset", Match::whole, Effect::unreachable},
    Ending{"no route to host", Match::whole, Effect::unreachable},
    Ending{"network is unreachable", Match::whole, Effect::unreachable},
    Ending{"network is down", Match::whole, Effect::unreachable},
    Ending{"network dropped connection on reset", Match::whole, Effect::unreachable},
    Ending{"host is down", Match::whole, Effect::unreachable},
    Ending{"machine is not on the network", Match::whole, Effect::unreachable},
    Ending{"software caused connection abort", Match::whole, Effect::unreachable},
    Ending{"broken pipe", Match::whole, Effect::unreachable},
    Ending{"transport endpoint is not connected", Match::whole, Effect::unreachable},
    Ending{"cannot send after transport endpoint shutdown", Match::whole, Effect::unreachable},
    Ending{"address family not supported by protocol", Match::whole, Effect::unreachable},
    Ending{"cannot assign requested address", Match::whole, Effect::no_ipv6},
    Ending{"operation not permitted", Match::whole, Effect::lost_packet},
    Ending{"permission denied", Match::whole, Effect::lost_packet},
    Ending{"invalid argument", Match::whole, Effect::lost_packet},
    Ending{"protocol error", Match::whole, Effect::lost_packet},
    Ending{"protocol not available", Match::whole, Effect::lost_packet},
    Ending{"connection timed out", Match::whole, Effect::timeout},
    Ending{"operation timed out", Match::whole, Effect::timeout},
    // the node's own shortage
    Ending{"too many open files", Match::prefix, Effect::unknown},
    Ending{"cannot allocate memory", Match::whole, Effect::unknown},
    Ending{"no buffer space available", Match::whole, Effect::unknown},
    Ending{"resource temporarily unavailable", Match::whole, Effect::unknown},
    Ending{"address already in use", Match::whole, Effect::unknown},
    // its disk
    Ending{"no space left on device", Match::whole, Effect::disk},
    Ending{"disk quota exceeded", Match::whole, Effect::disk},
    Ending{"read-only file system", Match::whole, Effect::disk},
    Ending{"input/output error", Match::whole, Effect::disk},
    Ending{"structure needs cleaning", Match::whole, Effect::disk},
    Ending{"stale NFS file handle", Match::whole, Effect::disk},
    Ending{"stale file handle", Match::whole, Effect::disk},
    // net
    Ending{"i/o timeout", Match::whole, Effect::timeout},
    Ending{"operation was canceled", Match::whole, Effect::cancelled},
    Ending{"use of closed network connection", Match::whole, Effect::unreachable},
    Ending{"no such host", Match::whole, Effect::dns},
    Ending{"server misbehaving", Match::whole, Effect::dns},
    Ending{"no answer from DNS server", Match::whole, Effect::dns},
    Ending{"no suitable address found", Match::whole, Effect::dns},
    Ending{"unknown port", Match::whole, Effect::unknown},
    Ending{"invalid port", Match::whole, Effect::unknown},
    Ending{"missing address", Match::whole, Effect::unknown},
    Ending{"missing port in address", Match::whole, Effect::unknown},
    Ending{"too many colons in address", Match::whole, Effect::unknown},
    // net/http's SOCKS client
    Ending{"unknown error connection not allowed by ruleset", Match::whole, Effect::unauthorized},
    Ending{"username/password authentication failed", Match::whole, Effect::unauthorized},
    Ending{"no acceptable authentication methods", Match::whole, Effect::unauthorized},
    Ending{"unknown error general SOCKS server failure", Match::whole, Effect::unreachable},
    Ending{"unknown error network unreachable", Match::whole, Effect::unreachable},
    Ending{"unknown error host unreachable", Match::whole, Effect::unreachable},
    Ending{"unknown error connection refused", Match::whole, Effect::unreachable},
    Ending{"unknown error TTL expired", Match::whole, Effect::unreachable},
    // context, io
    Ending{"context deadline exceeded", Match::whole, Effect::timeout},
    Ending{"context canceled", Match::whole, Effect::cancelled},
    Ending{"unexpected EOF", Match::whole, Effect::unreachable},
    Ending{"EOF", Match::whole, Effect::unreachable},
};

constexpr std::array kHttpEndings{
    // net/http
    Ending{"net/http: TLS handshake timeout", Match::prefix, Effect::timeout},
    Ending{"net/http: timeout awaiting ", Match::prefix, Effect::timeout},
    Ending{"net/http: request canceled", Match::prefix, Effect::timeout},
    Ending{"net/http: cannot rewind body after connection loss", Match::prefix, Effect::unreachable},
    Ending{"http: server closed idle connection", Match::prefix, Effect::unreachable},
    Ending{"http: idle connection timeout", Match::prefix, Effect::unreachable},
    Ending{"http: persistConn.readLoop exiting", Match::prefix, Effect::unreachable},
    Ending{"http: CloseIdleConnections called", Match::prefix, Effect::unreachable},
    Ending{"http: putIdleConn: ", Match::prefix, Effect::unreachable},
    Ending{"http: unexpected EOF reading trailer", Match::prefix, Effect::unreachable},
    Ending{"read loop ending; ", Match::prefix, Effect::unreachable},
    Ending{"http: server gave HTTP response to HTTPS client", Match::prefix, Effect::tls},
    Ending{"net/http: ", Match::prefix, Effect::unknown},
    Ending{"http: ", Match::prefix, Effect::unknown},
    Ending{"malformed ", Match::prefix, Effect::unknown},
    Ending{"stopped after 10 redirects", Match::prefix, Effect::unknown},
    Ending{"failed to parse Location header", Match::prefix, Effect::unknown},
    Ending{"unsupported protocol scheme", Match::prefix, Effect::unknown},
    // x/net/http2
    Ending{"http2: timeout awaiting ", Match::prefix, Effect::timeout},
    Ending{"http2: canceling request", Match::prefix, Effect::timeout},
    Ending{"http2: server sent GOAWAY ", Match::prefix, Effect::unreachable},
    Ending{"http2: Transport received ", Match::prefix, Effect::unreachable},
    Ending{"http2: Transport: cannot retry err ", Match::prefix, Effect::unreachable},
    Ending{"http2: Transport: peer server initiated graceful shutdown", Match::prefix, Effect::unreachable},
    Ending{"http2: client conn", Match::prefix, Effect::unreachable},
    Ending{"http2: no cached connection was available", Match::prefix, Effect::unreachable},
    Ending{"http2: stream closed", Match::prefix, Effect::unreachable},
    Ending{"http2: aborting request body write", Match::prefix, Effect::unreachable},
    Ending{"http2: connection error: ", Match::prefix, Effect::unreachable},
    Ending{"http2: frame too large", Match::prefix, Effect::unknown},
    Ending{"http2: ", Match::prefix, Effect::unknown},
    Ending{"client connection lost", Match::whole, Effect::unreachable},
    Ending{"connection error: INADEQUATE_SECURITY", Match::prefix, Effect::tls},
    Ending{"connection error: HTTP_1_1_REQUIRED", Match::prefix, Effect::unknown},
    Ending{"connection error: ", Match::prefix, Effect::unreachable},
    Ending{"stream error: ", Match::prefix, Effect::unreachable},
    Ending{"connection exceeded flow control window size", Match::whole, Effect::unreachable},
    // crypto/tls, crypto/x509
    Ending{"tls: failed to send closeNotify alert", Match::prefix, Effect::unreachable},
    Ending{"tls: DialWithDialer timed out", Match::prefix, Effect::timeout},
    // A certificate's own names follow.
    Ending{"tls: failed to verify certificate: x509: certificate is valid for ", Match::foreign, Effect::tls},
    Ending{"x509: certificate is valid for ", Match::foreign, Effect::tls},
    Ending{"tls: ", Match::prefix, Effect::tls},
    Ending{"x509: ", Match::prefix, Effect::tls},
    // encodings: an answer that is not what it should be
    Ending{"invalid character ", Match::prefix, Effect::unknown},
    Ending{"unexpected end of JSON input", Match::prefix, Effect::unknown},
    Ending{"json: ", Match::prefix, Effect::unknown},
    Ending{"gzip: ", Match::prefix, Effect::unknown},
    Ending{"flate: ", Match::prefix, Effect::unknown},
    Ending{"zstd: ", Match::prefix, Effect::unknown},
};

constexpr auto kGoEndings = [] {
  std::array<Ending, kNetworkEndings.size() + kHttpEndings.size()> all{};
  std::size_t at = 0;
  for (const auto& one : kNetworkEndings) all[at++] = one;
  for (const auto& one : kHttpEndings) all[at++] = one;
  return all;
}();

}  // namespace

std::span<const Wrapper> libraryWrappers() {
  return kGoWrappers;
}
std::span<const Ending> libraryEndings() {
  return kGoEndings;
}

}  // namespace fallbackd::watcher
