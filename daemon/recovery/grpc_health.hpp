// SPDX-License-Identifier: Apache-2.0
// One request of gRPC's health protocol (grpc.health.v1.Health/Check) over plain HTTP/2, as kubelet sends it:
// bytes in, bytes out. The other side is a pod's program, so everything is bounded and no library parses what
// it sends. Its headers are not decoded: SERVING in the answer's message is what counts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::launcher {

class GrpcHealthCheck {
 public:
  /// The first bytes to send. `authority` is ADDRESS:PORT.
  static std::string question(std::string_view authority, std::string_view service);

  /// Reads what came, and returns what must be sent in answer (may be empty).
  std::string take(std::string_view bytes);
  /// The other side closed the connection.
  void closed();

  /// Absent while more bytes must come. Empty: it serves; otherwise why not.
  [[nodiscard]] const std::optional<std::string>& verdict() const { return verdict_; }

 private:
  struct Frame {
    std::uint8_t type = 0;
    std::uint8_t flags = 0;
    std::uint32_t stream = 0;
    std::string_view payload;
  };
  std::string takeFrame(const Frame& frame);
  void takeData(const Frame& frame);
  void answerEnds();

  std::string buffer_;
  std::size_t received_ = 0;
  std::string message_;  // with gRPC's prefix
  std::optional<std::string> verdict_;
};

}  // namespace fallbackd::launcher
