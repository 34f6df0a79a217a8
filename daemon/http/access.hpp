// SPDX-License-Identifier: Apache-2.0
// Access checks: the bearer token from a file, and the Host header, which shows whether a browser was
// tricked. One thread.
#pragma once

#include "base/error.hpp"
#include "http/file_stamp.hpp"

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace fallbackd::http {

class Token {
 public:
  /// Shorter tokens could be guessed.
  static constexpr std::size_t kMinLength = 16;

  /// Empty: everyone passes.
  explicit Token(std::string file) : file_(std::move(file)) {}

  [[nodiscard]] bool wanted() const { return !file_.empty(); }
  /// Reads the file if it has changed, or could not be read. Stage telemetry; on failure the earlier token
  /// stays in use.
  Result<> refresh();
  /// Whether an Authorization header contains the token: "Bearer TOKEN", or "Basic" with it as the password,
  /// for which browsers prompt by themselves. Takes the same time wherever the texts differ.
  [[nodiscard]] bool admits(std::string_view authorization) const;

 private:
  std::string file_;
  FileStamp stamp_;
  bool known_ = false;
  std::array<unsigned char, 32> digest_{};  // SHA-256: also hides the length from timing
};

/// An IP address or localhost. A web page whose site's name was made to resolve to 127.0.0.1 sends that name
/// instead.
bool isLocalHost(std::string_view hostHeader);

/// Whether a client of /metrics prefers OpenMetrics to the text format.
bool wantsOpenMetrics(std::string_view accept);

}  // namespace fallbackd::http
