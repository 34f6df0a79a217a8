// SPDX-License-Identifier: Apache-2.0
#include "recovery/grpc_health.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace fallbackd::launcher {

namespace {

// RFC 9113, sections 3.4, 4.1 and 6.
constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kFrameHead = 9;
constexpr std::size_t kMaxFrame = 16384;  // what an endpoint may send by default
constexpr std::size_t kMaxReceived = 256UL << 10;
namespace type {
constexpr std::uint8_t kData = 0;
constexpr std::uint8_t kHeaders = 1;
constexpr std::uint8_t kResetStream = 3;
constexpr std::uint8_t kSettings = 4;
constexpr std::uint8_t kPing = 6;
constexpr std::uint8_t kGoAway = 7;
}  // namespace type
constexpr std::uint8_t kAck = 1;
constexpr std::uint8_t kEndStream = 1;
constexpr std::uint8_t kEndHeaders = 4;
constexpr std::uint8_t kPadded = 8;
constexpr std::uint32_t kOurStream = 1;
// SETTINGS_ENABLE_PUSH = 0
constexpr std::string_view kNoPush("\x00\x02\x00\x00\x00\x00", 6);
// gRPC over HTTP/2: a message has a byte that says whether it is compressed, and its length in 4 bytes.
constexpr std::size_t kPrefix = 5;
constexpr std::size_t kMaxMessage = 1024;

std::string number(std::size_t value, int bytes) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>((value >> static_cast<unsigned>(shift)) & 0xffU));
  }
  return out;
}

std::size_t numberIn(std::string_view bytes) {
  std::size_t value = 0;
  for (const char c : bytes) value = (value << 8U) | static_cast<unsigned char>(c);
  return value;
}

std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream, std::string_view payload) {
  return number(payload.size(), 3) + static_cast<char>(type) + static_cast<char>(flags) + number(stream, 4) +
         std::string(payload);
}

/// As in protobuf and HPACK: seven bits in each byte, the lowest first.
std::string varintOf(std::size_t value) {
  std::string out;
  for (; value >= 128; value >>= 7U) out.push_back(static_cast<char>((value & 127U) | 128U));
  out.push_back(static_cast<char>(value));
  return out;
}

/// An integer of HPACK (RFC 7541, 5.1) after the bits that `first` has above its prefix.
std::string prefixed(std::size_t value, unsigned prefixBits, unsigned first) {
  const std::size_t most = (1UL << prefixBits) - 1;
  if (value < most) return std::string(1, static_cast<char>(first | value));
  std::string out(1, static_cast<char>(first | most));
  return out + varintOf(value - most);
}

std::string text(std::string_view words) {
  return prefixed(words.size(), 7, 0) + std::string(words);
}

/// A header field that neither side remembers, with its name from HPACK's static table.
std::string known(std::size_t name, std::string_view value) {
  return prefixed(name, 4, 0) + text(value);
}

std::string field(std::string_view name, std::string_view value) {
  return std::string(1, '\0') + text(name) + text(value);
}

/// A number of protobuf; absent if it does not end.
std::optional<std::uint64_t> varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 127U) << shift;
    if (byte < 128) return value;
  }
  return std::nullopt;
}

/// HealthCheckResponse.status, field 1; others are skipped. Absent: this is not such a message.
std::optional<std::uint64_t> statusIn(std::string_view message) {
  std::uint64_t status = 0;
  while (!message.empty()) {
    const auto key = varint(message);
    if (!key) return std::nullopt;
    const auto kind = *key & 7U;
    std::optional<std::uint64_t> value;
    if (kind == 0 || kind == 2) value = varint(message);
    std::size_t skipped = 0;
    if (kind == 1) skipped = 8;
    if (kind == 5) skipped = 4;
    if (kind == 2 && value) skipped = *value;
    const bool readable = kind == 1 || kind == 5 || ((kind == 0 || kind == 2) && value);
    if (!readable || skipped > message.size()) return std::nullopt;
    message.remove_prefix(skipped);
    if (*key == 8) status = *value;
  }
  return status;
}

}  // namespace

std::string GrpcHealthCheck::question(std::string_view authority, std::string_view service) {
  constexpr std::size_t kAuthority = 1;
  constexpr std::size_t kPath = 4;
  constexpr std::size_t kContentType = 31;
  constexpr std::size_t kUserAgent = 58;
  constexpr std::string_view kPostHttp = "\x83\x86";  // :method POST, :scheme http
  const auto headers = std::string(kPostHttp) + known(kPath, "/grpc.health.v1.Health/Check") +
                       known(kAuthority, authority) + field("te", "trailers") +
                       known(kContentType, "application/grpc") +
                       known(kUserAgent, "fallbackd/" FALLBACKD_VERSION);
  // HealthCheckRequest.service, field 1.
  std::string request;
  if (!service.empty()) request = "\x0a" + varintOf(service.size()) + std::string(service);
  return std::string(kPreface) + frame(type::kSettings, 0, 0, kNoPush) +
         frame(type::kHeaders, kEndHeaders, kOurStream, headers) +
         frame(type::kData, kEndStream, kOurStream,
               std::string(1, '\0') + number(request.size(), 4) + request);
}

std::string GrpcHealthCheck::take(std::string_view bytes) {
  received_ += bytes.size();
  buffer_ += bytes;
  std::string reply;
  while (!verdict_ && buffer_.size() >= kFrameHead) {
    const std::string_view head = buffer_;
    const auto length = numberIn(head.substr(0, 3));
    if (length > kMaxFrame) {
      verdict_ = "it does not speak gRPC";
      break;
    }
    if (buffer_.size() < kFrameHead + length) break;
    constexpr std::uint32_t kReserved = 0x80000000;
    Frame one;
    one.type = static_cast<std::uint8_t>(head[3]);
    one.flags = static_cast<std::uint8_t>(head[4]);
    one.stream = static_cast<std::uint32_t>(numberIn(head.substr(5, 4))) & ~kReserved;
    one.payload = head.substr(kFrameHead, length);
    reply += takeFrame(one);
    buffer_.erase(0, kFrameHead + length);
  }
  if (!verdict_ && received_ > kMaxReceived) verdict_ = "it sends too much";
  return reply;
}

void GrpcHealthCheck::closed() {
  if (!verdict_) verdict_ = "it closed the connection without an answer";
}

std::string GrpcHealthCheck::takeFrame(const Frame& one) {
  const bool acknowledges = (one.flags & kAck) != 0;
  if (one.type == type::kSettings && !acknowledges) return frame(type::kSettings, kAck, 0, "");
  if (one.type == type::kPing && !acknowledges) return frame(type::kPing, kAck, 0, one.payload);
  if (one.type == type::kGoAway) {
    const auto last = numberIn(one.payload.substr(0, 4)) & 0x7fffffffU;
    if (last < kOurStream) verdict_ = "it does not accept the request (GOAWAY)";
  }
  if (one.stream != kOurStream) return {};
  if (one.type == type::kResetStream) verdict_ = "it refused the request (RST_STREAM)";
  if (one.type == type::kData) takeData(one);
  const bool mayEnd = one.type == type::kData || one.type == type::kHeaders;
  if (!verdict_ && mayEnd && (one.flags & kEndStream) != 0) answerEnds();
  return {};
}

void GrpcHealthCheck::takeData(const Frame& one) {
  auto data = one.payload;
  if ((one.flags & kPadded) != 0 && !data.empty()) {
    const std::size_t padding = static_cast<unsigned char>(data.front());
    data.remove_prefix(1);
    data.remove_suffix(std::min(padding, data.size()));
  }
  message_ += data;
  if (message_.size() > kPrefix + kMaxMessage) verdict_ = "its answer is too long";
}

void GrpcHealthCheck::answerEnds() {
  if (message_.empty()) {
    verdict_ = "no health status: the service may be unknown, or the protocol is not implemented";
    return;
  }
  const bool whole = message_.size() >= kPrefix && message_[0] == '\0' &&
                     numberIn(std::string_view(message_).substr(1, 4)) == message_.size() - kPrefix;
  const auto status = whole ? statusIn(std::string_view(message_).substr(kPrefix)) : std::nullopt;
  constexpr std::array<const char*, 4> kStatuses{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
  constexpr std::uint64_t kServing = 1;
  if (!status) {
    verdict_ = "its answer cannot be read";
  } else if (*status == kServing) {
    verdict_.emplace();
  } else {
    verdict_ = std::string("health status ") +
               (*status < kStatuses.size() ? kStatuses.at(*status) : "that is not known");
  }
}

}  // namespace fallbackd::launcher
